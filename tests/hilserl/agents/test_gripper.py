"""The choice of a discrete gripper: what it is, what it executes, what it costs, and how its critic learns it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from data.errors import UserError
from data.schema import Observation
from data.spec import StateField, TaskSpec
from hilserl.agents.gripper import CLOSE, KEEP, MOVED, OPEN, choice_of, command_of, possible, previous_gripper, toggled
from hilserl.agents.networks import Actor, NetworkConfig, Policy
from hilserl.agents.sac import Batch, Sac, SacConfig
from hilserl.agents.warm_start import StartConfig, prepare

DISCRETE = SacConfig(gripper="discrete")
COMMANDS = st.floats(-1, 1, width=32)
LAST = 7  # index of the last gripper command in the state


@pytest.fixture(scope="module")
def hand(task: TaskSpec) -> TaskSpec:
    """The test task without cameras, whose state knows the last action."""
    state = (*task.observation.state, StateField("previous_action", 4, "1", -1.0, 1.0))
    return replace(task, observation=replace(task.observation, cameras=(), policy_cameras=(), state=state))


def new_policy(task: TaskSpec, seed: int = 0) -> Policy:
    torch.manual_seed(seed)
    policy = Policy(task.observation, 4, NetworkConfig(hidden=16))
    return prepare(policy, task, StartConfig(), discrete_gripper=True)


@pytest.fixture
def sac(hand: TaskSpec) -> Sac:
    return Sac(hand, DISCRETE, new_policy(hand))


def values(critic: nn.Module, *q: float) -> None:
    """Make the values of closing, keeping and opening constants."""
    assert isinstance(critic.value, nn.Linear)
    nn.init.zeros_(critic.value.weight)
    critic.value.bias.data[:] = torch.tensor(q)


def batch_of(previous: list[float], executed: list[float], **fields: Tensor) -> Batch:
    rows, generator = len(previous), torch.Generator().manual_seed(0)
    state, next_state = torch.randn(2, rows, 8, generator=generator)
    action = torch.rand(rows, 4, generator=generator) * 2 - 1
    state[:, LAST], action[:, 3] = torch.tensor(previous), torch.tensor(executed)
    next_state[:, LAST] = action[:, 3]
    batch = Batch(
        features=torch.empty(rows, 0),
        state=state,
        action=action,
        reward=torch.zeros(rows),
        discount_mask=torch.ones(rows),
        next_features=torch.empty(rows, 0),
        next_state=next_state,
        human=torch.zeros(rows),
    )
    return batch._replace(**fields)


# choices and commands


@pytest.mark.parametrize(
    ("previous", "executed", "choice"),
    [
        (1.0, -1.0, CLOSE),
        (1.0, 0.7, CLOSE),  # a trigger that has begun to close
        (1.0, 0.95, KEEP),
        (-1.0, -1.0, KEEP),
        (-1.0, 1.0, OPEN),
        (-0.4, -0.2, OPEN),
        (0.3, 0.3, KEEP),
    ],
)
def test_what_was_executed_is_a_choice(previous: float, executed: float, choice: int) -> None:
    assert choice_of(torch.tensor([executed]), torch.tensor([previous])).tolist() == [choice]


@given(COMMANDS)
def test_every_possible_choice_is_recognised_by_its_command(previous: float) -> None:
    before, choices = torch.full((3,), previous), torch.tensor([CLOSE, KEEP, OPEN])
    commands = command_of(choices, before)
    assert commands.tolist() == [-1.0, previous, 1.0]
    allowed = possible(before)[0]
    assert torch.equal(choice_of(commands, before)[allowed], choices[allowed])
    assert allowed.tolist() == [previous > -1 + MOVED, True, previous < 1 - MOVED] or abs(abs(previous) - 0.9) < 1e-6


@given(COMMANDS, COMMANDS)
def test_whatever_was_executed_was_possible(previous: float, executed: float) -> None:
    before = torch.tensor([previous])
    assert possible(before)[0, choice_of(torch.tensor([executed]), before)].item()


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=12))
def test_a_slow_stroke_toggles_once_like_a_fast_one(steps: list[float]) -> None:
    stroke = np.interp(np.cumsum([0.0, *steps]), [0.0, sum(steps)], [1.0, -1.0]).astype(np.float32)
    before, after = torch.tensor(list(pairwise(stroke))).T
    assert toggled(after, before).sum() == 1
    assert not toggled(torch.flip(after, [0]), torch.flip(after, [0])).any()  # held, it costs nothing


def test_a_state_without_the_last_command_is_refused(task: TaskSpec, hand: TaskSpec) -> None:
    assert previous_gripper(hand.observation) == LAST
    with pytest.raises(UserError, match=r"holds position, speed; accepted .*gripper=continuous"):
        previous_gripper(task.observation)


# acting


def seen(position: float, command: float) -> Observation:
    return Observation({}, np.array([position, 0, 0, 1, 0, 0, 0, command], np.float32), 0.0)


@pytest.mark.parametrize("noise", [None, torch.Generator().manual_seed(0)])
@pytest.mark.parametrize(
    ("q", "before", "after"),
    [
        ((0.9, 0.5, 0.1), 1.0, -1.0),
        ((0.9, 0.5, 0.1), -1.0, -1.0),  # closed already
        ((0.1, 0.5, 0.9), -1.0, 1.0),
        ((0.1, 0.5, 0.3), 0.25, 0.25),
        ((0.9, 0.1, 0.5), -1.0, 1.0),  # to close is no choice, so that it is second best that counts
    ],
)
def test_the_gripper_executes_its_best_choice(
    hand: TaskSpec, q: tuple[float, ...], before: float, after: float, noise: torch.Generator | None
) -> None:
    policy = new_policy(hand)
    values(policy.actor.grasp, *q)  # type: ignore[union-attr, arg-type]
    action = policy.act(seen(0.3, before), noise)
    assert action.shape == (4,) and action.dtype == np.float32 and np.isfinite(action).all()
    assert action[3] == pytest.approx(after, abs=1e-6)


def test_the_arm_moves_as_it_did_with_a_continuous_gripper(hand: TaskSpec) -> None:
    torch.manual_seed(3)
    plain = Policy(hand.observation, 4, NetworkConfig(hidden=16))
    before = [plain.act(seen(x, 1.0)) for x in (-0.5, 0.5)]
    noisy = plain.act(seen(0.5, 1.0), torch.Generator().manual_seed(1))
    hybrid = prepare(plain, hand, StartConfig(), discrete_gripper=True)
    np.testing.assert_array_equal([hybrid.act(seen(x, 1.0))[:3] for x in (-0.5, 0.5)], [a[:3] for a in before])
    np.testing.assert_array_equal(hybrid.act(seen(0.5, 1.0), torch.Generator().manual_seed(1))[:3], noisy[:3])


def test_the_density_is_that_of_the_arms_actions(sac: Sac) -> None:
    actor, state = sac.policy.actor, torch.randn(50, 8)
    action, log_density, mode = actor.sample(torch.empty(50, 0), state)
    mean, std = (x[:, :3] for x in Actor.forward(actor, torch.empty(50, 0), state))
    raw = torch.atanh(action)
    expected = torch.distributions.Normal(mean, std).log_prob(raw) - torch.log(1 - action**2)
    torch.testing.assert_close(log_density, expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(mode, torch.tanh(mean))
    torch.testing.assert_close(actor.mode(torch.empty(50, 0), state)[:, :3], mode)


# learning


def test_target_is_a_double_q_with_the_penalty_of_a_toggle(sac: Sac) -> None:
    values(sac.grasp, 0.2, 0.5, 0.3)  # keeping is best
    values(sac.grasp_target, 0.9, 0.6, 0.1)  # and worth 0.6, whatever else is worth more
    batch = batch_of(
        [1.0, -1.0, -1.0, 1.0, 1.0],
        [-1.0, -1.0, 1.0, 0.8, 0.8],
        reward=torch.tensor([0.0, 1.0, 0.0, 0.0, 0.25]),
        discount_mask=torch.tensor([1.0, 0.0, 0.0, 1.0, 0.97**2]),  # the last is a return over three steps
    )
    # -0.02 + 0.97 · 0.6; 1; -0.02, below what a return without a gripper can be; 0.97 · 0.6; 0.25 + 0.97³ · 0.6
    torch.testing.assert_close(sac.grasp_value(batch), torch.tensor([0.562, 1.0, -0.02, 0.582, 0.7976038]))


@pytest.mark.parametrize(("before", "value"), [(1.0, 0.9), (-1.0, 0.6)])
def test_target_leaves_out_what_is_no_choice(sac: Sac, before: float, value: float) -> None:
    values(sac.grasp, 0.7, 0.5, 0.3)
    values(sac.grasp_target, 0.9, 0.6, 0.1)
    found = sac.grasp_value(batch_of([before], [before]))  # the gripper stays, so this is the next last command, too
    assert found.item() == pytest.approx(0.97 * value)


@pytest.mark.parametrize(("penalty", "expected"), [(0.02, 0.157342), (0.0, 0.157962), (0.1, 0.158862)])
def test_grasp_loss_has_the_penalty_in_it(hand: TaskSpec, penalty: float, expected: float) -> None:
    """By hand, with 0.02: ((0.562 − 0.2)² + (1 − 0.5)² + (−0.02 − 0.3)² + (0.582 − 0.2)²) / 4."""
    sac = Sac(hand, replace(DISCRETE, toggle_penalty=penalty), new_policy(hand))
    values(sac.grasp, 0.2, 0.5, 0.3)
    values(sac.grasp_target, 0.9, 0.6, 0.1)
    batch = batch_of(
        [1.0, -1.0, -1.0, 1.0],
        [-1.0, -1.0, 1.0, 0.8],
        reward=torch.tensor([0.0, 1.0, 0.0, 0.0]),
        discount_mask=torch.tensor([1.0, 0.0, 0.0, 1.0]),
    )
    loss, info = sac.grasp_loss(batch)
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert info["grasp_q"].item() == pytest.approx((0.2 + 0.5 + 0.3 + 0.2) / 4)


def test_one_update_is_of_both_losses(sac: Sac) -> None:
    batch = batch_of([1.0, -1.0] * 8, [-1.0, -1.0] * 8, reward=torch.ones(16), discount_mask=torch.zeros(16))
    torch.manual_seed(2)
    critic, grasp = sac.critic_loss(batch)[0], sac.grasp_loss(batch)[0]
    before = [p.clone() for p in sac.grasp_target.parameters()]
    info = sac.update(batch, train_actor=False)
    assert info["critic_loss"].item() == pytest.approx(critic.item())
    assert info["grasp_loss"].item() == pytest.approx(grasp.item())
    for _ in range(60):
        sac.update(batch, train_actor=False)
    assert sac.grasp_loss(batch)[0] < 0.9 * grasp
    assert not any(torch.equal(a, b) for a, b in zip(before, sac.grasp_target.parameters(), strict=True))


def test_arm_and_critics_do_not_see_the_gripper(sac: Sac) -> None:
    closes, holds = batch_of([1.0] * 4, [-1.0] * 4), batch_of([1.0] * 4, [1.0] * 4)
    holds = holds._replace(next_state=closes.next_state)
    torch.manual_seed(1)
    first = sac.critic_loss(closes)[0], sac.actor_loss(closes._replace(human=torch.ones(4)), 0)[0]
    torch.manual_seed(1)
    second = sac.critic_loss(holds)[0], sac.actor_loss(holds._replace(human=torch.ones(4)), 0)[0]
    assert [x.item() for x in first] == [x.item() for x in second]
    assert sac.grasp_loss(closes)[0] != sac.grasp_loss(holds)[0]
    assert sac.critic.first.weight.shape[1] == 8 + 3


def test_a_gripper_that_is_not_the_configs_is_refused(hand: TaskSpec) -> None:
    with pytest.raises(ValueError, match="'continuous', which does not go with a HybridActor"):
        Sac(hand, SacConfig(), new_policy(hand))
    with pytest.raises(ValueError, match="'discrete', which does not go with a Actor"):
        Sac(hand, DISCRETE, Policy(hand.observation, 4))
