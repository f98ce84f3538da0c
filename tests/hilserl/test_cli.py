"""The command line: what it lists, how it dispatches, and what a person sees when something is wrong."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from data.errors import UserError
from data.spec import SpecMismatch, TaskSpec
from hilserl import cli

ROOT = Path(__file__).resolve().parents[2]
Install = Callable[[str, Callable[[list[str]], int]], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that puts a `main` of the test's own behind a command."""
    monkeypatch.setattr(sys, "argv", ["hilserl"])

    def put(name: str, main: Callable[[list[str]], int]) -> None:
        module = ModuleType("command_of_the_test")
        module.main = main  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(cli.COMMANDS, name, cli.Command(module.__name__, "help"))

    return put


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out and command.help in out for name, command in cli.COMMANDS.items())


def test_help_imports_nothing_heavy() -> None:
    """Not timed: that no library outside the standard one is imported is what makes it fast."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "from hilserl.cli import main; main(['--help'])\n"
        "new = {m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)\n"
        "print(sorted(new), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "['data', 'hilserl']"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_command_has_a_main(name: str) -> None:
    path = ROOT / (cli.COMMANDS[name].module.replace(".", "/") + ".py")
    assert path.is_file(), f"`hilserl {name}` is listed, but {path.relative_to(ROOT)} does not exist"
    functions = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    assert "main" in functions


def test_arguments_reach_the_command(install: Install) -> None:
    seen: list[list[str]] = []
    install("train", lambda argv: seen.append([sys.argv[0], *argv]) or 3)  # type: ignore[func-returns-value]
    assert cli.main(["train", "--robot.port=/dev/x", "--help"]) == 3
    assert seen == [["hilserl train", "--robot.port=/dev/x", "--help"]]


def test_two_words_make_one_command(install: Install) -> None:
    seen: list[list[str]] = []
    install("classifier train", lambda argv: seen.append(argv) or 0)  # type: ignore[func-returns-value]
    assert cli.main(["classifier", "train", "--lr=1"]) == 0
    assert seen == [["--lr=1"]]


def test_group_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["classifier", "--help"]) == 0
    out = capsys.readouterr().out
    assert "classifier train" in out
    assert "actor" not in out


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["trian", "--x=1"], "hilserl train"),
        (["classifier"], "hilserl classifier train"),
        (["classifier", "trane"], "hilserl classifier train"),
        (["clasifier", "train"], "hilserl classifier train"),
        (["zzz"], None),
    ],
)
def test_unknown_command_lists_the_accepted_ones(
    arguments: list[str], suggestion: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert ", ".join(cli.COMMANDS) in error
    assert (f"Did you mean `{suggestion}`?" in error) if suggestion else ("Did you mean" not in error)


@pytest.mark.parametrize("error", [UserError("no arm; plug it in"), SpecMismatch("no arm; plug it in")])
def test_error_for_people_has_no_traceback(
    error: Exception, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(argv: list[str]) -> int:
        raise error

    install("eval", fail)
    assert cli.main(["eval"]) == 1
    assert capsys.readouterr().err == "hilserl eval: no arm; plug it in\n"


def test_unreadable_spec_has_no_traceback(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(argv: list[str]) -> int:
        TaskSpec.from_json(
            '{"name": "lift", "observation": {"cameras": [], "policy_cameras": [], "state": []}, "colour": 1}'
        )
        return 0

    install("eval", fail)
    assert cli.main(["eval"]) == 1
    assert "colour" in capsys.readouterr().err


def test_programming_error_keeps_its_traceback(install: Install) -> None:
    def fail(argv: list[str]) -> int:
        raise ValueError("a bug")

    install("eval", fail)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["eval"])


def test_interrupt_is_one_line(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(argv: list[str]) -> int:
        raise KeyboardInterrupt

    install("eval", interrupted)
    assert cli.main(["eval"]) == 130
    assert capsys.readouterr().err.strip() == "hilserl eval: interrupted"
