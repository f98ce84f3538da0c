"""How soon each fault is noticed, and what the arm does: `uv run python benchmarks/faults.py`. Prints a markdown table.

LeRobot's driver and cameras on the emulated rig in real time, broken through the rig's side channel; for the last rows
a process that drives the arm is killed or stopped, and its torque guard is watched. Docs: docs/faults.md.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tick import rig
from hilserl.commands.arguments import TrainArgs, parse
from hilserl.commands.wiring import HANG_S
from hilserl.robot.arm import connect_arm
from hilserl.robot.cameras import open_cameras
from hilserl.robot.clock import WallClock
from hilserl.robot.fault import RobotFault
from hilserl.robot.heartbeat import guarded
from hilserl.robot.lerobot_arm import LeRobotArm
from sim_pretrain.rig.client import RigClient

PERIOD_S, ROUNDS, STARTS = 0.02, 5, 3
FAULTS: dict[str, dict[str, object]] = {
    "2 answers corrupted": {"kind": "corrupt", "count": 2},
    "18 answers corrupted": {"kind": "corrupt", "count": 18},
    "all motors silent": {"kind": "silence"},
    "one motor dead": {"kind": "dead_motor", "motor": "elbow_flex"},
    "cable pulled": {"kind": "unplug"},
}
PATIENCE_S = 10.0


def main() -> None:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        flags = stack.enter_context(rig(folder / "rig"))
        table = stack.enter_context(RigClient(folder / "rig"))
        args = parse(TrainArgs, [*flags, "--teleop.type=none", f"--output_dir={folder}/run"])
        print("| fault | noticed after, ms (median, largest) | then |\n|---|---|---|")
        with connect_arm(args.robot, WallClock()) as arm:
            for name, fault in FAULTS.items():
                found = [broken(arm, table, fault) for _ in range(ROUNDS)]
                row(name, [noticed_s for noticed_s, _ in found], found[-1][1])
        with open_cameras(args.robot.cameras) as frames:
            row("camera frozen", [frozen(frames, table) for _ in range(ROUNDS)], "CameraFault")
        for name, number in (("driver killed (SIGKILL)", signal.SIGKILL), ("driver stopped (SIGSTOP)", signal.SIGSTOP)):
            row(name, [ended(args, number) for _ in range(STARTS)], "frozen with less force")


def row(name: str, noticed_s: list[float], then: str) -> None:
    """Print one row; a fault that was never noticed is infinite."""
    ms = 1e3 * np.array(noticed_s)
    print(f"| {name} | {np.median(ms):.0f}, {ms.max():.0f} | {then} |", flush=True)


def broken(arm: LeRobotArm, table: RigClient, fault: dict[str, object]) -> tuple[float, str]:
    """Break the arm while it is being driven, and mend it; return when that was noticed, and what came of it."""
    steps = driving(arm)
    for _ in range(20):
        next(steps)
    table.fault(**fault)  # type: ignore[arg-type]
    broken_s = time.monotonic()
    try:
        while time.monotonic() - broken_s < 1.0:
            next(steps)
        noticed_s, then = float("inf"), "read again, nothing lost"
    except RobotFault as error:
        noticed_s, then = time.monotonic() - broken_s, type(error).__name__
    table.fault("heal")
    healed_s = time.monotonic()
    while then != "read again, nothing lost":
        with contextlib.suppress(RobotFault):
            arm.reconnect()
            return noticed_s, f"{then}; holds; after mending connected again in {time.monotonic() - healed_s:.1f} s"
    return noticed_s, then


def driving(arm: LeRobotArm) -> Iterator[None]:
    """Write and read at 50 Hz, for ever."""
    start = arm.read().positions_rad
    for tick in range(1_000_000):
        arm.write(start + np.array([0.1 * np.sin(tick / 20), 0, 0, 0, 0, 0]))
        time.sleep(PERIOD_S)
        arm.read()
        yield


def frozen(frames, table: RigClient) -> float:  # type: ignore[no-untyped-def]
    """Freeze a camera; return when that was noticed."""
    table.fault("freeze_camera", camera="wrist")
    since_s = time.monotonic()
    found_s = until(lambda: fails(lambda: frames.read("wrist")), since_s)
    table.fault("heal")
    until(lambda: not fails(lambda: frames.read("wrist")), since_s)
    return found_s


def ended(args: TrainArgs, number: signal.Signals) -> float:
    """Start a process that drives the arm with a torque guard, end it, and return when its guard had frozen the arm."""
    run = args.output_dir / uuid.uuid4().hex
    context = multiprocessing.get_context("spawn")
    ready = context.Semaphore(0)
    driver = context.Process(target=drive, args=(args, run, ready))
    driver.start()
    ready.acquire()
    assert driver.pid
    os.kill(driver.pid, number)
    since_s = time.monotonic()
    found_s = until((run / "journal.jsonl").exists, since_s)
    driver.join()
    return found_s


def drive(args: TrainArgs, run: Path, ready: Any) -> None:
    """Drive the arm for ever."""
    importlib.import_module("lerobot.robots.so_follower")
    with (
        guarded(args.robot.port, HANG_S, run) as heartbeat,  # type: ignore[attr-defined]
        connect_arm(args.robot, WallClock(), heartbeat=heartbeat) as arm,
    ):
        for tick, _ in enumerate(driving(arm)):
            if tick == 20:
                ready.release()


def fails(act: Callable[[], object]) -> bool:
    try:
        act()
    except RobotFault:
        return True
    return False


def until(condition: Callable[[], bool], since_s: float) -> float:
    """Return how long after `since_s` it became true; infinite after a while."""
    while time.monotonic() - since_s < PATIENCE_S:
        if condition():
            return time.monotonic() - since_s
        time.sleep(0.001)
    return float("inf")


if __name__ == "__main__":
    main()
