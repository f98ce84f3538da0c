"""Stable-Baselines3's SAC and PPO on the same simulation, from privileged state: what our own agents are held against.

They see the same oracle state, actions, rewards, starts and evaluations. They cannot be resumed, and what they learn
stays here: no arm takes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces

from data.errors import UserError
from data.schema import Observation
from data.spec import ObservationSpec
from hilserl.metrics import MetricsLog
from hilserl.runs import RunDirectory
from sim_pretrain.episodes.evaluation import Evaluation, evaluate
from sim_pretrain.rl.console import TensorBoardReporter
from sim_pretrain.rl.report import Evaluated, Reporter, Result
from sim_pretrain.task.env import EnvConfig, SimEnv
from sim_pretrain.task.rewards import find_reward
from sim_pretrain.task.tasks import find_task
from sim_pretrain.world.profile import WorldProfile
from sim_pretrain.world.randomize import Randomization

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

Kind = Literal["sb3-sac", "sb3-ppo"]


@dataclass(frozen=True)
class BaselineConfig:
    """A baseline; whatever is not here is Stable-Baselines3's own default."""

    task: str = "lift"  # lift, bowl or paper
    reward: str = "dense"  # see sim_pretrain/task/rewards.py
    stages: dict[str, float] = field(default_factory=lambda: {"home": 1.0})  # weights of the training's starts
    steps: int = 100_000  # environment transitions
    discount: float = 0.97
    lr: float = 3e-4
    batch_size: int = 256
    random_steps: int = 1000  # of SAC: uniformly random actions at first
    rollout_steps: int = 2048  # of PPO: transitions between updates
    evaluate_every: int = 5000  # steps between evaluations
    evaluation_episodes: int = 50
    tensorboard: bool = False  # curves for TensorBoard beside metrics.jsonl; needs the extra `tensorboard`
    seed: int = 0


class NormalizedState(gymnasium.Wrapper[np.ndarray, np.ndarray, dict[str, np.ndarray], np.ndarray]):
    """The oracle's state alone, scaled to about [-1, 1] by the ranges of its spec; `info` has `is_success`."""

    def __init__(self, env: SimEnv) -> None:
        super().__init__(env)  # type: ignore[arg-type]  # mypy takes the wrapper's types for those of `env`
        self._spec = env.task.spec.observation
        self.observation_space = spaces.Box(-3.0, 3.0, (self._spec.state_dim,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Start an episode."""
        observed, info = self.env.reset(seed=seed, options=options)
        return normalized(observed["state"], self._spec), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Act for one control period."""
        observed, reward, terminated, truncated, info = self.env.step(action)
        info = {**info, "is_success": info["success"]}
        return normalized(observed["state"], self._spec), float(reward), terminated, truncated, info


def train_baseline(
    kind: Kind,
    run: RunDirectory,
    config: BaselineConfig,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    randomization: Randomization | None = None,
    profile: WorldProfile | None = None,
    reporters: Sequence[Reporter] = (),
) -> Result:
    """Train a baseline and evaluate it as our own agents are; `metrics.jsonl` holds the numbers.

    Raises:
        UserError: Stable-Baselines3 is not installed, or the task, reward or stages do not exist.
    """
    task, reward = find_task(config.task), find_reward(config.reward)
    reward.require(task)
    require_stable_baselines(kind)
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.logger import KVWriter, Logger

    judged = EnvConfig(task, config.reward, None, randomization, profile, oracle=True)
    told: list[Reporter] = [*reporters]
    started_s, history, kept = time.monotonic(), list[Evaluated](), list[Evaluation]()

    class Writer(KVWriter):
        def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None:
            tell(step, {k: float(v) for k, v in key_values.items() if isinstance(v, int | float | np.number)})

        def close(self) -> None:
            pass

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            for reporter in told:
                reporter.progress(self.num_timesteps, config.steps)
            if self.num_timesteps % config.evaluate_every == 0:
                look()
            return not should_stop()

    def tell(step: int, values: Mapping[str, float]) -> None:
        metrics.write({"steps": step, **values})
        for reporter in told:
            reporter.row(step, values)

    def look() -> None:
        found = evaluate(tests, Greedy(model, tests.task.spec.observation), config.evaluation_episodes)
        minutes = (time.monotonic() - started_s) / 60
        step, mean_steps = model.num_timesteps, found.mean_steps if found.wins else None
        history.append(Evaluated(step, round(minutes, 3), found.wins, found.n, mean_steps))
        if not kept or found.better_than(kept[-1]):
            kept.append(found)
        tell(step, {"eval/success_rate": found.success, "eval/ep_len_mean": found.mean_steps})
        for reporter in told:
            reporter.say(f"{step:,} steps, {minutes:.1f} min: {found.text()}")

    with ExitStack() as opened:
        env = NormalizedState(replace(judged, stages=config.stages).make())
        opened.callback(env.close)
        tests = judged.make()
        opened.callback(tests.close)
        metrics = opened.enter_context(MetricsLog(run.metrics_path))
        if config.tensorboard:
            told.append(opened.enter_context(TensorBoardReporter(run.path / "tensorboard")))
        model = _model(kind, env, config)
        model.set_logger(Logger(None, [Writer()]))
        model.learn(config.steps, callback=Watch(), log_interval=20 if kind == "sb3-sac" else 1)
        if not history or history[-1].step != model.num_timesteps:
            look()
    minutes = (time.monotonic() - started_s) / 60
    finished = model.num_timesteps >= config.steps
    return Result(finished, model.num_timesteps, minutes, tuple(history), kept[-1] if kept else None, None)


class Greedy:
    """A trained baseline as `evaluate` wants it."""

    def __init__(self, model: BaseAlgorithm, spec: ObservationSpec) -> None:
        self._model, self._spec = model, spec

    def act(self, observation: Observation) -> np.ndarray:
        """Return its deterministic action, float32 [4]."""
        action, _ = self._model.predict(normalized(observation.state, self._spec), deterministic=True)
        return np.asarray(action, np.float32)


def normalized(state: np.ndarray, spec: ObservationSpec) -> np.ndarray:
    """Return a state [D] scaled so that the range of each field is [-1, 1], and clipped at three times that."""
    low, high = (np.concatenate([np.full(f.size, getattr(f, end)) for f in spec.state]) for end in ("low", "high"))
    scaled = (state - (low + high) / 2) / ((high - low) / 2)
    return np.clip(scaled, -3.0, 3.0).astype(np.float32)


def require_stable_baselines(kind: str) -> None:
    """Check that Stable-Baselines3 can be imported.

    Raises:
        UserError: it cannot; the message has the command that installs it.
    """
    try:
        import stable_baselines3  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"{kind} needs Stable-Baselines3, which is not installed ({error}). Install and run: "
            f"uv run --extra baselines hilserl pretrain --method={kind} ... The project's own methods do not need it."
        ) from error


def _model(kind: Kind, env: NormalizedState, config: BaselineConfig) -> BaseAlgorithm:
    from stable_baselines3 import PPO, SAC

    common: dict[str, Any] = {
        "learning_rate": config.lr, "batch_size": config.batch_size, "gamma": config.discount, "seed": config.seed,
        "device": "cpu",
    }  # fmt: skip
    if kind == "sb3-sac":
        return SAC("MlpPolicy", env, learning_starts=config.random_steps, **common)
    return PPO("MlpPolicy", env, n_steps=config.rollout_steps, **common)
