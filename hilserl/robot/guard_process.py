"""The torque guard: freezes the arm when the process that drives it dies, or hangs while it moves the arm.

The servos have no watchdog of their own: without a host they pull towards their last goal for ever. The guard is a
child of the driving process, hears of every goal through its standard input, and needs nothing of LeRobot.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path

from hilserl.robot.bus import ArmFault, claim
from hilserl.robot.guard import TorqueReport, freeze_motors
from hilserl.robot.heartbeat import GOAL, LEAVE
from hilserl.robot.motors import open_motors
from hilserl.runs import RunDirectory

DEATH_S = 5.0  # a killed process is gone by then
PATIENCE_S = 60.0  # for a bus that does not answer
TAKEN_S = 2.0  # a port that is claimed for longer is another program's, not what is left of the dead one
_RETRY_S = 0.5
_SLICES = 8  # silence is counted in waits of our own: a machine that was asleep has not been silent


def listen(silence_s: float) -> str:
    """Return why the arm has to be frozen, or "" when the driving process left in order."""
    empty, moving = 0, False
    while True:
        if not select.select([sys.stdin], [], [], silence_s / _SLICES)[0]:
            empty += 1
            if moving and empty >= _SLICES:
                return f"the program that drives the arm has hung for {silence_s:g} s and was ended"
            continue
        said = os.read(sys.stdin.fileno(), 4096)
        if not said:
            return "the program that drives the arm has died"
        if LEAVE in said:
            return ""
        empty, moving = 0, said.endswith(GOAL)


def freeze(port: str) -> str:
    """Freeze the arm, again and again until every motor has confirmed it; return what came of it."""
    deadline_s, taken_s = time.monotonic() + PATIENCE_S, time.monotonic() + TAKEN_S
    while True:
        try:
            report = attempt(port)
            if report is None and time.monotonic() > taken_s:
                return "another program drives the arm already, so it was left alone"
            if report is not None and report.complete:
                return "it holds its pose with less than half of its force"
            found = str(report)
        except ArmFault as fault:
            found = str(fault)
        if time.monotonic() > deadline_s:
            return f"it could not be frozen: {found}. Switch its power off if it pushes against something"
        time.sleep(_RETRY_S)


def attempt(port: str) -> TorqueReport | None:
    """Freeze once; None when somebody else has taken the arm over."""
    with open_motors(port) as motors:
        try:
            claimed = claim(port)
        except ArmFault:
            return None
        try:
            return freeze_motors(motors)
        finally:
            os.close(claimed)


def end(driver: int) -> None:
    """Kill the driving process unless it is dead, and wait until it is: two on one bus take each other's packets."""
    deadline_s = time.monotonic() + DEATH_S
    while os.getppid() == driver and time.monotonic() < deadline_s:
        os.kill(driver, signal.SIGKILL)  # also works on one that is stopped
        time.sleep(0.01)


def main(port: str, driver: str, silence_s: str, run: str) -> None:
    """Guard until the driving process leaves; say and note what was done when it does not."""
    print("ready", flush=True)
    if why := listen(float(silence_s)):
        end(int(driver))
        words = f"torque guard: {why}; {freeze(port)}."
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(
                f"\n{words} Start the same command again to go on, or support the arm and make it limp: "
                f"hilserl unlock --robot.port={port}",
                file=sys.stderr,
                flush=True,
            )
        if run:
            RunDirectory(Path(run)).journal("torque guard", words=words)


if __name__ == "__main__":
    main(*sys.argv[1:])
