"""The baselines: that they run on the same simulation, are judged alike, and say how to install them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UserError
from hilserl.metrics import read_metrics
from hilserl.runs import RunDirectory
from sim_pretrain.rl.baselines import BaselineConfig, Kind, NormalizedState, normalized, train_baseline
from sim_pretrain.task.env import SimEnv, oracle_spec
from sim_pretrain.task.tasks import TASKS

TINY = BaselineConfig(
    steps=300, batch_size=32, random_steps=100, rollout_steps=64, evaluate_every=200, evaluation_episodes=2
)
SPEC = oracle_spec(TASKS["lift"].spec).observation


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Listener:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.said: list[str] = []
        self.moved = 0

    def progress(self, steps: int, total: int) -> None:
        self.moved = steps

    def row(self, steps: int, values: dict[str, float]) -> None:
        self.names |= set(values)

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.parametrize("kind", ["sb3-sac", "sb3-ppo"])
def test_a_baseline_trains_and_is_evaluated_like_ours(tmp_path: Path, kind: Kind) -> None:
    listener, run = Listener(), RunDirectory(tmp_path / "run")
    result = train_baseline(kind, run, replace(TINY, tensorboard=True), reporters=[listener])
    assert list((run.path / "tensorboard").glob("events*"))
    assert result.finished and result.steps >= 300
    assert [e.step for e in result.history] == [200, result.steps]
    assert result.best is not None and [e.seed for e in result.best.episodes] == [1_000_000, 1_000_001]
    assert listener.moved == result.steps and len(listener.said) == 2
    rows = read_metrics(run.metrics_path)
    assert sum("eval/success_rate" in row for row in rows) == 2
    if kind == "sb3-ppo":
        assert {"rollout/ep_len_mean", "time/fps", "train/value_loss"} <= listener.names


def test_a_wish_to_stop_is_granted(tmp_path: Path) -> None:
    result = train_baseline("sb3-sac", RunDirectory(tmp_path / "run"), TINY, lambda: True)
    assert not result.finished and result.steps == 1


def test_without_the_package_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(UserError, match=r"uv run --extra baselines hilserl pretrain --method=sb3-ppo"):
        train_baseline("sb3-ppo", RunDirectory(tmp_path / "run"), TINY)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"task": "fold"}, "no task"), ({"reward": "v99"}, "no reward"), ({"stages": {"space": 1.0}}, "home, far")],
)
def test_what_does_not_exist_is_refused(tmp_path: Path, wrong: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        train_baseline("sb3-sac", RunDirectory(tmp_path / "run"), replace(TINY, **wrong))


def test_the_wrapper_gives_the_scaled_state_and_the_verdict() -> None:
    env = SimEnv("lift", oracle=True)
    wrapped = NormalizedState(env)
    observed, _ = wrapped.reset(seed=3)
    assert wrapped.observation_space.contains(observed)
    np.testing.assert_array_equal(observed, normalized(env.observation.state, SPEC))
    _, _, _, _, info = wrapped.step(np.zeros(4, np.float32))
    assert info["is_success"] is False
    env.close()


@given(st.floats(-10, 10, width=32))
def test_scaling_maps_the_range_of_each_field_to_one(share: float) -> None:
    low, high = (np.concatenate([np.full(f.size, getattr(f, end)) for f in SPEC.state]) for end in ("low", "high"))
    found = normalized(((low + high) / 2 + share * (high - low) / 2).astype(np.float32), SPEC)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.clip(share, -3, 3), rtol=1e-4, atol=1e-4)
