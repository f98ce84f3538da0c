"""The records of joint space. Six joints, in the order of `kinematics.JOINTS`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class JointReading:
    """One read of the bus."""

    positions_rad: np.ndarray  # float64 [6]
    stamp_s: float  # clock of the arm, when the answer was there


@dataclass(frozen=True)
class JointLimits:
    """The angles a command may ask for."""

    low_rad: np.ndarray  # [6]
    high_rad: np.ndarray  # [6]
