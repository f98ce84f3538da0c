"""The update rules against numbers worked out by hand, on networks that are constants."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from data.errors import UserError
from data.replay.pixel_replay import PixelBatch
from data.schema import Episode, EpisodeMeta, Observation, Outcome, Source, Transition
from data.spec import TaskSpec
from hilserl.agents.features import FeatureReplay, ReplayConfig
from hilserl.agents.networks import Actor, CriticEnsemble, Policy
from hilserl.agents.sac import Batch, Sac, SacConfig, decayed, least

NewPolicy = Callable[..., Policy]
GRIPPER = 3.0  # mean of the gripper before squashing: its density must not matter
TANH_GRIPPER = 0.9950548


def always(critic: CriticEnsemble, *values: float) -> None:
    """Make each critic a constant."""
    nn.init.zeros_(critic.value.weight)
    critic.value.bias.data[:, 0, 0] = torch.tensor(values)


def always_acts(actor: Actor, *mean: float) -> None:
    """Make the actor's mean a constant; its standard deviation is 0.15 from the start."""
    nn.init.zeros_(actor.mean.weight)
    actor.mean.bias.data[:] = torch.tensor(mean)


def batch_of(rows: int = 4, **fields: Tensor) -> Batch:
    generator = torch.Generator().manual_seed(0)
    batch = Batch(
        features=torch.randn(rows, 32, generator=generator),
        state=torch.randn(rows, 4, generator=generator),
        action=torch.rand(rows, 4, generator=generator) * 2 - 1,
        reward=(torch.arange(rows) % 4 == 0).float(),
        discount_mask=(torch.arange(rows) % 4 != 0).float(),
        next_features=torch.randn(rows, 32, generator=generator),
        next_state=torch.randn(rows, 4, generator=generator),
        human=(torch.arange(rows) % 2).float(),
    )
    return batch._replace(**fields)


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items()}


def same(module: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


@pytest.fixture
def sac(task: TaskSpec, new_policy: NewPolicy) -> Sac:
    return Sac(task, SacConfig(anchor_start=1.0, anchor_end=0.05, anchor_episodes=80), new_policy())


ENDS = {  # reward, mask: what the target is when the critics say 0.6 and 0.8
    "goes on": (0.0, 1.0, 0.582),
    "time-out": (0.0, 1.0, 0.582),
    "failure": (0.0, 0.0, 0.0),
    "success": (1.0, 0.0, 1.0),
    "above the largest return": (1.0, 1.0, 1.0),
    "below the smallest return": (-1.0, 1.0, 0.0),
}


def test_target_bootstraps_with_the_minimum_and_is_clipped(sac: Sac) -> None:
    always(sac.target, 0.8, 0.6)
    always(sac.critic, -5.0, 5.0)  # must play no part
    reward, mask, expected = (torch.tensor(column) for column in zip(*ENDS.values(), strict=True))
    found = sac.critic_target(batch_of(len(ENDS), reward=reward, discount_mask=mask))
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad


def test_target_takes_the_minimum_per_row_for_the_next_action(sac: Sac) -> None:
    batch = batch_of(16, reward=torch.zeros(16), discount_mask=torch.ones(16))
    torch.manual_seed(5)
    found = sac.critic_target(batch)
    torch.manual_seed(5)
    with torch.no_grad():
        action = sac.policy.actor.sample(batch.next_features, batch.next_state)[0]
        q = sac.target(batch.next_features, batch.next_state, action)
    rows = [min(1.0, max(0.0, 0.97 * min(q[0, i].item(), q[1, i].item()))) for i in range(16)]
    torch.testing.assert_close(found, torch.tensor(rows))
    assert len({int(i) for i in q.argmin(0)}) == 2  # else the minimum over all rows would pass too
    assert (found > 0).any()


def test_returns_over_several_steps_are_discounted_by_their_length(sac: Sac) -> None:
    always(sac.target, 0.8, 0.6)
    mask = torch.tensor([0.97**2, 0.97, 0.0])  # three steps, two that were cut short by a time-out, an end
    found = sac.critic_target(batch_of(3, reward=torch.tensor([0.25, 0.0, 0.9409]), discount_mask=mask))
    # 0.25 + 0.97³ · 0.6; 0.97² · 0.6; 0.97²
    torch.testing.assert_close(found, torch.tensor([0.7976038, 0.56454, 0.9409]))


def test_the_minimum_is_that_of_some_critics_drawn_at_random() -> None:
    q = torch.tensor([[0.9, 0.1], [0.5, 0.6], [0.7, 0.3]])
    torch.manual_seed(0)
    found = Counter(tuple(round(v, 4) for v in least(q, 2).tolist()) for _ in range(600))
    assert found.keys() == {(0.5, 0.1), (0.7, 0.1), (0.5, 0.3)}  # 0 and 1, 0 and 2, 1 and 2: the same for both rows
    assert min(found.values()) > 150
    torch.testing.assert_close(least(q, 3), torch.tensor([0.5, 0.1]))
    assert sorted({round(least(q, 1)[0].item(), 6) for _ in range(50)}) == [0.5, 0.7, 0.9]


def test_ten_critics_are_two_in_the_target_and_ten_in_the_losses(task: TaskSpec, new_policy: NewPolicy) -> None:
    sac = Sac(task, SacConfig(critics=10), new_policy())
    always(sac.target, *([0.9] * 9), 0.1)
    always(sac.critic, *([0.3] * 9), 0.5)
    batch = batch_of(2, reward=torch.zeros(2), discount_mask=torch.ones(2))
    torch.manual_seed(0)
    found = [sac.critic_target(batch)[0].item() for _ in range(200)]
    assert {round(v, 4) for v in found} == {0.873, 0.097}  # the pessimist is one of two in a fifth of the updates
    assert sum(v < 0.5 for v in found) / 200 == pytest.approx(0.2, abs=0.08)
    loss, info = sac.critic_loss(batch._replace(reward=torch.ones(2), discount_mask=torch.zeros(2)))
    assert loss.item() == pytest.approx(9 * 0.7**2 + 0.5**2)
    assert info["q"].item() == pytest.approx(0.32)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"target_critics": 3}, "target_critics is 3 of 2"),
        ({"critics": 10, "target_critics": 0}, "is 0 of 10"),
        ({"critics": 1}, "is 2 of 1"),
        ({"discount": 1.0}, "discount is 1.0"),
    ],
)
def test_configs_that_cannot_be_are_refused(config: dict, message: str) -> None:
    with pytest.raises(UserError, match=rf"{message}.*accepted"):
        SacConfig(**config)


def test_critic_loss_sums_members_and_averages_rows(sac: Sac) -> None:
    always(sac.target, 0.8, 0.6)
    always(sac.critic, 0.3, 0.5)
    info = sac._update_critic(batch_of(2, reward=torch.tensor([0.0, 1.0]), discount_mask=torch.tensor([1.0, 0.0])))
    # targets 0.582 and 1: ((0.282² + 0.7²) + (0.082² + 0.5²)) / 2
    assert info["critic_loss"].item() == pytest.approx(0.413124, abs=1e-6)
    assert info["q"].item() == pytest.approx(0.4)
    assert info["target"].item() == pytest.approx(0.791)


def constant_actor(sac: Sac, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """Critics 0.3 and 0.5; mode (0, 0, 0, tanh 3); the anchor differs in x; two human rows of four."""
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    always(sac.critic, 0.3, 0.5)
    always_acts(sac.policy.actor, 0.0, 0.0, 0.0, GRIPPER)
    always_acts(sac.anchor, 0.5, 0.0, 0.0, GRIPPER)
    action = torch.tensor(
        [[0.4, 0.0, 0.0, TANH_GRIPPER], [1.0, 1.0, 1.0, -1.0], [0.0, -1.0, 0.0, -1.0], [-1.0, 1.0, 0.3, 0.0]]
    )
    return batch_of(4, action=action, human=torch.tensor([1.0, 0.0, 1.0, 0.0]))


# by hand: entropy of three dimensions, 3 (ln 0.15 + 0.9189385); improvement −(0.4 + 0.002 entropy) / 0.4;
# anchor tanh(0.5)²; cloning ((0.4² / 2) + (1² / 2 + (1.9950548 − 0.5))) / 2
ENTROPY, IMPROVEMENT, ANCHOR, CLONING = -2.934544, -0.985327, 0.213552, 1.037527


def test_every_part_of_the_actor_loss(sac: Sac, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = constant_actor(sac, monkeypatch)
    loss, info = sac.actor_loss(batch, operated_episodes=0)
    assert info["entropy"].item() == pytest.approx(ENTROPY, abs=1e-5)
    assert info["anchor"].item() == pytest.approx(ANCHOR, abs=1e-5)
    assert info["cloning"].item() == pytest.approx(CLONING, abs=1e-5)
    assert loss.item() == pytest.approx(IMPROVEMENT + ANCHOR + CLONING, abs=1e-5)


def test_the_entropy_of_a_gripper_that_explores_counts(
    task: TaskSpec, new_policy: NewPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own share, by hand: ln 0.15 + 0.9189385 + ln(1 − tanh²(3)) = −5.596845."""
    sac = Sac(task, SacConfig(gripper="exploring"), new_policy())
    _, info = sac.actor_loss(constant_actor(sac, monkeypatch), operated_episodes=0)
    assert info["entropy"].item() == pytest.approx(ENTROPY - 5.596845, abs=1e-4)
    assert sac.target_entropy == -2.0


@pytest.mark.parametrize(("episodes", "anchor", "cloning"), [(40, 0.525, 0.55), (80, 0.05, 0.1), (500, 0.05, 0.1)])
def test_anchor_and_cloning_decay(
    sac: Sac, monkeypatch: pytest.MonkeyPatch, episodes: int, anchor: float, cloning: float
) -> None:
    loss, _ = sac.actor_loss(constant_actor(sac, monkeypatch), operated_episodes=episodes)
    assert loss.item() == pytest.approx(IMPROVEMENT + anchor * ANCHOR + cloning * CLONING, abs=1e-5)


def test_no_human_step_means_no_cloning(sac: Sac, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = constant_actor(sac, monkeypatch)._replace(human=torch.zeros(4))
    loss, info = sac.actor_loss(batch, operated_episodes=0)
    assert info["cloning"].item() == 0.0
    assert loss.item() == pytest.approx(IMPROVEMENT + ANCHOR, abs=1e-5)


def test_small_values_do_not_blow_the_improvement_up(sac: Sac, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = constant_actor(sac, monkeypatch)._replace(human=torch.zeros(4))
    always(sac.critic, 0.001, -0.001)
    loss, _ = sac.actor_loss(batch, operated_episodes=0)
    assert loss.item() - ANCHOR == pytest.approx(-0.002 * ENTROPY / 0.01, abs=1e-5)


def test_decay_without_episodes_is_over_at_once() -> None:
    assert [decayed(1.0, 0.2, 4, n) for n in (0, 1, 4, 9)] == pytest.approx([1.0, 0.8, 0.2, 0.2])
    assert decayed(1.0, 0.2, 0, 0) == 0.2


def test_targets_follow_by_polyak_averaging_after_the_critics_step(sac: Sac) -> None:
    before = {k: v.clone() + 0.1 for k, v in sac.target.named_parameters()}
    sac.target.load_state_dict(before, strict=False)
    started = copied(sac.critic)
    sac.update(batch_of(8), operated_episodes=0, train_actor=False)
    assert not same(sac.critic, started)
    for name, stepped in sac.critic.named_parameters():
        expected = before[name] + 0.005 * (stepped.detach() - before[name])
        torch.testing.assert_close(sac.target.get_parameter(name), expected, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize(("std_bias", "sign"), [(float(np.log(0.15)), 1), (float(np.log(0.3)), -1)])
def test_temperature_drives_entropy_to_its_target(sac: Sac, std_bias: float, sign: int) -> None:
    """Three dimensions with σ 0.15 lie below the target of −1.5, with σ 0.3 above it."""
    always_acts(sac.policy.actor, 0.0, 0.0, 0.0, GRIPPER)
    nn.init.constant_(sac.policy.actor.log_std.bias, std_bias)
    info = sac.update(batch_of(64), operated_episodes=0, train_actor=True)
    assert float(info["temperature"]) == pytest.approx(0.002 * np.exp(sign * 3e-4), rel=1e-5)  # Adam's first step


def test_temperature_loss_is_the_temperature_times_what_entropy_is_above_its_target(sac: Sac) -> None:
    loss = sac.temperature_loss(torch.tensor(ENTROPY))
    assert loss.item() == pytest.approx(0.002 * (ENTROPY + 1.5), abs=1e-8)
    loss.backward()  # by the logarithm of the temperature, it is the same again
    assert sac.log_temperature.grad is not None
    assert sac.log_temperature.grad.item() == pytest.approx(-0.002869, abs=1e-6)


def test_actor_trains_every_fourth_update_and_only_when_it_may(sac: Sac) -> None:
    actor, encoder, anchor = copied(sac.policy.actor), copied(sac.policy.encoder), copied(sac.anchor)
    for _ in range(8):
        sac.update(batch_of(8), operated_episodes=0, train_actor=False)
    assert same(sac.policy.actor, actor)
    assert sac.log_temperature.exp().item() == pytest.approx(0.002)
    trained = ["actor_loss" in sac.update(batch_of(8), operated_episodes=0, train_actor=True) for _ in range(8)]
    assert trained == [True, False, False, False] * 2
    assert sac.updates == 16
    assert not same(sac.policy.actor, actor)
    assert same(sac.policy.encoder, encoder) and same(sac.anchor, anchor)


def test_gradient_reaches_all_that_trains_and_nothing_else(sac: Sac) -> None:
    batch = batch_of(32)
    sac._update_critic(batch)
    assert all(p.grad is not None and p.grad.any() for p in sac.critic.parameters())
    assert all(p.grad is None for p in sac.policy.parameters())
    sac._update_actor(batch, 0)
    for name, parameter in sac.policy.actor.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
    frozen = [*sac.policy.encoder.parameters(), *sac.anchor.parameters(), *sac.target.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in frozen)


def test_actor_follows_the_gradient_of_the_critics(sac: Sac, monkeypatch: pytest.MonkeyPatch) -> None:
    """Critics that like a larger x must pull the mode of x up, and nothing else by as much."""
    monkeypatch.setattr(sac.critic, "forward", lambda features, state, action: action[:, 0].expand(2, -1))
    batch = batch_of(64, human=torch.zeros(64))
    before = torch.tanh(sac.policy.actor(batch.features, batch.state)[0]).mean(0)
    for _ in range(40):
        sac._update_actor(batch, 10**6)
    moved = torch.tanh(sac.policy.actor(batch.features, batch.state)[0]).mean(0) - before
    assert moved[0] > 0.1
    assert moved[1:].abs().max() < moved[0] / 2


# end to end

IMAGES = torch.randint(0, 256, (2, 8, 1, 47, 47, 3), generator=torch.Generator().manual_seed(3)).to(torch.uint8)


def pixels_of(rows: Batch, bootstrap: Tensor) -> PixelBatch:
    """The transitions of `rows`, with 8 images at each end in place of features."""
    return PixelBatch(
        images={"wrist": IMAGES[0]},
        state=rows.state,
        action=rows.action,
        reward=rows.reward,
        bootstrap=bootstrap,
        next_images={"wrist": IMAGES[1]},
        next_state=rows.next_state,
        human=rows.human,
    )


@pytest.fixture
def seeing(task: TaskSpec, new_policy: NewPolicy) -> Sac:
    """SAC that trains its encoder."""
    return Sac(task, SacConfig(encoder_lr=1e-3, actor_every=1, anchor_start=1.0), new_policy())


def test_from_pixels_the_losses_are_those_of_the_features(seeing: Sac, task: TaskSpec, new_policy: NewPolicy) -> None:
    frozen = Sac(task, SacConfig(actor_every=1), new_policy())
    seeing.load_state_dict(frozen.state_dict(), strict=False)
    rows = batch_of(8)
    features, next_features = (seeing.policy.encode(i.transpose(1, 2)).detach() for i in IMAGES.unsqueeze(2))
    torch.manual_seed(4)
    expected = frozen.update(rows._replace(features=features, next_features=next_features), operated_episodes=3)
    torch.manual_seed(4)
    found = seeing.update(pixels_of(rows, 0.97 * rows.discount_mask), operated_episodes=3)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4)


def test_returns_over_several_steps_keep_their_own_discount(seeing: Sac) -> None:
    always(seeing.target, 0.8, 0.6)
    rows = batch_of(8, reward=torch.full((8,), 0.25))
    target = seeing.critic_target(seeing._encoded(pixels_of(rows, torch.full((8,), 0.97**3))))
    torch.testing.assert_close(target, torch.full((8,), 0.25 + 0.97**3 * 0.6))


def test_the_critics_train_the_encoder_and_the_actor_does_not(seeing: Sac) -> None:
    batch = seeing._encoded(pixels_of(batch_of(8), torch.full((8,), 0.97)))
    before = copied(seeing.policy.encoder)
    seeing._update_critic(batch)
    assert all(p.grad is not None and p.grad.any() for p in seeing.policy.encoder.parameters())
    assert not same(seeing.policy.encoder, before)
    seeing.policy.encoder.zero_grad()
    before = copied(seeing.policy.encoder)
    seeing._update_actor(batch, 0, {"wrist": IMAGES[0]})
    assert all(p.grad is None for p in seeing.policy.encoder.parameters())
    assert same(seeing.policy.encoder, before)


def test_the_anchor_keeps_the_eyes_it_had(seeing: Sac) -> None:
    """Whatever the encoder learns, the anchor pulls to what the simulation policy did on these images."""
    batch = pixels_of(batch_of(8), torch.full((8,), 0.97))
    with torch.no_grad():
        reference = seeing.policy.actor.mode(seeing.policy.encode_batch(batch.images), batch.state)
        for parameter in seeing.policy.encoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        features = seeing.policy.encode_batch(batch.images)
        drifted = seeing.policy.actor.mode(features, batch.state)
    info = seeing._update_actor(seeing._encoded(batch), 0, batch.images)
    assert info["anchor"].item() == pytest.approx((drifted - reference).square().sum(-1).mean().item(), rel=1e-4)
    assert info["anchor"] > 1e-6


def test_features_and_pixels_are_not_mixed_up(sac: Sac, seeing: Sac) -> None:
    with pytest.raises(ValueError, match=r"encoder_lr is 0.001.*with a Batch"):
        seeing.update(batch_of(8))
    with pytest.raises(ValueError, match=r"encoder_lr is 0.0,.*with a PixelBatch"):
        sac.update(pixels_of(batch_of(8), torch.ones(8)))
    assert "encoder" in seeing.optimizers() and "encoder" not in sac.optimizers()


# a task that can be learnt in seconds

BLACK = np.zeros((47, 47, 3), np.uint8)


def point_episode(task: TaskSpec, rng: np.random.Generator, act: Callable[[np.ndarray], np.ndarray]) -> Episode:
    """Bring a point to the origin: an action moves it by 0.4 per axis and unit; 5 steps."""

    def seen(position: np.ndarray) -> Observation:
        return Observation({"wrist": BLACK, "front": BLACK}, np.append(position, 0.0).astype(np.float32), 0.0)

    position, steps = rng.uniform(0.4, 0.8, 3) * rng.choice([-1, 1], 3), []
    first = seen(position)
    for t in range(5):
        action = act(seen(position).state)
        position = np.clip(position + 0.4 * action[:3], -1, 1)
        solved = bool(np.abs(position).max() < 0.3)
        after = seen(position)
        steps.append(Transition(action, action, Source.POLICY, after, solved, solved, t == 4 and not solved, 0.0, 0))
        if solved:
            break
    outcome = Outcome.SUCCESS if solved else Outcome.TIMEOUT
    return Episode.from_steps(first, steps, EpisodeMeta(outcome, "online", task.fingerprint))


def test_a_bad_policy_learns_to_reach_a_point(task: TaskSpec, new_policy: NewPolicy) -> None:
    policy, rng = new_policy(), np.random.default_rng(0)
    policy.actor.mean.bias.data[0] = 1.0  # it runs away along x

    @torch.no_grad()
    def mode(state: np.ndarray) -> np.ndarray:
        features = policy.encode(torch.from_numpy(BLACK)[None, None])
        return torch.tanh(policy.actor(features, torch.from_numpy(state)[None])[0])[0].numpy()

    def successes() -> int:
        rng = np.random.default_rng(1)
        return sum(point_episode(task, rng, mode).meta.outcome is Outcome.SUCCESS for _ in range(20))

    before = successes()
    replay = FeatureReplay(policy, ReplayConfig(copies=0, batch_size=128))
    for _ in range(250):
        replay.add(point_episode(task, rng, lambda _: rng.uniform(-1, 1, 4).astype(np.float32)))
    config = SacConfig(actor_lr=1e-3, critic_lr=1e-3, tau=0.02, actor_every=2, anchor_start=0.0)
    sac = Sac(task, config, policy)
    for _ in range(700):
        sac.update(replay.sample(), operated_episodes=0, train_actor=True)
    assert before <= 2
    assert successes() >= 15
