"""gym-hil's Panda picks up a cube, from state: the environment that is neither ours nor trained on, and its expert."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from data.spec import ObservationSpec, StateField, TaskSpec

ROBOT = (  # gym-hil's `agent_pos` [18]; the ranges are what both sides normalise by
    StateField("joint_position", 7, "rad", -3.0, 3.0),
    StateField("joint_velocity", 7, "rad/s", -2.0, 2.0),
    StateField("gripper", 1, "1", 0.0, 255.0),
    StateField("hand_x", 1, "m", 0.2, 0.6),
    StateField("hand_y", 1, "m", -0.3, 0.3),
    StateField("hand_z", 1, "m", 0.0, 0.5),
)
CUBE = (  # its `environment_state` [3]
    StateField("cube_x", 1, "m", 0.2, 0.6),
    StateField("cube_y", 1, "m", -0.3, 0.3),
    StateField("cube_z", 1, "m", 0.0, 0.5),
)
ROBOT_DIM = sum(f.size for f in ROBOT)
TASK = TaskSpec("panda_pick", ObservationSpec((), (), (*ROBOT, *CUBE)), time_limit_steps=100)
STEP_M = 0.025  # of an action of 1


class Trial(NamedTuple):
    """One episode: T actions over T+1 states."""

    state: np.ndarray  # float32 [T+1, 21]
    action: np.ndarray  # float32 [T, 4]: the hand's motion in [-1, 1], the gripper's from 0 (opens) to 2 (closes)
    success: bool
    terminated: bool  # success, or the cube was pushed away


class Panda:
    """gym-hil's registered environment; the cube's place follows from the number of the episode alone."""

    def __init__(self) -> None:
        os.environ.setdefault("MUJOCO_GL", "egl")  # it opens a renderer, even to give state
        import gym_hil  # noqa: F401 - registers it
        import gymnasium

        self._env = gymnasium.make(
            "gym_hil/PandaPickCube-v0", random_block_position=True, reset_delay_seconds=0, disable_env_checker=True
        )
        self.cpu_s, self.steps = 0.0, 0

    def play(self, act: Callable[[np.ndarray], np.ndarray], number: int) -> Trial:
        """Play one episode of at most 100 steps."""
        np.random.seed(number)  # its own source of randomness
        states, actions = [flat(self._env.reset(seed=number)[0])], list[np.ndarray]()
        while True:
            actions.append(act(states[-1]).astype(np.float32))
            started_s = time.process_time()
            seen, reward, terminated, truncated, _ = self._env.step(actions[-1])
            self.cpu_s, self.steps = self.cpu_s + time.process_time() - started_s, self.steps + 1
            states.append(flat(seen))
            if terminated or truncated:
                return Trial(np.stack(states), np.stack(actions), reward == 1.0, terminated)


def flat(seen: dict[str, np.ndarray]) -> np.ndarray:
    """Return the state [21] of an observation."""
    return np.concatenate((seen["agent_pos"], seen["environment_state"]))


def expert(state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the action [4] of the demonstrator: above the cube, down, close, up; three of ten steps are perturbed."""
    offset, closed = state[-3:] - state[-6:-3], state[14] > 127
    motion = np.array([0.0, 0.0, 1.0])
    if not (closed and np.linalg.norm(offset) < 0.04):
        aim = offset + np.array([0.0, 0.0, 0.0 if np.linalg.norm(offset[:2]) < 0.015 else 0.08])
        closed, motion = np.linalg.norm(offset) < 0.02, 0.6 * aim / STEP_M
    noise = rng.normal(0.0, 0.7, 3) * (rng.random() < 0.3)
    return np.array([*np.clip(motion + noise, -1.0, 1.0), 2.0 if closed else 0.0])
