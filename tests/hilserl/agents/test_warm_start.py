"""What is left of a policy when an agent begins with it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from data.errors import UserError
from data.spec import StateField, TaskSpec
from hilserl.agents.actors import ACTORS, kind_of, new_actor
from hilserl.agents.networks import Policy
from hilserl.agents.warm_start import StartConfig, prepare

NewPolicy = Callable[..., Policy]


@pytest.fixture
def hand(task: TaskSpec) -> TaskSpec:
    """The test task with a state that knows the last action."""
    state = (*task.observation.state, StateField("previous_action", 4, "1", -1.0, 1.0))
    return replace(task, observation=replace(task.observation, state=state))


def same(a: nn.Module, b: nn.Module) -> bool:
    found = b.state_dict()
    return all(torch.equal(v, found[k]) for k, v in a.state_dict().items())


def test_by_default_everything_stays(task: TaskSpec, new_policy: NewPolicy) -> None:
    policy = new_policy(1)
    actor, encoder = policy.actor, policy.encoder
    assert prepare(policy, task, StartConfig()) is policy
    assert policy.actor is actor and policy.encoder is encoder and same(policy, new_policy(1))


@pytest.mark.parametrize(("encoder", "stays"), [("policy", True), ("scratch", False)])
def test_from_scratch_the_actor_goes_and_the_encoder_may(
    task: TaskSpec, new_policy: NewPolicy, encoder: str, stays: bool
) -> None:
    policy = prepare(new_policy(1), task, StartConfig(actor="scratch", encoder=encoder))  # type: ignore[arg-type]
    assert kind_of(policy.actor) == "gaussian" and not same(policy.actor, new_policy(1).actor)
    assert same(policy.encoder, new_policy(1).encoder) == stays
    assert policy.encode(torch.zeros(1, 1, 47, 47, 3, dtype=torch.uint8)).shape == (1, policy.features)


def test_a_residual_keeps_the_policy_inside(task: TaskSpec, new_policy: NewPolicy) -> None:
    policy = prepare(new_policy(1), task, StartConfig(actor="residual", residual_scale=(0.1, 0.2, 0.3, 2.0)))
    assert kind_of(policy.actor) == "residual" and same(policy.actor.base, new_policy(1).actor)  # type: ignore[arg-type]
    torch.testing.assert_close(policy.actor.scale, torch.tensor([0.1, 0.2, 0.3, 2.0]))


def test_a_discrete_gripper_keeps_the_arm(hand: TaskSpec) -> None:
    plain = Policy(hand.observation, 4)
    actor = copy.deepcopy(plain.actor)
    policy = prepare(plain, hand, StartConfig(), discrete_gripper=True)
    assert kind_of(policy.actor) == "hybrid" and same(actor, policy.actor)
    again = policy.actor
    assert prepare(policy, hand, StartConfig(), discrete_gripper=True).actor is again  # it has one already


@pytest.mark.parametrize("kind", ACTORS)
def test_an_actor_is_known_by_its_kind_and_its_tensors(hand: TaskSpec, kind: str) -> None:
    """All that a checkpoint has to keep."""
    policies = [Policy(hand.observation, 4) for _ in range(2)]
    for policy in policies:
        policy.actor = new_actor(kind, policy, hand.observation)
    if kind == "residual":
        policies[0].actor.scale.fill_(0.3)  # type: ignore[operator, union-attr]
        nn.init.constant_(policies[0].actor.mean.bias, 1.0)
    assert [kind_of(p.actor) for p in policies] == [kind, kind]
    policies[1].load_state_dict(policies[0].state_dict())
    images, state = torch.zeros(3, 1, 1, 47, 47, 3, dtype=torch.uint8), torch.randn(3, 8).clamp(-1, 1)
    assert torch.equal(*(policy.choose(images, state) for policy in policies))


def test_what_cannot_become_what_was_asked_for_is_refused(hand: TaskSpec) -> None:
    def policy(kind: str) -> Policy:
        made = Policy(hand.observation, 4)
        made.actor = new_actor(kind, made, hand.observation)
        return made

    with pytest.raises(UserError, match="actor is hybrid, and its gripper cannot become another"):
        prepare(policy("hybrid"), hand, StartConfig())
    with pytest.raises(UserError, match="actor is residual, and its gripper cannot"):
        prepare(policy("residual"), hand, StartConfig(), discrete_gripper=True)
    with pytest.raises(UserError, match=r"This one is residual, to be made residual.*start\.actor=policy"):
        prepare(policy("residual"), hand, StartConfig(actor="residual"))
    with pytest.raises(UserError, match="This one is gaussian, to be made hybrid"):
        prepare(policy("gaussian"), hand, StartConfig(actor="residual"), discrete_gripper=True)
    with pytest.raises(UserError, match=r"start.encoder is 'scratch'; accepted is start\.actor=scratch"):
        StartConfig(encoder="scratch")
    with pytest.raises(UserError, match="is 'diffusion'; this version knows gaussian, hybrid, residual"):
        new_actor("diffusion", policy("gaussian"), hand.observation)
    assert kind_of(prepare(policy("hybrid"), hand, StartConfig(actor="scratch")).actor) == "gaussian"
