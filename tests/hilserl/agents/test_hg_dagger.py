"""HG-DAgger: its loss by hand, and that it needs nothing but what was shown."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from data.spec import TaskSpec
from hilserl.agents.hg_dagger import HgDagger, HgDaggerConfig
from hilserl.agents.networks import NetworkConfig, Policy
from hilserl.agents.sac import Batch


@pytest.fixture
def agent(task: TaskSpec) -> HgDagger:
    torch.manual_seed(0)
    blind = replace(task, observation=replace(task.observation, cameras=(), policy_cameras=()))
    return HgDagger(blind, HgDaggerConfig(lr=1e-2), Policy(blind.observation, 4, NetworkConfig(hidden=16)))


def batch_of(action: Tensor, human: Tensor, state: Tensor | None = None) -> Batch:
    """The rest of a batch is NaN: it must play no part."""
    rows = len(action)
    state = torch.zeros(rows, 4) if state is None else state
    none, nothing = torch.empty(rows, 0), torch.full((rows,), torch.nan)
    return Batch(none, state, action, nothing, nothing, none, torch.full((rows, 4), torch.nan), human)


def test_loss_is_the_huber_loss_to_the_shown_actions(agent: HgDagger) -> None:
    nn.init.zeros_(agent.policy.actor.mean.weight)
    agent.policy.actor.mean.bias.data[:] = torch.atanh(torch.tensor([0.5, 0.0, 0.0, -0.9]))
    action = torch.tensor([[0.5, 0.4, 0.0, -0.9], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, -0.2, 0.9]])
    # ((0.4² / 2) + (0.5² / 2 + 0.2² / 2 + (1.8 − 0.5))) / 2; the second row is the policy's
    loss = agent.loss(batch_of(action, torch.tensor([1.0, 0.0, 1.0])))
    assert loss.item() == pytest.approx((0.08 + 0.125 + 0.02 + 1.3) / 2, abs=1e-6)
    assert agent.loss(batch_of(action, torch.zeros(3))).item() == 0.0


def test_it_learns_what_was_shown(agent: HgDagger) -> None:
    state = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    action, human = (2 * state[:, [0, 1, 0, 1]]).tanh(), (torch.arange(64) % 2).float()
    batch = batch_of(torch.where(human[:, None] > 0, action, -action), human, state)
    before = agent.loss(batch).item()
    for _ in range(100):
        agent.update(batch)
    assert agent.updates == 100
    assert agent.loss(batch).item() < 0.1 * before


def test_it_waits_when_it_may_not_learn(agent: HgDagger) -> None:
    before = {k: v.clone() for k, v in agent.state_dict().items()}
    assert agent.update(batch_of(torch.ones(2, 4), torch.ones(2)), train_actor=False) == {}
    assert agent.updates == 1
    assert all(torch.equal(v, before[k]) for k, v in agent.state_dict().items())
