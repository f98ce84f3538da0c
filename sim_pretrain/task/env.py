"""The simulation as a Gymnasium environment: the real arm's actions and observations, plus reward and ending."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces

from data.errors import UserError
from data.schema import Observation
from data.spec import StateField, TaskSpec
from sim_pretrain.task.rewards import find_reward
from sim_pretrain.task.stages import require_stages, scatter
from sim_pretrain.task.tasks import Referee, SimTask, find_task
from sim_pretrain.world.physics import World
from sim_pretrain.world.profile import WorldProfile
from sim_pretrain.world.sim_arm import make_env
from sim_pretrain.world.truth import TaskState, Truth

PRIVILEGED = (  # what only an oracle may see; no arm can measure it
    StateField("privileged_cube_m", 3, "m", -0.35, 0.35),
    StateField("privileged_cube_from_ee_m", 3, "m", -0.2, 0.2),
    StateField("privileged_cube_yaw_rad", 1, "rad", -1.6, 1.6),
    StateField("privileged_target_m", 3, "m", -0.35, 0.35),  # 0, which moves no weight, where a task has no target
)


class TableSource(Protocol):
    """Where the table of an episode comes from, such as a `Randomization`."""

    def sample(self, rng: np.random.Generator, base: WorldProfile, /) -> WorldProfile:
        """Draw a table around `base`."""


@dataclass(frozen=True)
class EnvConfig:
    """How to build a `SimEnv`; what another process needs for the same one."""

    task: str | SimTask = "lift"  # lift, bowl or paper; or a task of one's own
    reward: str = "sparse"  # name of a reward in `sim_pretrain.task.rewards`
    stages: Mapping[str, float] | None = None  # weights of the starts in `sim_pretrain.task.stages`; none: only home
    randomization: TableSource | None = None  # draws a table for every episode, around `profile`; none: always that
    profile: WorldProfile | None = None  # the table; none: that of the task
    oracle: bool = False  # no camera, but the cube's true place in the state: for teachers, never for the arm
    blind: bool = False  # all images are black, for the baseline that must fail
    all_cameras: bool = False  # observe every camera of the spec, not only those of the policy

    def make(self) -> SimEnv:
        """Build the environment."""
        return SimEnv(**vars(self))


class SimEnv(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """One simulated table with one task, at the real arm's control rate.

    Observations are {camera: uint8 [H, W, 3], "state": float32 [D]}; actions float32 [4] as in `ActionSpec`.
    Success and a lost cube terminate; the time limit truncates. `info` has `success`, `lost`, `grasped` (by both
    pads), `reward_terms`, `executed` (float32 [4], the action after safety) and `limited` (safety changed it).
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (Gymnasium's own form)

    def __init__(self, task: str | SimTask = "lift", *, render_mode: str | None = None, **options: Any) -> None:
        """Build the world.

        Args:
            task: what is to be done.
            render_mode: "rgb_array" to have `render` return the front camera's view.
            options: the other fields of `EnvConfig`.

        Raises:
            UserError: an unknown task, reward, stage or render mode; the message lists those that exist.
        """
        if render_mode not in (None, "rgb_array"):
            raise UserError(f"render_mode is {render_mode!r}; accepted is rgb_array, or none")
        self.render_mode, self._config = render_mode, EnvConfig(task, **options)
        found = find_task(task) if isinstance(task, str) else task
        self.task = replace(found, spec=oracle_spec(found.spec)) if self._config.oracle else found
        self._reward = find_reward(self._config.reward)
        self._reward.require(found)
        if self._config.stages is not None:
            require_stages(self._config.stages)
        self._profile = self._config.profile or self.task.profile
        self.world = World(self._profile, prop=self.task.prop)
        observed = self.task.spec.observation
        names = tuple(c.name for c in observed.cameras) if self._config.all_cameras else observed.policy_cameras
        self._arm = make_env(self.world, self.task.spec, names)
        if self._config.blind:
            self._arm.frames = LensCap(self._profile)
        self.action_space = spaces.Box(-1.0, 1.0, (len(self.task.spec.action.names),), np.float32)
        self.observation_space: spaces.Space[Any] = _space(self.task.spec, names)
        self.truth: Truth = self.world.truth()
        self.observation: Observation
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode; equal seeds give equal episodes. `info` names the stage."""
        super().reset(seed=seed)
        if self._config.randomization is not None:
            self.world.apply(self._config.randomization.sample(self.np_random, self._profile))
        stage = scatter(self.world, self.task, self.np_random, self._config.stages)
        observed = self._arm.begin()
        self.truth, self._steps = self.world.truth(), 0
        self._referee = Referee(self.task, self.truth, self._arm.hold_action())
        return self._observe(observed), {"stage": stage}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Act for one control period.

        Raises:
            ValueError: the action is not finite; nothing has happened.
        """
        step = self._arm.step(action)
        self._steps += 1
        self.truth = self.world.truth()
        self.state: TaskState = self._referee.look(self.truth, step.executed, 1.0 / self.task.spec.rate_hz)
        terms = self._reward.terms(self.state)
        terminated = self.state.success or self.state.lost
        truncated = not terminated and self._steps >= self.task.spec.time_limit_steps
        info = {
            "success": self.state.success,
            "lost": self.state.lost,
            "grasped": self.state.grasped,
            "reward_terms": terms,
            "executed": step.executed,
            "limited": step.limited,
        }
        return self._observe(step.observation), float(sum(terms.values())), terminated, truncated, info

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """Return the front camera's view, uint8 [H, W, 3], or None without a render mode."""
        return self.world.render("front") if self.render_mode else None

    def close(self) -> None:
        """Free the renderer."""
        self.world.close()

    def _observe(self, observed: Observation) -> dict[str, np.ndarray]:
        if self._config.oracle:
            state = np.concatenate((observed.state, privileged_state(self.truth)))
            observed = Observation({}, state.astype(np.float32), observed.stamp_s)
        self.observation = observed
        return {**observed.images, "state": observed.state}


class LensCap:
    """Cameras that see nothing."""

    def __init__(self, profile: WorldProfile) -> None:
        self._black = np.zeros((profile.native_height_px, profile.native_width_px, 3), np.uint8)

    def read(self, name: str) -> tuple[np.ndarray, float]:
        """Return a black frame."""
        return self._black, 0.0


def oracle_spec(spec: TaskSpec) -> TaskSpec:
    """Return the spec of an oracle of this task: no camera, privileged state. Nothing on the arm accepts it."""
    state = (*spec.observation.state, *PRIVILEGED)
    observation = replace(spec.observation, cameras=(), policy_cameras=(), state=state)
    return replace(spec, name=f"{spec.name}-oracle", observation=observation)


def privileged_state(truth: Truth) -> np.ndarray:
    """Return float32 [10] in the order of `PRIVILEGED`. A cube's yaw repeats every quarter turn."""
    quarter = np.pi / 2
    yaw = (truth.cube_yaw_rad + quarter / 2) % quarter - quarter / 2
    target = truth.target_m or (0.0, 0.0, 0.0)
    return np.array([*truth.cube_m, *np.subtract(truth.cube_m, truth.ee_m), yaw, *target], np.float32)


def _space(spec: TaskSpec, cameras: tuple[str, ...]) -> spaces.Dict:
    """Observation space of some cameras and the state."""
    images = {
        c.name: spaces.Box(0, 255, (c.size_px, c.size_px, 3), np.uint8)
        for c in spec.observation.cameras
        if c.name in cameras
    }
    state = spaces.Box(-np.inf, np.inf, (spec.observation.state_dim,), np.float32)
    return spaces.Dict({**images, "state": state})
