"""`hilserl unlock`: take the force out of an arm that holds its pose."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from hilserl.robot.guard import release_all


def main(argv: Sequence[str]) -> int:
    """Switch torque off motor by motor and say which joints confirmed it."""
    parser = argparse.ArgumentParser(prog="hilserl unlock", description=__doc__)
    parser.add_argument("--robot.port", dest="port", required=True, help="the arm's serial port")
    parser.add_argument("--yes", action="store_true", help="do not ask; a raised arm falls")
    args = parser.parse_args(list(argv))
    if not args.yes and input("A raised arm falls. Support it, then type yes: ") != "yes":
        print("nothing was changed")
        return 1
    report = release_all(args.port)
    print(report)
    return 0 if report.complete else 1
