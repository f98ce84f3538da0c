"""The tasks that exist, as specs. The simulated and the real arm use the same one."""

from __future__ import annotations

from data.spec import CameraSpec, ObservationSpec, StateField, TaskSpec


def lift_task() -> TaskSpec:
    """Grasp a 3 cm cube and lift it by 8 cm, seen from the wrist; the front camera serves the classifier."""
    square = (0.0, 0.125, 1.0, 0.75)  # the centre of a 4:3 frame
    return TaskSpec(
        name="lift",
        observation=ObservationSpec(
            cameras=(CameraSpec("wrist", square, 84), CameraSpec("front", square, 84)),
            policy_cameras=("wrist",),
            state=(
                StateField("joint_position", 6, "rad", -2.0, 2.0),
                StateField("joint_velocity", 6, "rad/s", -2.0, 2.0),
                StateField("ee_in_base", 3, "m", -0.35, 0.35),
                StateField("command_lead", 3, "m", -0.04, 0.04),  # commanded minus measured end effector
                StateField("previous_action", 4, "1", -1.0, 1.0),
            ),
        ),
    )
