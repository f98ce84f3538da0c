"""A policy folder: what goes in comes out, and what does not fit is refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data.errors import UserError
from data.spec import SpecMismatch, TaskSpec
from hilserl.agents.networks import CriticEnsemble, Policy
from hilserl.agents.policy_file import load_policy, save_policy
from hilserl.runs import RunDirectory, load_checkpoint

NewPolicy = Callable[..., Policy]


@pytest.fixture
def saved(tmp_path: Path, task: TaskSpec, new_policy: NewPolicy) -> Path:
    return save_policy(tmp_path / "policy", new_policy(1), task, {"note": "from here"})


def test_roundtrip_is_bit_equal(tmp_path: Path, task: TaskSpec, new_policy: NewPolicy) -> None:
    policy = new_policy(1)
    critic = CriticEnsemble(policy.features, task.observation, 4, members=2).state_dict()
    loaded = load_policy(save_policy(tmp_path / "policy", policy, task, {"note": "hi"}, critic), task)
    for found, expected in ((loaded.policy.state_dict(), policy.state_dict()), (loaded.critic, critic)):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[k], expected[k]) for k in expected)
    assert loaded.info["note"] == "hi"
    features, state = torch.randn(3, policy.features), torch.randn(3, 4)
    assert torch.equal(loaded.policy.actor(features, state)[1], policy.actor(features, state)[1])


def test_a_policy_without_critics_has_none(saved: Path, task: TaskSpec) -> None:
    assert load_policy(saved, task).critic == {}


def test_a_run_stands_for_its_newest_checkpoint(tmp_path: Path, saved: Path, task: TaskSpec) -> None:
    run = RunDirectory(tmp_path / "run")
    tensors, info = load_checkpoint(saved)
    for n in (1, 2):
        run.save_checkpoint(tensors, info | {"n": n})
    assert load_policy(run.path, task).info["n"] == 2


def test_another_spec_is_refused_key_by_key(saved: Path, task: TaskSpec) -> None:
    other = replace(task, rate_hz=20.0, action=replace(task.action, step_m=0.02))
    with pytest.raises(SpecMismatch) as caught:
        load_policy(saved, other)
    message = str(caught.value)
    assert "rate_hz: this session has 20.0" in message and "has 10.0" in message
    assert "action.step_m" in message
    assert "name" not in message.split("--task")[0].replace("names", "")  # equal keys are not listed


def test_nothing_there(tmp_path: Path, task: TaskSpec) -> None:
    with pytest.raises(UserError, match="no such folder"):
        load_policy(tmp_path / "absent", task)


@pytest.mark.parametrize("name", ["tensors.safetensors", "info.json"])
@pytest.mark.parametrize("keep", [0.0, 0.6])
def test_a_torn_file_says_so(saved: Path, task: TaskSpec, name: str, keep: float) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UserError, match=r"is damaged(?s:.*)hilserl pretrain"):
        load_policy(saved, task)


def test_a_checkpoint_that_is_no_policy_says_so(tmp_path: Path, saved: Path, task: TaskSpec) -> None:
    tensors, info = load_checkpoint(saved)
    run = RunDirectory(tmp_path / "run")
    run.save_checkpoint(tensors, {"threshold": 0.5})
    with pytest.raises(UserError, match=r"\['threshold'\], not `spec`"):
        load_policy(run.path, task)
    del tensors["policy.actor.mean.weight"]
    run.save_checkpoint(tensors, info)
    with pytest.raises(UserError, match=r"does not fit(?s:.*)actor\.mean\.weight"):
        load_policy(run.path, task)


def test_the_file_is_readable_without_us(saved: Path, task: TaskSpec) -> None:
    info = json.loads((saved / "info.json").read_text())
    assert TaskSpec.from_json(json.dumps(info["spec"])) == task
