"""The arm: what real, emulated and simulated SO-101s have in common, and the way to get a real one."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hilserl.robot.bus import ArmFault
from hilserl.robot.clock import Clock
from hilserl.robot.joints import JointLimits, JointReading
from hilserl.robot.kinematics import JOINTS
from hilserl.robot.safety import Limit

if TYPE_CHECKING:
    from lerobot.robots import RobotConfig

    from hilserl.robot.heartbeat import Heartbeat
    from hilserl.robot.lerobot_arm import LeRobotArm

__all__ = ["JOINTS", "Arm", "ArmFault", "JointLimits", "JointReading", "connect_arm"]


class Arm(Protocol):
    """Six position-controlled joints. Every method may raise ArmFault; the arm then holds its last goal."""

    @property
    def limits(self) -> JointLimits:
        """The angles that `write` accepts; beyond them it clamps."""

    @property
    def hits(self) -> Counter[Limit]:
        """How many goals each limit has changed so far."""

    def read(self) -> JointReading:
        """Return where the joints are."""

    def write(self, goal_rad: np.ndarray) -> np.ndarray:
        """Send a goal [6] rad and return the one that was really sent; ValueError when it is not finite."""

    def hold(self) -> None:
        """Stay here: the present pose becomes the goal. Calling it again does not let the arm creep."""

    def rest(self) -> None:
        """No more goals for a while: the arm stays at its last one, and nobody needs to worry that none comes."""

    def release(self) -> None:
        """Switch torque off: a raised arm falls."""

    def reconnect(self) -> None:
        """After a fault: connect again, once, and hold; ArmFault when it still does not answer."""

    def close(self) -> None:
        """Leave the arm holding (or released) and let go of it. Does not raise."""


@contextlib.contextmanager
def connect_arm(
    config: RobotConfig,
    clock: Clock,
    *,
    write_period_s: float = 0.02,
    max_joint_speed_rad_s: float = 3.0,
    max_gripper_speed_rad_s: float = 9.0,
    heartbeat: Heartbeat | None = None,
) -> Iterator[LeRobotArm]:
    """Build the robot of a LeRobot config, connect, and leave it holding its pose, energised.

    Cameras in the config are left out; see `cameras.open_cameras`. To take the force out of the arm call
    `LeRobotArm.release` inside the block, or `hilserl unlock` after it. With the `heartbeat` of a torque guard
    (`heartbeat.guarded`) the arm is frozen should this process die or hang.

    Raises:
        ArmFault: see `LeRobotArm`; or the config is not that of an SO-101 follower.
    """
    from hilserl.robot.lerobot_arm import LeRobotArm

    arm = LeRobotArm(
        make_follower(config),
        clock,
        write_period_s=write_period_s,
        max_joint_speed_rad_s=max_joint_speed_rad_s,
        max_gripper_speed_rad_s=max_gripper_speed_rad_s,
        heartbeat=heartbeat,
    )
    try:
        yield arm
    finally:
        arm.close()


def make_follower(config: RobotConfig) -> Any:
    """Build LeRobot's robot of a config, without cameras. Nothing is opened, and its destructor drops no arm.

    Raises:
        ArmFault: it is not the config of an SO-101 follower, or its calibration file cannot be read.
    """
    from lerobot.robots import make_robot_from_config

    if not (hasattr(config, "port") and hasattr(config, "num_read_retries") and hasattr(config, "cameras")):
        raise ArmFault(f"--robot.type={config.type} is not supported; accepted are so101_follower and so100_follower")
    try:
        robot = make_robot_from_config(dataclasses.replace(config, cameras={}))
    except Exception as error:  # the parser of the calibration file raises several unrelated types
        raise ArmFault(
            f"the calibration file of robot {config.id!r} cannot be read ({error}). Calibrate with: "
            f"lerobot-calibrate --robot.type={config.type} --robot.port={config.port} --robot.id={config.id}"
        ) from error
    robot.config.disable_torque_on_disconnect = False
    return robot
