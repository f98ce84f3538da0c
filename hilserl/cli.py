"""The `hilserl` command: looks a name up, imports that one module, and hands it the remaining arguments.

Modules are named by string, so that help needs no heavy import and a command of `sim_pretrain` can be started
without an import that points the wrong way. A command module has `main(argv: list[str]) -> int`.
"""

from __future__ import annotations

import difflib
import importlib
import signal
import sys
import threading
from types import FrameType
from typing import NamedTuple, NoReturn

from data.errors import UserError


class Command(NamedTuple):
    """Where a command lives, and what it says about itself."""

    module: str
    help: str


COMMANDS = {
    "demo": Command(
        "sim_pretrain.demo",
        "Run the whole loop on an emulated arm with a scripted operator; needs no hardware.",
    ),
    "rig": Command("sim_pretrain.rig.rig", "Start an emulated SO-101 behind a serial port, with cameras."),
    "rig ask": Command("sim_pretrain.rig.client", "Do something to a running rig: move the leader, press, unplug."),
    "pretrain": Command(
        "sim_pretrain.pretrain", "Make the policy in simulation (`--method=distill`); needs no hardware."
    ),
    "pretrain demos": Command(
        "sim_pretrain.episodes.demos", "Fill a store with demonstrations of the scripted expert."
    ),
    "setup": Command("hilserl.commands.setup", "Show crop, workspace and start pose of your table, in the browser."),
    "setup camera-fit": Command(
        "sim_pretrain.camera_fit.command", "Find the wrist camera's mount and field of view from frames of a board."
    ),
    "setup servo-fit": Command(
        "sim_pretrain.servo_fit", "Give the simulation the servos of your arm, from what doctor --move recorded."
    ),
    "teleop": Command(
        "hilserl.commands.teleop",
        "Practise with gamepad or leader; nothing is recorded. Without an arm: see the device.",
    ),
    "record": Command(
        "hilserl.commands.record",
        "Record episodes; hold Y (gamepad) while the task is done to label success.",
    ),
    "label": Command("hilserl.commands.label", "Review and fix success labels on a timeline in the browser."),
    "classifier train": Command(
        "hilserl.commands.classifier_train", "Train the success classifier; judged on held-out episodes."
    ),
    "classifier calibrate": Command(
        "hilserl.commands.classifier_calibrate", "Choose threshold and hold count; look at the worst mistakes."
    ),
    "classifier preview": Command(
        "hilserl.commands.classifier_preview", "Show p(success) live while you drive; capture what it gets wrong."
    ),
    "train": Command(
        "hilserl.commands.train",
        "Train on the arm with a person in the loop: learner and actor together.",
    ),
    "actor": Command("hilserl.commands.actor", "The half of `train` that moves the arm."),
    "learner": Command("hilserl.commands.learner", "The half of `train` that updates the policy."),
    "eval": Command("hilserl.commands.eval", "Run N untouched episodes; report success with its interval."),
    "data info": Command("hilserl.commands.data_info", "What a run holds: episodes, outcomes, who acted, bytes."),
    "data verify": Command("hilserl.commands.data_verify", "Read and check every episode; warn of what looks wrong."),
    "data show": Command("hilserl.commands.data_show", "Draw an episode: contact sheet (PNG) or film (MP4)."),
    "data exclude": Command("hilserl.commands.data_exclude", "Leave an episode out of training; can be undone."),
    "data relabel": Command("hilserl.commands.data_relabel", "Correct success labels or the outcome; can be undone."),
    "data merge": Command("hilserl.commands.data_merge", "Read several runs as one; nothing is copied."),
    "data compact": Command("hilserl.commands.data_compact", "Copy the episodes that count into a new, checked run."),
    "data repair": Command("hilserl.commands.data_repair", "Salvage and mend a damaged store; nothing is deleted."),
    "export": Command("hilserl.commands.export", "Write episodes as a LeRobot v3 dataset."),
    "import": Command("hilserl.commands.import_dataset", "Read a LeRobot v3 dataset into a run."),
    "doctor": Command("hilserl.commands.doctor", "Is everything in order? Each finding with its fix; --move tries it."),
    "jog": Command("hilserl.commands.jog", "Service mode: move single joints slowly, out of a limit or a collision."),
    "park": Command("hilserl.commands.park", "Fold the arm slowly and take its force out."),
    "unlock": Command("hilserl.commands.unlock", "Take the force out of an arm that holds its pose; support it first."),
    "curves": Command("hilserl.commands.curves", "Copy a run's numbers to TensorBoard or wandb, episodes to rerun."),
    "report": Command(
        "hilserl.commands.report", "Write a page about a run: progress, coverage, health, what to do next."
    ),
    "status": Command("hilserl.commands.status", "Summarise a run: episodes, success, what a resume would restore."),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 error, 2 wrong usage, 130 interrupted."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    name, rest = split_name(arguments)
    starts_a_name = name not in COMMANDS and any(known.startswith(f"{name} ") for known in COMMANDS)
    if starts_a_name and rest in (["-h"], ["--help"]):
        print(overview(f"{name} "))
        return 0
    if name not in COMMANDS:
        print(unknown(arguments), file=sys.stderr)
        return 2
    return run(name, rest)


def run(name: str, arguments: list[str]) -> int:
    """Import the module of a known command and run it; errors meant for a person come without a traceback."""
    sys.argv[0] = f"hilserl {name}"  # what argparse puts into its usage line
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # A shell lets what a script starts with `&` ignore SIGINT; only `nohup` is a wish to be respected.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, interrupt)
    try:
        return importlib.import_module(COMMANDS[name].module).main(arguments)
    except KeyboardInterrupt:
        print(f"\nhilserl {name}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if not is_for_people(error):
            raise
        print(f"hilserl {name}: {error}", file=sys.stderr)
        return 1


def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """Treat SIGTERM, and a terminal that is closed, as Ctrl-C: every `with` block closes, the arm holds."""
    raise KeyboardInterrupt


def split_name(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the command that the arguments begin with, one word or two, and what follows it."""
    two_words = " ".join(arguments[:2])
    if two_words in COMMANDS:
        return two_words, arguments[2:]
    return arguments[0], arguments[1:]


def overview(prefix: str = "") -> str:
    """Return the help text that lists every command whose name starts with `prefix`."""
    chosen = {name: command for name, command in COMMANDS.items() if name.startswith(prefix)}
    width = max(map(len, chosen))
    return "\n".join(
        [
            f"usage: hilserl {prefix}<command> [--flag=value ...]",
            "",
            "Human-in-the-loop fine-tuning for the SO-101 arm.",
            "",
            *(f"  {name:<{width}}  {command.help}" for name, command in chosen.items()),
            "",
            "`hilserl <command> --help` lists the flags of a command.",
        ]
    )


def unknown(arguments: list[str]) -> str:
    """Return the error for arguments that begin with no command: the nearest name, and all of them."""
    one, two = arguments[0], " ".join(arguments[:2])
    near = [name for name in COMMANDS if name.startswith(f"{one} ")]
    near = near or difflib.get_close_matches(two, COMMANDS, n=1) or difflib.get_close_matches(one, COMMANDS, n=1)
    hint = f" Did you mean `hilserl {near[0]}`?" if near else ""
    return f"hilserl: no command `{one}`.{hint} Accepted: {', '.join(COMMANDS)}."


def is_for_people(error: Exception) -> bool:
    """True for errors whose message tells the person what to do: ours, and a config that does not parse."""
    if isinstance(error, UserError):
        return True
    draccus_utils = sys.modules.get("draccus.utils")  # not imported: then its errors cannot have been raised
    return draccus_utils is not None and isinstance(error, draccus_utils.ParsingError)


if __name__ == "__main__":
    sys.exit(main())
