"""`hilserl jog`: service mode. Move one joint at a time, slowly, by typing: the way out of a limit or a collision."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lerobot.robots import RobotConfig

from hilserl.commands import enter
from hilserl.commands.arguments import parse
from hilserl.commands.wiring import open_arm
from hilserl.robot.arm import JOINTS
from hilserl.robot.clock import Clock, SharedClock, WallClock
from hilserl.robot.collision import ArmShape
from hilserl.robot.kinematics import ee_position
from hilserl.robot.lerobot_arm import LeRobotArm
from hilserl.robot.motion import move

SPEED_RAD_S = 0.2
MOST_DEG = 15.0  # of one command
WARNING = f"""\
SERVICE MODE. Only the calibrated range of each joint is checked: neither table, nor workspace, nor the arm itself.
Watch the arm, and keep a hand at its power switch. It moves at {np.degrees(SPEED_RAD_S):.0f} degrees/s; Enter stops it.
Type a joint and degrees, e.g. "elbow_flex -5" (at most {MOST_DEG:g}); Enter alone shows where it is; "quit" ends.
Joints: {", ".join(JOINTS)}"""


@dataclass(frozen=True)
class ServiceArgs:
    """What a command needs that moves an arm without a task."""

    robot: RobotConfig  # as in LeRobot: --robot.type=so101_follower --robot.port=... --robot.id=...
    clock: Path | None = None  # an emulated rig's clock; none: the wall clock
    yes: bool = False  # do not ask

    @contextlib.contextmanager
    def connect(self, speed_rad_s: float) -> Iterator[tuple[LeRobotArm, Clock]]:
        """Connect the arm, with a torque guard, at this speed at most."""
        clock: Clock = WallClock() if self.clock is None else SharedClock(self.clock)
        with open_arm(self.robot, clock, max_joint_speed_rad_s=speed_rad_s, max_gripper_speed_rad_s=speed_rad_s) as arm:
            yield arm, clock


def main(argv: Sequence[str]) -> int:
    """Obey typed lines until "quit" or the end of input; the arm is left holding."""
    args = parse(ServiceArgs, argv)
    print(WARNING)
    if not args.yes and input("Type yes to go on: ") != "yes":
        print("nothing was moved")
        return 1
    with args.connect(SPEED_RAD_S) as (arm, clock):
        shape = ArmShape()
        print(where(arm, shape), flush=True)
        while (line := typed()).strip() != "quit":
            if not line:
                break
            if line.strip():
                print(obey(arm, clock, line), flush=True)
            print(where(arm, shape), flush=True)
    return 0


def typed() -> str:
    """Return the next line; "" at the end of input. Unbuffered: a line typed later is a stop, and not read here."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(sys.stdin.fileno(), 1)):
        line += byte
    return line.decode(errors="replace")


def obey(arm: LeRobotArm, clock: Clock, line: str) -> str:
    """Move as one typed line says, and return what came of it."""
    try:
        joint, degrees = line.split()
        step_deg = float(degrees)
    except ValueError:
        return f'"{line.strip()}" is not a joint and a number of degrees; nothing moved'
    if joint not in JOINTS or not abs(step_deg) <= MOST_DEG:
        return f"accepted are {', '.join(JOINTS)} and at most {MOST_DEG:g} degrees; nothing moved"
    goal = arm.read().positions_rad.copy()
    goal[JOINTS.index(joint)] += np.radians(step_deg)
    # From outside the calibrated range the way leads to its edge.
    goal = np.clip(goal, arm.limits.low_rad, arm.limits.high_rad)
    result = move(arm, clock, goal, max_speed_rad_s=SPEED_RAD_S, should_stop=enter.pressed, settle_s=2.0)
    return "moved" if result.reached else f"stopped: {result.reason}; the arm holds here"


def where(arm: LeRobotArm, shape: ArmShape) -> str:
    """Return in one line where every joint is, in degrees, and what the hand is near to."""
    q = arm.read().positions_rad
    angles = "  ".join(
        f"{joint} {np.degrees(a):.1f}{'' if low <= a <= high else ' OUTSIDE'}"
        for joint, a, low, high in zip(JOINTS, q, arm.limits.low_rad, arm.limits.high_rad, strict=True)
    )
    near_mm, hand_mm = 1e3 * shape.clearance_m(q), 1e3 * ee_position(q)
    hand = f"hand x {hand_mm[0]:.0f} y {hand_mm[1]:.0f} z {hand_mm[2]:.0f} mm"
    return f"{angles}\n  {hand}; {shape.nearest(q)} {near_mm:.0f} mm apart"
