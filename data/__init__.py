"""Records, specs and the replay store. Code only: runs and recordings live in `runs/`, which git ignores."""
