"""Environments side by side behind Gymnasium's vector interface: a process each, observations in shared memory."""

from __future__ import annotations

from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from sim_pretrain.task.env import EnvConfig


def make_vector(config: EnvConfig, count: int) -> AsyncVectorEnv:
    """Return `count` environments, each in a process of its own with one renderer for its whole life.

    `reset(seed=[...])` gives each of them the episode that a single `SimEnv` has for that seed. An episode that ends is
    followed by a reset in the same step; its last observation is in `info["final_obs"]`.
    """
    return AsyncVectorEnv(
        [config.make] * count,
        shared_memory=True,
        context="spawn",  # a forked process must not use its parent's OpenGL
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
