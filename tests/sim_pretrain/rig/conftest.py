"""An arm without physics, and LeRobot's own driver on the emulated bus."""

from __future__ import annotations

import contextlib
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import serial

from sim_pretrain.rig.feetech_bus import ServoBus
from sim_pretrain.rig.pty_port import PtyPort
from sim_pretrain.rig.servo import write_calibration


class FakePlant:
    """Joints that are at their goal at once while they have torque, and stay where they are without."""

    def __init__(self) -> None:
        self.angles_rad = np.array([0.1, -0.2, 0.3, -0.4, 0.5, 0.6])
        self.torque = np.zeros(6, bool)
        self.gains = [0] * 6

    def positions_rad(self) -> np.ndarray:
        return self.angles_rad

    def set_goal_rad(self, index: int, goal_rad: float) -> None:
        if self.torque[index]:
            self.angles_rad[index] = goal_rad

    def set_torque(self, index: int, on: bool) -> None:
        self.torque[index] = on

    def set_stiffness(self, index: int, p_coefficient: int, torque_limit: int) -> None:
        self.gains[index] = p_coefficient


@pytest.fixture
def plant() -> FakePlant:
    return FakePlant()


@pytest.fixture
def bus(plant: FakePlant) -> ServoBus:
    return ServoBus(plant)


@pytest.fixture
def port(bus: ServoBus, tmp_path: Path) -> Iterator[PtyPort]:
    write_calibration(tmp_path / "calibration" / "arm.json")
    with PtyPort(bus, tmp_path / "follower") as port:
        yield port


@pytest.fixture
def new_follower(tmp_path: Path) -> Iterator[Callable]:
    """Makes unmodified SO101Follower objects for the rig in `tmp_path`; lets go of their ports afterwards."""
    from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig

    made = []

    def make(**options: object) -> SO101Follower:
        config = SO101FollowerConfig(
            port=str(tmp_path / "follower"), id="arm", calibration_dir=tmp_path / "calibration", **options
        )
        made.append(SO101Follower(config))
        return made[-1]

    yield make
    for robot in made:
        with contextlib.suppress(OSError, termios.error, serial.SerialException):
            if robot.bus.port_handler.is_open:
                robot.bus.port_handler.closePort()


@pytest.fixture
def connected(new_follower: Callable) -> Callable:
    """Makes followers that are connected; the driver does not repeat its 123 requests on a busy machine."""

    def make(**options: object) -> object:
        for _ in range(5):
            robot = new_follower(**options)
            try:
                robot.connect(calibrate=False)
                return robot
            except (ConnectionError, RuntimeError) as error:
                robot.bus.port_handler.closePort()
                last = error
        raise last

    return make
