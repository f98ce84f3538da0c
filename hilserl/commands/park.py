"""`hilserl park`: fold the arm slowly, then take its force out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hilserl.commands import enter
from hilserl.commands.arguments import parse
from hilserl.commands.jog import ServiceArgs
from hilserl.robot.collision import ArmShape
from hilserl.robot.motion import move, park_pose

SPEED_RAD_S, TOLERANCE_RAD = 0.5, 0.05


@dataclass(frozen=True)
class ParkArgs(ServiceArgs):
    """`hilserl park`: a way that touches neither table nor arm, checked before anything moves; Enter stops it."""

    stay: bool = False  # keep the force in: the folded arm holds its pose


def main(argv: Sequence[str]) -> int:
    """Park, and say how it ended; unless it is parked the arm holds where it is."""
    args = parse(ParkArgs, argv)
    question = "The arm folds, opposite to where it reaches now, and goes limp. Keep clear; Enter stops it. Type yes: "
    if not args.yes and input(question) != "yes":
        print("nothing was moved")
        return 1
    with args.connect(SPEED_RAD_S) as (arm, clock):
        pose = park_pose(arm.read().positions_rad, arm.limits)
        slow = {"max_speed_rad_s": SPEED_RAD_S, "tolerance_rad": TOLERANCE_RAD}
        result = move(arm, clock, pose, shape=ArmShape(), should_stop=enter.pressed, **slow)
        if not result.reached:
            print(f"not parked: {result.reason}; the arm holds where it is")
            return 1
        if not args.stay:
            arm.release()
    print("parked" if args.stay else "parked, and limp: every motor confirmed it")
    return 0
