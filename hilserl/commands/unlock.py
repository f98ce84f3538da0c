"""`hilserl unlock`: take the force out of an arm that holds its pose. Needs no calibration, nor all of the motors."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

from hilserl.robot.bus import ArmFault, claim
from hilserl.robot.guard import release_motors
from hilserl.robot.kinematics import JOINTS
from hilserl.robot.motors import open_motors

PATIENCE_S = 2.0  # a torque guard that freezes the arm has the port for a moment


def main(argv: Sequence[str]) -> int:
    """Switch torque off motor by motor and say which joints confirmed it."""
    parser = argparse.ArgumentParser(prog="hilserl unlock", description=__doc__)
    parser.add_argument("--robot.port", dest="port", required=True, help="the arm's serial port")
    parser.add_argument("--joints", default=",".join(JOINTS), help="only these, e.g. --joints=gripper,wrist_roll")
    parser.add_argument("--yes", action="store_true", help="do not ask; a raised arm falls")
    parser.add_argument("--force", action="store_true", help="also while another program drives the arm")
    args = parser.parse_args(list(argv))
    joints = args.joints.split(",")
    if unknown := sorted(set(joints) - set(JOINTS)):
        parser.error(f"--joints names {', '.join(unknown)}; accepted are {', '.join(JOINTS)}")
    if not args.yes and input("A raised arm falls. Support it, then type yes: ") != "yes":
        print("nothing was changed")
        return 1
    with open_motors(args.port) as motors:
        if not args.force:
            require_idle(args.port)
        report = release_motors(motors, joints)
    if report.confirmed:
        print(f"limp: {', '.join(report.confirmed)}")
    if report.failed:
        print(f"not confirmed: {report}\nTry again, or switch the arm's power off")
    return 0 if report.complete else 1


def require_idle(port: str) -> None:
    """Raise ArmFault when another program drives the arm, and goes on doing so."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return os.close(claim(port))
        except ArmFault as fault:
            if time.monotonic() > deadline_s:
                raise ArmFault(
                    f"{fault}\nCtrl-C there leaves the arm holding. To take the force out at once, whatever that "
                    f"program does: hilserl unlock --robot.port={port} --force"
                ) from None
        time.sleep(0.1)
