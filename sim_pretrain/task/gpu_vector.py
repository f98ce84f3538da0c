"""Thousands of environments on one GPU behind Gymnasium's vector interface; needs the extra `gpu` and a CUDA device.

Same task, actions, safety, state, rewards and endings as `SimEnv`, from privileged state: an oracle's, without images.
mujoco-warp can render a camera in every world, but not with this project's light: it knows no headlight and no strength
or colour of a light, and draws the table's checker twice as fine. A wrist image is 18 grey levels off on average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from data.errors import UserError
from hilserl.loop.env import UNREACHABLE_M
from hilserl.robot.safety import finite, safe_target
from sim_pretrain.task.batch_rules import Referees
from sim_pretrain.task.env import EnvConfig, SimEnv
from sim_pretrain.task.rewards import find_reward
from sim_pretrain.world.batch_kinematics import ee_positions, inverses
from sim_pretrain.world.truths import Truths

if TYPE_CHECKING:
    from sim_pretrain.world.warp_worlds import WarpWorlds

Batch = dict[str, np.ndarray]
INSTEAD = "On a CPU: hilserl pretrain without --backend=gpu; in code, sim_pretrain.task.vector.make_vector."


def make_gpu_vector(config: EnvConfig, count: int, device: str = "cuda") -> GpuVectorEnv:
    """Return `count` environments that are stepped together, with the interface of `vector.make_vector`.

    `reset(seed=[...])` gives each of them the start that a single `SimEnv` has for that seed. An episode that ends is
    followed by a reset in the same step; its last observation is in `info["final_obs"]`.

    Args:
        config: the environment; `oracle` must be set, and `reward` be sparse or dense.
        count: number of environments.
        device: "cuda", or "cpu" to check numbers without a GPU, slowly.

    Raises:
        UserError: images or another reward were asked for, the extra is not installed, or no CUDA device is there.
    """
    if not config.oracle:
        raise UserError(
            "many worlds on a GPU have no camera images, because mujoco-warp's lights are not those of the training "
            f"images. Learn from state: --method=rlpd or sac; in code, EnvConfig(oracle=True). {INSTEAD}"
        )
    require_warp(device)
    from sim_pretrain.world.warp_worlds import WarpWorlds

    host = config.make()
    spec, referees = host.task.spec, Referees(host.task, find_reward(config.reward), count)
    worlds = WarpWorlds(host.world, count, period_s=1.0 / spec.rate_hz, goals=spec.inner_steps, device=device)
    return GpuVectorEnv(host, worlds, referees, count)


def require_warp(device: str = "cuda") -> None:
    """Check that many worlds can be simulated on a device.

    Raises:
        UserError: the extra is not installed, or no CUDA device is there; the message says what to do.
    """
    try:
        import mujoco_warp  # noqa: F401
        import warp
    except ImportError as error:
        raise UserError(
            f"many worlds on a GPU need mujoco-warp, which is not installed ({error}). Install it and run: "
            f"uv run --extra gpu hilserl pretrain --backend=gpu ... {INSTEAD}"
        ) from error
    if device == "cuda" and not warp.is_cuda_available():
        raise UserError(
            "many worlds on a GPU need an NVIDIA GPU, and Warp found no CUDA device here. See what the driver finds: "
            f"nvidia-smi. {INSTEAD}"
        )


class GpuVectorEnv(VectorEnv[Batch, np.ndarray, np.ndarray]):
    """`SimEnv` with an oracle's state, N times. One `SimEnv` draws the starts; the rest is arrays over the worlds."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012 (Gymnasium's own form)

    def __init__(self, host: SimEnv, worlds: WarpWorlds, referees: Referees, count: int) -> None:
        """Use `make_gpu_vector`."""
        self.num_envs, self.task = count, host.task
        self.single_observation_space, self.single_action_space = host.observation_space, host.action_space
        self.observation_space = batch_space(host.observation_space, count)
        self.action_space = batch_space(host.action_space, count)
        self._host, self._worlds, self._referees = host, worlds, referees
        self._rngs: list[np.random.Generator | None] = [None] * count
        self.truths = Truths.of([host.truth] * count)
        self._joints: np.ndarray = np.zeros((count, 6))
        self._goal: np.ndarray = np.zeros((count, 6))
        self._target: np.ndarray = np.zeros((count, 3))
        self._state: np.ndarray = np.zeros((count, self.task.spec.observation.state_dim), np.float32)
        self._steps = np.zeros(count, int)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Batch, dict[str, Any]]:
        """Start an episode everywhere, or where `options["reset_mask"]` is true; equal seeds give equal starts."""
        seeds = [seed] * self.num_envs if seed is None else seed
        seeds = [seeds + i for i in range(self.num_envs)] if isinstance(seeds, int) else seeds
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed lists {len(seeds)} seeds for {self.num_envs} environments")
        chosen = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        for index in np.flatnonzero(chosen):
            if seeds[index] is not None:
                self._rngs[index] = seeding.np_random(seeds[index])[0]
        info = self._restart(chosen)
        return {"state": self._state.copy()}, info

    def step(self, actions: np.ndarray) -> tuple[Batch, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Act everywhere for one control period; as `ArmEnv.step` and `SimEnv.step` do.

        Raises:
            ValueError: an action is not finite.
        """
        spec, action = self.task.spec, self.task.spec.action
        asked = np.clip(finite(actions, "action"), -1.0, 1.0).astype(np.float64)
        before, delta_m = self._target, asked[:, :3] * action.step_m
        target, _, _ = safe_target(
            before,
            delta_m,
            ee_positions(self._joints),
            low_m=np.array(spec.workspace_low_m),
            high_m=np.array(spec.workspace_high_m),
            leash_m=action.leash_m,
        )
        limited = np.abs(target - (before + delta_m)).max(1) > 1e-9
        # These goals lie within the joint limits, so that no arm clamps them.
        goal = np.column_stack(
            (
                inverses(target, self._goal, wrist_roll_rad=spec.wrist_roll_rad),
                action.gripper_closed_rad
                + (action.gripper_open_rad - action.gripper_closed_rad) * (asked[:, 3] + 1) / 2,
            )
        )
        astray = np.linalg.norm(ee_positions(goal) - target, axis=1) > UNREACHABLE_M
        target[astray], goal[astray, :5] = before[astray], self._goal[astray, :5]
        limited |= astray
        shares = np.arange(1, spec.inner_steps + 1)[:, None, None] / spec.inner_steps
        self._worlds.drive(self._goal + (goal - self._goal) * shares)
        moved = np.clip((target - before) / action.step_m, -1, 1)
        executed = np.column_stack((moved, asked[:, 3])).astype(np.float32)
        joints, truths = self._worlds.joint_positions(), self._worlds.truths()
        velocity = (joints - self._joints) * spec.rate_hz
        success, lost, terms = self._referees.look(self.truths, truths, 1.0 / spec.rate_hz)
        self._target, self._goal, self._joints, self.truths = target, goal, joints, truths
        ee = ee_positions(joints)
        parts = (joints, velocity, ee, target - ee, executed, privileged_states(truths))
        self._state = np.concatenate(parts, axis=1).astype(np.float32)
        self._steps += 1
        terminated = success | lost
        truncated = ~terminated & (self._steps >= spec.time_limit_steps)
        ended = terminated | truncated
        told = {
            "success": success,
            "lost": lost,
            "grasped": truths.grasped,
            "reward_terms": terms,
            "executed": executed,
            "limited": limited,
        }
        info: dict[str, Any] = {} if ended.all() else _masked(told, ~ended)
        if ended.any():
            last = np.full(self.num_envs, None, object)
            last[ended] = [{"state": row} for row in self._state[ended]]
            info |= {"final_info": _masked(told, ended), "_final_info": ended, "final_obs": last, "_final_obs": ended}
            info |= self._restart(ended)
        return {"state": self._state.copy()}, np.asarray(sum(terms.values()), float), terminated, truncated, info

    def close_extras(self, **kwargs: Any) -> None:
        """Free the world that draws the starts."""
        self._host.close()

    def _restart(self, chosen: np.ndarray) -> dict[str, Any]:
        """Begin an episode in each chosen world, as a `SimEnv` with its random numbers does; return the info."""
        stages = np.full(self.num_envs, None, object)
        for i in np.flatnonzero(chosen).tolist():
            self._host.np_random = self._rngs[i] = self._rngs[i] or seeding.np_random()[0]
            observed, info = self._host.reset()
            stages[i], self._state[i], self._steps[i] = info["stage"], observed["state"], 0
            self._joints[i] = self._goal[i] = self._host.world.joint_positions()
            self._worlds.put(i, self._host.world)
            self.truths.put(i, self._host.truth)
            self._referees.begin(i)
        self._target[chosen] = ee_positions(self._goal[chosen])
        self._worlds.upload()
        return {"stage": stages, "_stage": chosen}


def privileged_states(truths: Truths) -> np.ndarray:
    """Return [N, 10], row by row what `env.privileged_state` returns."""
    quarter = np.pi / 2
    yaw = (truths.cube_yaw_rad + quarter / 2) % quarter - quarter / 2
    target = np.zeros_like(truths.cube_m) if truths.target_m is None else truths.target_m
    return np.column_stack((truths.cube_m, truths.cube_m - truths.ee_m, yaw, target))


def _masked(told: Mapping[str, Any], mask: np.ndarray) -> dict[str, Any]:
    """Return an info as Gymnasium's vectors write it: beside each array the mask of whom it speaks of, 0 elsewhere."""
    info: dict[str, Any] = {}
    for name, value in told.items():
        if isinstance(value, Mapping):
            info[name] = _masked(value, mask)
        else:
            info[name] = np.zeros_like(value)
            info[name][mask] = value[mask]
        info[f"_{name}"] = mask
    return info
