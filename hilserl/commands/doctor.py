"""`hilserl doctor`: is everything in order? First without moving anything; with `--move`, the arm itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lerobot.robots import RobotConfig

from data.spec import TaskSpec
from hilserl.commands import enter
from hilserl.commands.arguments import ArmArgs, parse
from hilserl.commands.wiring import connect_operator, open_arm
from hilserl.loop.env import ArmEnv
from hilserl.loop.handshake import Handshake, NoFrames, response
from hilserl.robot.arm import make_follower
from hilserl.robot.calibration import tick_scale
from hilserl.robot.checkup import (
    Finding,
    Level,
    accelerator,
    attempt,
    calibration,
    cameras,
    disk,
    graphics,
    motors,
    names,
    port,
)
from hilserl.robot.clock import Clock, SharedClock, WallClock
from hilserl.robot.leader_arm import LeaderConfig, LeRobotLeader
from hilserl.runs import write_json
from teleop.inputs import OperatorConfig
from teleop.leader import require_equal_ranges

DEVICE_S = 0.5  # until a device has said whether it is there
CONSENT = """\
The arm now moves: to five poses above the table, 2 cm in each direction, small steps of single joints; a minute in all.
Take everything out of its way, and keep a hand at its power switch. Enter stops it. Type yes: """


@dataclass(frozen=True, kw_only=True)
class DoctorArgs(ArmArgs):
    """`hilserl doctor`: looks at machine, arm, cameras and device; each finding comes with what to do about it."""

    robot: RobotConfig | None = None  # type: ignore[assignment]  # the arm to look at; none: only machine and device
    teleop: OperatorConfig | None = None  # type: ignore[assignment]  # the device to look at
    output_dir: Path = Path("runs/doctor")  # where episodes are to go, and what was measured is kept
    hours: float = 2.0  # of episodes that have to fit on the disk
    move: bool = False  # also move the arm, slowly: directions, reach, and how the servos answer
    yes: bool = False  # do not ask before it moves


def main(argv: Sequence[str]) -> int:
    """Print one line for each finding; 1 when something has to be mended."""
    args = parse(DoctorArgs, argv)
    task = args.read_task()
    if not_in_order := shown(looked_at(args, task)):
        print(f"\n{not_in_order} to mend: FAIL above says what to do")
        return 1
    if not args.move or args.robot is None:
        print("\nin order" + ("" if args.robot is None else "; to try the motions, too: hilserl doctor --move ..."))
        return 0
    if not args.yes and input(f"\n{CONSENT}") != "yes":
        print("nothing was moved")
        return 1
    if not_in_order := shown(attempt("motion", lambda: tried(args, args.robot, task))):
        print(f"\n{not_in_order} to mend; the arm holds")
        return 1
    print(f"\nin order; the arm holds. To give the simulation these servos: hilserl setup servo-fit {traces_of(args)}")
    return 0


def shown(findings: Iterable[Finding]) -> int:
    """Print findings as they come; return how many have to be mended."""
    failed = 0
    for finding in findings:
        print(f"{finding.level:<5} {finding.what:<22} {finding.words}", flush=True)
        failed += finding.level is Level.FAIL
    return failed


def looked_at(args: DoctorArgs, task: TaskSpec) -> Iterator[Finding]:
    """Look at everything that needs no motion."""
    robot, teleop = args.robot, args.teleop
    yield from attempt("names", names)
    yield graphics()
    yield accelerator()
    yield disk(args.output_dir, args.hours, task.observation, task.rate_hz)
    if robot is not None:
        path = str(getattr(robot, "port", ""))
        yield from attempt("port", lambda: [port(path)])
        yield from attempt("motors", lambda: motors(path))
        yield from attempt("calibration", lambda: [calibration(robot)])
        yield from attempt("cameras", lambda: cameras(robot.cameras, task.observation.cameras))
    if isinstance(teleop, LeaderConfig):
        yield from attempt("leader", lambda: [leader(teleop, robot)])
    if teleop is not None:
        yield from attempt("device", lambda: [device(args)])


def leader(config: LeaderConfig, robot: RobotConfig | None) -> Finding:
    """Whether the leader answers, is calibrated, and over the same range as the arm; it stays limp."""
    arm = LeRobotLeader(config)
    try:
        if robot is not None:
            limits = tick_scale(make_follower(robot).calibration).limits()
            require_equal_ranges(arm.limits_rad, np.stack([limits.low_rad, limits.high_rad]))
    finally:
        arm.close()
    return Finding(Level.OK, "leader", f"{config.port} answers; calibrated over the range of the arm")


def device(args: DoctorArgs) -> Finding:
    """Whether the person's device is there."""
    with contextlib.closing(connect_operator(args)) as operator:
        time.sleep(DEVICE_S)
        state = operator.read()
    if not state.connected:
        return Finding(Level.FAIL, "device", f"it is gone: {state.note or 'plug it in'}")
    return Finding(Level.OK, "device", "there; to see every button and stick: hilserl teleop --teleop.type=...")


def tried(args: DoctorArgs, robot: RobotConfig, task: TaskSpec) -> Iterator[Finding]:
    """Move the arm; what was recorded of its servos goes to a file."""
    clock: Clock = WallClock() if args.clock is None else SharedClock(args.clock)
    period_s = 1.0 / (task.rate_hz * task.inner_steps)
    with open_arm(robot, clock, write_period_s=period_s) as arm:
        handshake = Handshake(ArmEnv(arm, NoFrames(), clock, task), enter.pressed)
        yield from handshake.reach()
        yield from handshake.directions()
        traces = list(handshake.traces())
        yield from (Finding(Level.OK, trace.joint, str(response(trace))) for trace in traces)
        bands = dict(handshake.dead_bands())
    words = ", ".join(f"{joint} {np.degrees(band):.1f}°" for joint, band in bands.items())
    yield Finding(Level.OK, "dead band", f"{words} of goal before a joint turns back")
    write_json(traces_of(args), {"dead_band_rad": bands, "traces": [trace.to_json() for trace in traces]})


def traces_of(args: DoctorArgs) -> Path:
    """Where the answers of the servos are kept."""
    return args.output_dir / "servos.json"
