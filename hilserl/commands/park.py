"""`hilserl park`: fold the arm slowly, then take its force out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hilserl.commands import enter
from hilserl.commands.arguments import parse
from hilserl.commands.jog import ServiceArgs
from hilserl.robot.collision import ArmShape
from hilserl.robot.motion import PARK_SPEED_RAD_S, park


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
    with args.connect(PARK_SPEED_RAD_S) as (arm, clock):
        result = park(arm, clock, ArmShape(), enter.pressed)
        if not result.reached:
            print(f"not parked: {result.reason}; the arm holds where it is")
            return 1
        if not args.stay:
            arm.release()
    print("parked" if args.stay else "parked, and limp: every motor confirmed it")
    return 0
