"""An SO-101 on a pseudo-terminal: LeRobot's driver, the emulated bus, and the simplest mechanics."""

import contextlib
import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from lerobot.robots.so_follower import SO101FollowerConfig

from hilserl.robot.arm import connect_arm
from hilserl.robot.clock import Clock, WallClock
from hilserl.robot.lerobot_arm import LeRobotArm
from sim_pretrain.rig.feetech_bus import ServoBus
from sim_pretrain.rig.pty_port import PtyPort
from sim_pretrain.rig.servo import write_calibration


class FollowingPlant:
    """Energised joints go to their goal at 20 rad/s, as far as walls let them. Counts what was asked of it."""

    def __init__(self) -> None:
        self.q = np.array([0.1, -0.2, 0.3, 0.4, 0.5, 0.6])
        self.goal, self.torque = self.q.copy(), np.zeros(6, bool)
        self.low, self.high = np.full(6, -np.inf), np.full(6, np.inf)  # walls
        self.goals_seen: list[tuple[int, float]] = []
        self.torque_seen: list[tuple[int, bool]] = []
        self._at_s, self._lock = time.monotonic(), threading.Lock()

    def positions_rad(self) -> np.ndarray:
        with self._lock:
            return self._settle().copy()

    def set_goal_rad(self, index: int, goal_rad: float) -> None:
        with self._lock:
            self._settle()
            self.goal[index] = goal_rad
            self.goals_seen.append((index, goal_rad))

    def set_torque(self, index: int, on: bool) -> None:
        with self._lock:
            self._settle()
            self.torque[index] = on
            self.torque_seen.append((index, on))

    def set_stiffness(self, index: int, p_coefficient: int, torque_limit: int) -> None:
        pass

    def push(self, offset_rad: np.ndarray) -> None:
        """Move the joints by hand, and keep them there: the goals move too."""
        with self._lock:
            self.q += offset_rad
            self.goal += offset_rad

    def _settle(self) -> np.ndarray:
        now_s = time.monotonic()
        dt, self._at_s = now_s - self._at_s, now_s
        step = np.clip(self.goal - self.q, -20 * dt, 20 * dt)
        self.q = np.where(self.torque, np.clip(self.q + step, self.low, self.high), self.q)
        return self.q


@dataclass
class Bench:
    """Everything on the table."""

    plant: FollowingPlant
    bus: ServoBus
    port: PtyPort
    config: SO101FollowerConfig
    path: str
    folder: Path

    def connect(self, clock: Clock | None = None, **options):
        return connect_arm(self.config, clock or WallClock(), **options)


@contextlib.contextmanager
def make_bench(folder: Path) -> Iterator[Bench]:
    plant = FollowingPlant()
    bus = ServoBus(plant)
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # the driver spins while it waits: the bus thread must get its turn
    write_calibration(folder / "arm.json")
    link = folder / "follower"
    with PtyPort(bus, link) as port:
        config = SO101FollowerConfig(port=str(link), id="arm", calibration_dir=folder)
        yield Bench(plant, bus, port, config, str(link), folder)
    sys.setswitchinterval(interval_s)


@pytest.fixture(scope="session")
def new_bench() -> Callable[..., contextlib.AbstractContextManager[Bench]]:
    return make_bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with make_bench(tmp_path) as bench:
        yield bench


@pytest.fixture
def arm(bench: Bench) -> Iterator[LeRobotArm]:
    with bench.connect() as arm:
        yield arm


@pytest.fixture
def arm_contract() -> Callable[..., None]:
    """The contract of `arm_contract.py`; tests are no package, so it is loaded by path."""
    spec = importlib.util.spec_from_file_location("arm_contract", Path(__file__).with_name("arm_contract.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.arm_contract
