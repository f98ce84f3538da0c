"""An arm as a leader sees it; loaded by path, because `tests` is no package."""

import numpy as np

from data.spec import ActionSpec
from teleop.inputs import Follower

ACTION = ActionSpec()
LIMITS_RAD = np.array([[-1.8] * 6, [1.8] * 6])


def follower(joints_rad=(0.0,) * 6, target_m=(0.23, 0.0, 0.1), gripper=1.0, human=False, button=False) -> Follower:
    joints, target = np.array(joints_rad, float), np.array(target_m, float)
    return Follower(joints, LIMITS_RAD, target, gripper, ACTION, human, button)
