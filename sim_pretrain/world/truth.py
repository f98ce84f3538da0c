"""What only a simulator, or a person's eyes, can know: for rewards, verdicts and scripted hands, never for a policy."""

from __future__ import annotations

from dataclasses import dataclass

Vec3 = tuple[float, float, float]


@dataclass(frozen=True)
class Truth:
    """One instant of the table, in the arm's base frame."""

    cube_m: Vec3  # centre of the cube
    cube_yaw_rad: float
    cube_tilt_rad: float  # of the face that is most on top, against the vertical; 0 lies flat
    cube_speed_m_s: float
    cube_half_m: float  # half an edge
    ee_m: Vec3  # grasp centre, from the true joint angles
    gripper_rad: float  # true angle of the jaw
    static_pad_m: Vec3
    moving_pad_m: Vec3
    static_touch: bool  # this pad touches the cube
    moving_touch: bool
    target_m: Vec3 | None  # where the cube should go: centre of the bowl's floor, or of the paper; none in `lift`

    @property
    def grasped(self) -> bool:
        """Whether both pads touch the cube."""
        return self.static_touch and self.moving_touch


@dataclass(frozen=True)
class TaskState(Truth):
    """One control step as a reward sees it: the truth after the step, and what led there."""

    action: tuple[float, ...]  # executed, in [-1, 1]: dx, dy, dz, gripper
    previous_action: tuple[float, ...]
    was_grasped: bool  # one step earlier
    before: Truth  # one step earlier
    open_steps: int  # for how many steps without a break the gripper command has been above 0.3
    held_s: float  # for how long the goal of the task has been reached without a break
    hold_s: float  # for how long it has to be
    success: bool  # held_s >= hold_s
    lost: bool  # the cube fell off, or lies out of reach
