"""A frozen policy with a bounded correction."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from data.errors import UserError
from data.schema import Observation
from data.spec import TaskSpec
from hilserl.agents.networks import Policy
from hilserl.agents.residual import ResidualActor

NewPolicy = Callable[..., Policy]


def corrected(policy: Policy, task: TaskSpec, *scale: float) -> tuple[Policy, ResidualActor]:
    torch.manual_seed(9)
    actor = ResidualActor.over(policy, task.observation, scale)
    policy.actor = actor
    return policy, actor


def test_at_first_it_acts_as_its_base(task: TaskSpec, new_policy: NewPolicy) -> None:
    base = new_policy(1)
    nn.init.constant_(base.actor.mean.bias, 4.0)  # saturated, as a gripper is
    policy, _ = corrected(copy.deepcopy(base), task, 0.3)
    rng = np.random.default_rng(0)
    for _ in range(5):
        image = rng.integers(0, 256, (47, 47, 3), np.uint8)
        seen = Observation({"wrist": image}, rng.uniform(-1, 1, 4).astype(np.float32), 0.0)
        np.testing.assert_array_equal(policy.act(seen), base.act(seen))


@pytest.mark.parametrize("base_mean", [0.0, 1.0, -3.0, 9.0])
@pytest.mark.parametrize("pull", [50.0, -50.0, 0.4, -0.4])
def test_the_correction_is_bounded_in_each_dimension(
    task: TaskSpec, new_policy: NewPolicy, base_mean: float, pull: float
) -> None:
    scale = torch.tensor([0.3, 0.1, 1.0, 2.0])
    policy, actor = corrected(new_policy(), task, *scale.tolist())
    nn.init.zeros_(actor.base.mean.weight)
    nn.init.constant_(actor.base.mean.bias, base_mean)
    nn.init.constant_(actor.mean.bias, pull)
    base, sign = float(np.tanh(base_mean)), float(np.sign(pull))
    mode = actor.mode(torch.zeros(1, policy.features), torch.zeros(1, 4))[0]
    assert ((mode - base).abs() <= scale + 1e-6).all() and (mode.abs() <= 1.0).all()
    if abs(pull) > 1:  # all the way
        wanted = (base + sign * scale).clamp(-1.0, 1.0)
        torch.testing.assert_close(mode, wanted, atol=2e-6, rtol=0.0)
    else:
        assert (torch.sign(mode - base) == sign).all() or abs(base_mean) > 8


def test_only_the_correction_learns_also_where_the_base_is_saturated(task: TaskSpec, new_policy: NewPolicy) -> None:
    policy, actor = corrected(new_policy(), task, 0.3)
    nn.init.constant_(actor.base.mean.bias, 3.0)
    before = copy.deepcopy(actor.base.state_dict())
    learned = [p for p in actor.parameters() if p.requires_grad]
    assert len(learned) == len(list(actor.base.parameters()))  # as many again are frozen
    features, state = torch.randn(8, policy.features), torch.randn(8, 4)
    optimizer = torch.optim.Adam(learned, 1e-2)
    for _ in range(60):
        loss = (actor.mode(features, state) + 1.0).square().mean()  # wants -1 everywhere
        optimizer.zero_grad()
        loss.backward()
        assert max(p.grad.abs().max() for p in learned if p.grad is not None) < 10.0
        optimizer.step()
    moved = actor.mode(features, state) - actor.base.mode(features, state)
    assert (moved < -0.2).all() and (moved >= -0.3 - 1e-5).all()
    assert all(torch.equal(v, before[k]) for k, v in actor.base.state_dict().items())


@pytest.mark.parametrize("scale", [(), (0.1, 0.2), (0.0,), (0.3, 0.3, 0.3, 2.5)])
def test_scales_that_cannot_be_are_refused(task: TaskSpec, new_policy: NewPolicy, scale: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="accepted are 1 or 4 numbers above 0 and up to 2"):
        ResidualActor.over(new_policy(), task.observation, scale)
