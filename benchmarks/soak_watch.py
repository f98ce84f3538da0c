"""A plugin of `benchmarks/soak.py` inside the actor: every goal that moves the arm without authority goes to a file."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from hilserl.loop.control import Control
from hilserl.robot.lerobot_arm import LeRobotArm
from teleop.authority import moves

STAYS_RAD = 0.03  # a goal this near to the last one, or to where the arm is, moves nothing
_init, _write, _read = Control.__init__, LeRobotArm.write, LeRobotArm.read


def watch(path: Path) -> None:
    """Watch the actor of this process."""
    state: dict[str, Any] = {"control": None, "goal": None, "measured": None}

    def init(self: Control, *args: Any, **named: Any) -> None:
        _init(self, *args, **named)
        state["control"] = self

    def read(self: LeRobotArm) -> Any:
        reading = _read(self)
        state["measured"] = reading.positions_rad
        return reading

    def write(self: LeRobotArm, goal_rad: np.ndarray) -> np.ndarray:
        sent = _write(self, goal_rad)
        control, before, state["goal"] = state["control"], state["goal"], sent
        if control is None or moves(control.authority) or before is None:
            return sent
        moved_rad = min(np.abs(sent - known).max() for known in (before, state["measured"]))
        if moved_rad > STAYS_RAD:
            line = {"unix_s": time.time(), "authority": str(control.authority), "moved_rad": float(moved_rad)}
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        return sent

    Control.__init__, LeRobotArm.read, LeRobotArm.write = init, read, write  # type: ignore[method-assign,assignment]


watch(Path(os.environ["SOAK_VIOLATIONS"]))
