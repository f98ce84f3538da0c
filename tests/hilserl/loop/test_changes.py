"""Other flags on a resume: what is shown, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import draccus
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UserError
from data.spec import SpecMismatch, TaskSpec
from hilserl.agents.networks import NetworkConfig, Policy
from hilserl.agents.policy_file import policy_checkpoint, save_policy
from hilserl.agents.sac import SacConfig
from hilserl.loop.changes import changed, require_same_meaning
from hilserl.loop.learner import LearnerConfig
from hilserl.runs import INFO, RunDirectory

FLAGS = json.loads(json.dumps({"episodes": 80, "resume": False, "learner": draccus.encode(LearnerConfig())}))


def other(flag: str, value: object) -> dict:
    """The flags with another value."""
    flags = json.loads(json.dumps(FLAGS))
    inner = flags
    *path, name = flag.split(".")
    for part in path:
        inner = inner[part]
    inner[name] = value
    return flags


def leaves(tree: dict, prefix: str = "") -> list[str]:
    return [
        name
        for key, value in tree.items()
        for name in (leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key])
    ]


@given(st.sampled_from(sorted(set(leaves(FLAGS)) - {"resume"})))
def test_any_other_flag_is_found_and_shown_or_refused(flag: str) -> None:
    assert changed(FLAGS, FLAGS) == []
    try:
        (change,) = changed(FLAGS, other(flag, "another"))
    except UserError as error:
        assert f"--{flag}: " in str(error) and '-> "another"' in str(error)
    else:
        assert str(change).startswith(f"  --{flag}: ") and '-> "another"' in str(change)


def test_what_changed_is_shown_with_both_values() -> None:
    flags = other("learner.utd", 1.5) | {"episodes": 120, "resume": True, "new": [1, 2]}
    found = [str(c) for c in changed(FLAGS, flags)]
    assert found == ["  --episodes: 80 -> 120", "  --learner.utd: 3.0 -> 1.5", "  --new: (absent) -> [1, 2]"]


@pytest.mark.parametrize(
    ("flag", "value"),
    [("learner.agent", "drqv2"), ("learner.sac.critics", 10), ("learner.sac.encoder_lr", 1e-4)],
)
def test_what_the_saved_numbers_are_cannot_change(flag: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"--{flag}: .* -> {value if flag != 'learner.agent' else '.drqv2.'}"):
        changed(FLAGS, other(flag, value))


def test_a_trained_encoder_may_be_trained_faster() -> None:
    before = other("learner.sac.encoder_lr", 1e-4)
    assert len(changed(before, other("learner.sac.encoder_lr", 1e-3))) == 1


def test_what_comes_too_late_is_said() -> None:
    (change,) = changed(FLAGS, other("learner.sac.temperature_init", 0.1))
    assert "no effect any more" in str(change)


# what the flags name


NETWORK = NetworkConfig(squeeze=4, hidden=8)


@pytest.fixture
def task(made: ModuleType) -> TaskSpec:
    return made.task(1, size_px=47)


def policy_of(task: TaskSpec, seed: int = 1, network: NetworkConfig = NETWORK) -> Policy:
    torch.manual_seed(seed)
    return Policy(task.observation, 4, network)


@pytest.fixture
def run(tmp_path: Path, task: TaskSpec) -> Path:
    directory = RunDirectory(tmp_path / "run")
    directory.save_checkpoint(*policy_checkpoint(policy_of(task), task, {}))
    return directory.path


def test_the_policy_that_the_run_began_with_is_accepted_wherever_it_is(
    run: Path, task: TaskSpec, tmp_path: Path
) -> None:
    policy = policy_of(task)
    with torch.no_grad():
        policy.actor.mean.bias.add_(1.0)  # has learned since
    path = save_policy(tmp_path / "moved", policy, task, {})
    for path_given in (path, run, run / "last"):
        require_same_meaning(run, task, path_given, LearnerConfig())


def test_another_encoder_is_refused_while_it_is_frozen(run: Path, task: TaskSpec, tmp_path: Path) -> None:
    path = save_policy(tmp_path / "other", policy_of(task, seed=2), task, {})
    with pytest.raises(UserError, match="another encoder"):
        require_same_meaning(run, task, path, LearnerConfig())
    require_same_meaning(run, task, path, LearnerConfig(sac=SacConfig(encoder_lr=1e-4)))


def test_a_policy_that_an_older_version_made_has_the_same_network(run: Path, task: TaskSpec, tmp_path: Path) -> None:
    path = save_policy(tmp_path / "older", policy_of(task), task, {})
    info = json.loads((path / INFO).read_text())
    del info["network"]["pooling"]  # it came later
    (path / INFO).write_text(json.dumps(info))
    require_same_meaning(run, task, path, LearnerConfig())


def test_another_network_or_task_is_refused_with_what_differs(run: Path, task: TaskSpec, tmp_path: Path) -> None:
    path = save_policy(tmp_path / "wide", policy_of(task, network=replace(NETWORK, hidden=16)), task, {})
    with pytest.raises(UserError, match="hidden: the run has 8, the policy has 16"):
        require_same_meaning(run, task, path, LearnerConfig())
    faster = replace(task, rate_hz=20.0)
    with pytest.raises(SpecMismatch, match="rate_hz"):
        require_same_meaning(run, faster, run, LearnerConfig())
