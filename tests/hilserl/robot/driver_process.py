"""Processes that drive an arm and end in the way they are told to: `driver_process.py`, one JSON line each on stdin.

The driver is imported once; each line is a forked process. Most have a torque guard and `hilserl`'s signal handling,
those whose ending begins with "bare" have neither. Pid, last words and exit status go to files.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

from lerobot.robots.so_follower import SO101FollowerConfig

from data.errors import UserError
from hilserl import cli
from hilserl.robot.arm import connect_arm
from hilserl.robot.clock import WallClock
from hilserl.robot.heartbeat import guarded

SILENCE_S = 1.0


def drive(folder: Path, ending: str) -> int:
    """Move the arm a little for ever; after a while do what `ending` says."""
    port = str(folder / "follower")
    config = SO101FollowerConfig(port=port, id="arm", calibration_dir=folder)
    clock = WallClock()
    with guarded(port, SILENCE_S, folder / "run") as heartbeat, connect_arm(config, clock, heartbeat=heartbeat) as arm:
        goal = arm.read().positions_rad
        for tick in range(10_000):
            goal[0] += 0.002
            arm.write(goal)
            if tick == 10:
                (folder / "pid").write_text(str(os.getpid()))
                end(ending, arm)
            clock.sleep_until_s(clock.now_s() + 0.02)
            arm.read()
    return 0


def drive_bare(folder: Path, ending: str) -> None:
    """Leave the arm as a module global, the case in which LeRobot's own destructor misbehaves."""
    global context, arm
    config = SO101FollowerConfig(port=str(folder / "follower"), id="arm", calibration_dir=folder)
    context = connect_arm(config, WallClock())
    arm = context.__enter__()
    arm.write(arm.read().positions_rad)
    if ending == "bare SIGTERM":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    raise SystemExit(3)


def end(ending: str, arm) -> None:
    match ending:
        case "SIGINT" | "SIGTERM" | "SIGHUP" | "SIGKILL" | "SIGSTOP":
            os.kill(os.getpid(), getattr(signal, ending))
        case "terminal":  # Ctrl-C and a closed terminal reach the whole group; here its most brutal form
            os.killpg(os.getpgid(0), signal.SIGKILL)
        case "_exit":
            os._exit(3)
        case "hang":  # the control thread alone: the process looks well
            threading.Thread(target=lambda: [time.sleep(0.01) for _ in range(10_000)], daemon=True).start()
            time.sleep(1000)
        case "rest":  # it moves nothing, and so may be silent
            arm.rest()
            time.sleep(2 * SILENCE_S)
            raise UserError("rested")
        case "error":
            raise UserError("planned")


def become(folder: Path, ending: str) -> None:
    """Be a `hilserl` command that drives, or some program that does."""
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests were started by nohup
    os.dup2(os.open(folder / "words", os.O_WRONLY | os.O_CREAT), 2)
    if ending.startswith("bare"):
        drive_bare(folder, ending)
    module = ModuleType("drive")
    module.main = lambda _: drive(folder, ending)
    sys.modules["drive"] = module
    cli.COMMANDS["drive"] = cli.Command("drive", "")
    code = cli.main(["drive"])
    (folder / "code").write_text(str(code))
    os._exit(code)


if __name__ == "__main__":
    for line in sys.stdin:
        folder, ending = json.loads(line)
        if (pid := os.fork()) == 0:
            become(Path(folder), ending)
        if ending.startswith("bare"):
            (Path(folder) / "code").write_text(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
