"""One file per command, each with `main(argv) -> int`: parse, wire, run."""
