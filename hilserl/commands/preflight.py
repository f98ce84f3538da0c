"""The look before a session moves anything: what `hilserl doctor` finds within a second, on what is open already."""

from __future__ import annotations

from data.errors import UserError
from data.spec import TaskSpec
from hilserl.commands.arguments import ArmArgs
from hilserl.robot.cameras import CameraReader
from hilserl.robot.checkup import Finding, Level, adapter, attempt, disk, names, pictures, servos
from hilserl.robot.lerobot_arm import LeRobotArm
from hilserl.runs import journal

HOURS = 1.0  # of episodes that have to fit on the disk
LOOK_S = 0.4  # at the cameras


def preflight(args: ArmArgs, task: TaskSpec, arm: LeRobotArm, frames: CameraReader) -> tuple[Finding, ...]:
    """Return what is worth knowing, which is printed and noted in the journal, too.

    Raises:
        UserError: something has to be mended first; each with how.
    """
    # An emulated rig's cameras keep its own time, which may be slower.
    promised_fps = {name: 0.0 if args.clock else float(c.fps or 0) for name, c in args.robot.cameras.items()}
    found = [
        *attempt("names", names),
        disk(args.output_dir, HOURS, task.observation, task.rate_hz),
        *attempt("port", lambda: [adapter(str(getattr(args.robot, "port", "")))]),
        *attempt("motors", lambda: servos(arm.ask)),
        *attempt("cameras", lambda: pictures(frames, promised_fps, task.observation.cameras, LOOK_S)),
    ]
    if wrong := [f"{f.what}: {f.words}" for f in found if f.level is Level.FAIL]:
        wrong.append("Nothing was moved. Look again, at all of it: hilserl doctor; go on as it is: --preflight=false")
        raise UserError("\n".join(["before the first motion this has to be mended:", *wrong]))
    worth = tuple(f for f in found if f.level is Level.LOOK)
    for finding in worth:
        print(f"look: {finding.what}: {finding.words}", flush=True)
        journal(args.output_dir, "pre-flight", what=finding.what, words=finding.words)
    return worth
