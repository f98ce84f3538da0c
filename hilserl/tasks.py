"""The tasks that exist, as specs. The simulated and the real arm use the same one."""

from __future__ import annotations

from pathlib import Path

from data.errors import UserError
from data.spec import CameraSpec, ObservationSpec, StateField, TaskSpec

SQUARE = (0.0, 0.125, 1.0, 0.75)  # the centre of a 4:3 frame


def lift_task() -> TaskSpec:
    """Grasp a 3 cm cube and lift it by 8 cm, seen from the wrist; the front camera serves the classifier."""
    return _task("lift", 80)


def bowl_task() -> TaskSpec:
    """Put a red 3 cm cube into a bowl."""
    return _task("bowl", 160)


def paper_task() -> TaskSpec:
    """Put a green 3 cm cube onto a sheet of paper."""
    return _task("paper", 160)


def read_task(name: str) -> TaskSpec:
    """Return the task of this name, or the spec in the JSON file at this path.

    Raises:
        UserError: it is neither.
    """
    tasks = {"lift": lift_task, "bowl": bowl_task, "paper": paper_task}
    if name in tasks:
        return tasks[name]()
    if not Path(name).is_file():
        raise UserError(f"task is {name!r}; accepted are {', '.join(tasks)}, or the path of a task spec as JSON")
    return TaskSpec.load(Path(name))


def _task(name: str, time_limit_steps: int) -> TaskSpec:
    return TaskSpec(
        name=name,
        observation=ObservationSpec(
            cameras=(CameraSpec("wrist", SQUARE, 84), CameraSpec("front", SQUARE, 84)),
            policy_cameras=("wrist",),
            state=(
                StateField("joint_position", 6, "rad", -2.0, 2.0),
                StateField("joint_velocity", 6, "rad/s", -2.0, 2.0),
                StateField("ee_in_base", 3, "m", -0.35, 0.35),
                StateField("command_lead", 3, "m", -0.04, 0.04),  # commanded minus measured end effector
                StateField("previous_action", 4, "1", -1.0, 1.0),
            ),
        ),
        time_limit_steps=time_limit_steps,
    )
