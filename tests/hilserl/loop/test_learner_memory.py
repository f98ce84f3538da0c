"""What the learner says about memory before it starts."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from data.errors import UserError
from data.replay import capacity
from data.replay.capacity import GIB
from data.spec import TaskSpec
from hilserl.agents.features import ReplayConfig
from hilserl.agents.networks import Policy
from hilserl.agents.policy_file import LoadedPolicy
from hilserl.loop.learner import Learner, LearnerConfig
from hilserl.runs import RunDirectory


def learner(task: TaskSpec, path: Path, capacity_gib: float, planned_episodes: int) -> Learner:
    policy = Policy(task.observation, len(task.action.names))
    config = LearnerConfig(replay=ReplayConfig(capacity_gib=capacity_gib))
    start = LoadedPolicy(policy, {}, {})
    return Learner(RunDirectory(path), task, start, config, planned_episodes=planned_episodes)


@pytest.mark.parametrize(("capacity_gib", "level"), [(4.0, logging.INFO), (0.01, logging.WARNING)])
def test_it_says_once_what_fits(
    task: TaskSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture, capacity_gib: float, level: int
) -> None:
    with caplog.at_level(logging.INFO, "hilserl.loop.learner"):
        learner(task, tmp_path / "run", capacity_gib, planned_episodes=80)
    (record,) = caplog.records
    planned = (LearnerConfig().baseline_episodes + 80) * task.time_limit_steps
    assert record.levelno == level
    assert f"the planned {planned} steps need 0.0" in record.getMessage()
    assert ("oldest policy steps" in record.getMessage()) == (level == logging.WARNING)


def test_a_plan_beyond_the_memory_of_the_machine_is_refused(
    task: TaskSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "available_bytes", lambda device: GIB // 2)
    with pytest.raises(UserError, match=r"has 0\.5 GiB free"):
        learner(task, tmp_path / "run", 4.0, planned_episodes=10_000)
    learner(task, tmp_path / "run", 4.0, planned_episodes=80)
