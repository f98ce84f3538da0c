"""`hilserl setup`: crop, workspace and start pose of your table, in the browser; the arm is moved by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.spec import SpecMismatch, TaskSpec
from hilserl.agents.policy_file import copy_policy
from hilserl.commands.arguments import ArmArgs, PolicyArgs, parse
from hilserl.robot.cameras import open_cameras
from hilserl.robot.checkup import calibration
from hilserl.robot.measured import measured_arm
from hilserl.runs import write_text
from hilserl.ui.address import claim
from hilserl.ui.setup import Setup, setup_routes
from hilserl.ui.web import application, serve
from teleop.inputs import OperatorConfig

QUESTION = """\
The arm holds its pose. To show corners you move it by hand, so it has to go limp, and a raised arm falls.
Support it, then type yes (anything else: it keeps holding): """


@dataclass(frozen=True, kw_only=True)
class SetupArgs(ArmArgs):
    """`hilserl setup`: writes a task for your table, and a policy for it, for every other command."""

    teleop: OperatorConfig | None = None  # type: ignore[assignment]  # not used here: the arm is moved by hand
    output_dir: Path = Path("runs/table")  # task.json and policy go there; --task is what to begin with
    policy: PolicyArgs = field(default_factory=PolicyArgs)  # made for the task to begin with; copied for the new one
    yes: bool = False  # do not ask before the arm goes limp


def main(argv: Sequence[str]) -> int:
    """Serve the page until Ctrl-C."""
    args = parse(SetupArgs, argv)
    task = args.read_task()
    calibration(args.robot)
    with open_cameras(args.robot.cameras) as cameras, measured_arm(args.robot) as arm:
        if not arm.limp() and (args.yes or input(QUESTION) == "yes"):
            arm.release()
        address = claim(args.ui)
        print(address.greeting("Set up the task"), flush=True)
        if args.ui.open:
            address.show()
        serve(application(setup_routes(Setup(task, cameras, arm, lambda t: keep(args, task, t))), address), address)
    return 0


def keep(args: SetupArgs, began: TaskSpec, task: TaskSpec) -> str:
    """Write the task, and the policy for it if that was made for the task we began with; return flags for both."""
    args.output_dir.mkdir(parents=True, exist_ok=True)
    flags = [f"--task={write_text(args.output_dir / 'task.json', task.to_json())}"]
    with contextlib.suppress(SpecMismatch):
        flags.append(f"--policy.path={copy_policy(args.policy.path, began, args.output_dir / 'policy', task)}")
    return " ".join(flags)
