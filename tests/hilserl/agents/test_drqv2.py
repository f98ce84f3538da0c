"""DrQ-v2 against numbers worked out by hand, on networks that are constants; and a dot that it learns to follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from data.errors import UserError
from data.replay.pixel_replay import PixelBatch, PixelReplay, PixelReplayConfig
from data.schema import Episode, EpisodeMeta, Observation, Outcome, Source, Transition
from data.spec import CameraSpec, TaskSpec
from hilserl.agents.drqv2 import FAITHFUL, FAST, DrQv2, DrQv2Config
from hilserl.agents.networks import CriticEnsemble, NetworkConfig, Policy
from hilserl.agents.optimizers import load_optimizers, optimizer_tensors

SIZE_PX = 16  # the smallest image that leaves the encoder one pixel
TINY = NetworkConfig(encoder="drqv2", squeeze=8, hidden=32, layer_norm=False)
EXACT = DrQv2Config(bf16=False)


@pytest.fixture(scope="module")
def small(task: TaskSpec) -> TaskSpec:
    """The test task, seen in 16 px."""
    whole = (0.0, 0.0, 1.0, 1.0)
    cameras = (CameraSpec("wrist", whole, SIZE_PX), CameraSpec("front", whole, SIZE_PX))
    return replace(task, observation=replace(task.observation, cameras=cameras))


def new_agent(task: TaskSpec, config: DrQv2Config = EXACT, network: NetworkConfig = TINY, seed: int = 0) -> DrQv2:
    torch.manual_seed(seed)
    return DrQv2(task, config, Policy(task.observation, 4, network))


@pytest.fixture
def agent(small: TaskSpec) -> DrQv2:
    return new_agent(small)


def batch_of(rows: int = 4, stack: int = 1, **fields: Any) -> PixelBatch:
    generator = torch.Generator().manual_seed(0)
    shape = (2, rows, stack, SIZE_PX, SIZE_PX, 3)
    now, later = torch.randint(0, 256, shape, generator=generator).to(torch.uint8)
    batch = PixelBatch(
        images={"wrist": now},
        state=torch.randn(rows, 4, generator=generator),
        action=torch.rand(rows, 4, generator=generator) * 2 - 1,
        reward=torch.rand(rows, generator=generator),
        bootstrap=torch.full((rows,), 0.99**3),
        next_images={"wrist": later},
        next_state=torch.randn(rows, 4, generator=generator),
        human=torch.zeros(rows),
    )
    return batch._replace(**fields)


def always(critic: CriticEnsemble, *values: float) -> None:
    """Make each critic a constant."""
    nn.init.zeros_(critic.value.weight)
    critic.value.bias.data[:, 0, 0] = torch.tensor(values)


def acts(agent: DrQv2, *mode: float) -> None:
    """Make the actor's greedy action a constant."""
    nn.init.zeros_(agent.policy.actor.mean.weight)
    agent.policy.actor.mean.bias.data[:] = torch.atanh(torch.tensor(mode))


def feature_of(agent: DrQv2, batch: PixelBatch) -> Tensor:
    with torch.no_grad():
        return agent.policy.encode_batch(batch.images)


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items()}


def same(module: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


# the schedule


@pytest.mark.parametrize(("steps", "std"), [(0, 1.0), (250_000, 0.55), (500_000, 0.1), (2_000_000, 0.1)])
def test_noise_falls_linearly_from_one_to_a_tenth(agent: DrQv2, steps: int, std: float) -> None:
    assert agent.std(steps) == pytest.approx(std)


def test_its_clock_is_transitions_not_updates(agent: DrQv2, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[float] = []
    noisy = agent.noisy
    monkeypatch.setattr(agent, "noisy", lambda mode, std: (used.append(std), noisy(mode, std))[1])
    for steps in (0, 0, 0, 500_000):
        agent.update(batch_of(), steps=steps)
    assert used == pytest.approx([1.0] * 6 + [0.1] * 2)  # once in the target and once in the actor's loss


def test_noise_is_clipped_and_stays_within_the_bounds(agent: DrQv2) -> None:
    torch.manual_seed(0)
    mode = torch.tensor([0.0, 0.9, -0.9]).repeat(4000, 1)
    action = agent.noisy(mode, 1.0)
    assert action[:, 0].abs().max() == pytest.approx(0.3)
    assert (action[:, 0].abs() >= 0.2999).float().mean() == pytest.approx(0.764, abs=0.03)  # 2 Φ(−0.3)
    assert action[:, 1].max() == 1.0 and action[:, 1].min() == pytest.approx(0.6)
    assert action[:, 2].min() == -1.0 and action[:, 2].max() == pytest.approx(-0.6)
    assert agent.noisy(mode, 0.1)[:, 0].std() == pytest.approx(0.1, rel=0.05)


def test_gradient_passes_the_bounds_of_an_action(agent: DrQv2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn_like", torch.ones_like)
    mode = torch.tensor([0.0, 0.95], requires_grad=True)
    action = agent.noisy(mode, 0.2)
    assert action.tolist() == pytest.approx([0.2, 1.0])
    (action * torch.tensor([2.0, 3.0])).sum().backward()
    assert mode.grad is not None and mode.grad.tolist() == [2.0, 3.0]


# the losses


def test_target_is_the_return_and_the_smaller_value_of_the_last_observation(agent: DrQv2) -> None:
    always(agent.target, 0.8, 0.6)
    always(agent.critic, -5.0, 5.0)  # must play no part
    reward = torch.tensor([0.0, 1.99, 1.0, -2.0])
    bootstrap = torch.tensor([0.970299, 0.970299, 0.0, 0.99])  # 0.99³, ended, a time-out after one step
    batch = batch_of(reward=reward, bootstrap=bootstrap)
    found = agent.critic_target(batch, feature_of(agent, batch), 0.5)
    # 0.970299 · 0.6; 1.99 + that; 1; −2 + 0.99 · 0.6: returns are not clipped
    assert found.tolist() == pytest.approx([0.5821794, 2.5721794, 1.0, -1.406], abs=1e-6)
    assert not found.requires_grad


def test_target_acts_on_the_next_observation_with_noise(agent: DrQv2, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Tensor] = {}

    def value(features: Tensor, state: Tensor, action: Tensor) -> Tensor:
        seen.update(features=features, state=state, action=action)
        return torch.stack((action[:, 0], action[:, 1]))

    monkeypatch.setattr(torch, "randn_like", torch.ones_like)
    monkeypatch.setattr(agent.target, "forward", value)
    acts(agent, 0.5, -0.5, 0.0, 0.9)
    batch, features = batch_of(reward=torch.zeros(4), bootstrap=torch.ones(4)), torch.randn(4, agent.policy.features)
    found = agent.critic_target(batch, features, 0.2)
    assert torch.equal(seen["features"], features) and torch.equal(seen["state"], batch.next_state)
    torch.testing.assert_close(seen["action"], torch.tensor([[0.7, -0.3, 0.2, 1.0]]).expand(4, 4))
    torch.testing.assert_close(found, torch.full((4,), -0.3))


def test_critic_loss_sums_critics_and_averages_rows(agent: DrQv2) -> None:
    always(agent.target, 0.8, 0.6)
    always(agent.critic, 0.3, 0.5)
    batch = batch_of(2, reward=torch.tensor([0.0, 1.0]), bootstrap=torch.tensor([0.97, 0.0]))
    features = feature_of(agent, batch)
    loss, info = agent.critic_loss(batch, features, features, 0.1)
    # targets 0.582 and 1: ((0.282² + 0.7²) + (0.082² + 0.5²)) / 2
    assert loss.item() == pytest.approx(0.413124, abs=1e-6)
    assert info["q"].item() == pytest.approx(0.4)
    assert info["target"].item() == pytest.approx(0.791)


def test_actor_loss_is_the_smaller_value_of_the_noisy_mode(agent: DrQv2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn_like", torch.ones_like)
    monkeypatch.setattr(agent.critic, "forward", lambda features, state, a: torch.stack((a[:, 0] + a[:, 3], a[:, 1])))
    acts(agent, 0.5, -0.2, 0.0, -0.9)
    batch = batch_of()
    loss, _ = agent.actor_loss(batch, feature_of(agent, batch), 0.25)
    # noisy: 0.75, 0.05, 0.25, −0.65; values 0.1 and 0.05
    assert loss.item() == pytest.approx(-0.05, abs=1e-6)


def test_targets_follow_by_polyak_averaging_after_the_critics_step(agent: DrQv2) -> None:
    before = {k: v.clone() + 0.1 for k, v in agent.target.named_parameters()}
    agent.target.load_state_dict(before, strict=False)
    started = copied(agent.critic)
    agent.update(batch_of())
    assert not same(agent.critic, started)
    for name, stepped in agent.critic.named_parameters():
        expected = before[name] + 0.01 * (stepped.detach() - before[name])
        torch.testing.assert_close(agent.target.get_parameter(name), expected, atol=1e-7, rtol=1e-6)


# what trains what


def test_critics_train_the_encoder_and_the_actor_does_not(agent: DrQv2) -> None:
    batch = batch_of(16)
    features = agent.policy.encode_batch(batch.images)
    agent._update_critic(batch, features, features.detach(), 0.5)
    assert all(p.grad is not None and p.grad.any() for p in agent.policy.encoder.parameters())
    assert all(p.grad is None for p in agent.policy.actor.parameters())
    for module in (agent.policy.encoder, agent.critic):
        module.zero_grad()
    encoder, critic = copied(agent.policy.encoder), copied(agent.critic)
    agent._update_actor(batch, features.detach(), 0.5)
    untouched = [*agent.policy.encoder.parameters(), *agent.critic.parameters(), *agent.target.parameters()]
    assert all(p.grad is None for p in untouched)
    assert same(agent.policy.encoder, encoder) and same(agent.critic, critic)
    for name, parameter in agent.policy.actor.named_parameters():
        if not name.startswith("log_std"):  # the schedule stands in for it
            assert parameter.grad is not None and parameter.grad.any(), name


def test_an_update_moves_encoder_critics_and_actor(agent: DrQv2) -> None:
    parts = {"encoder": agent.policy.encoder, "critic": agent.critic, "actor": agent.policy.actor.body}
    before = {name: copied(part) for name, part in parts.items()}
    info = agent.update(batch_of(), steps=0)
    assert not any(same(part, before[name]) for name, part in parts.items())
    assert {"critic_loss", "q", "target", "actor_loss"} <= info.keys()
    assert all(v.ndim == 0 and not v.requires_grad for v in info.values())
    assert agent.updates == 1


def test_a_frozen_actor_stays_while_the_critics_learn(agent: DrQv2) -> None:
    actor = copied(agent.policy.actor)
    assert "actor_loss" not in agent.update(batch_of(), train_actor=False)
    assert same(agent.policy.actor, actor) and agent.updates == 1


def test_half_precision_is_close_and_keeps_values_and_weights_whole(small: TaskSpec) -> None:
    exact, half = new_agent(small), new_agent(small, DrQv2Config(bf16=True))
    batch = batch_of(32)
    torch.manual_seed(1)
    expected = exact.update(batch, steps=10**6)
    torch.manual_seed(1)
    found = half.update(batch, steps=10**6)
    assert {v.dtype for v in found.values()} == {torch.float32}
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=0.05, abs=0.01), name
    assert found["q"].item() != expected["q"].item()  # it did make a difference


def test_without_a_camera_it_is_refused(task: TaskSpec) -> None:
    blind = replace(task, observation=replace(task.observation, cameras=(), policy_cameras=()))
    with pytest.raises(UserError, match="no policy camera; use SAC"):
        new_agent(blind)


@pytest.mark.parametrize("preset", [FAITHFUL, FAST])
def test_a_preset_belongs_together(small: TaskSpec, preset: Any) -> None:
    assert preset.replay.stack == preset.network.stack
    assert (preset.replay.n_step, preset.replay.discount) == (3, 0.99)
    cameras = (CameraSpec("wrist", (0.0, 0.0, 1.0, 1.0), preset.size_px),)
    task = replace(small, observation=replace(small.observation, cameras=cameras))
    policy = Policy(task.observation, 4, preset.network)
    assert policy.features == {84: 32 * 35 * 35, 64: 32 * 2 * 2}[preset.size_px]


# with its replay

DARK = np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8)


def dot(position: np.ndarray) -> Observation:
    """A red dot on a dark field; the state tells nothing."""
    image = DARK.copy()
    y, x = np.round((position[:2] + 1) / 2 * (SIZE_PX - 3)).astype(int)
    image[y : y + 3, x : x + 3] = (255, 40, 40)
    return Observation({"wrist": image, "front": DARK}, np.zeros(4, np.float32), 0.0)


def dot_episode(rng: np.random.Generator, act: Callable[[Observation], np.ndarray], kind: str = "online") -> Episode:
    """Bring the dot to the middle: the first two actions move it by up to 0.5; 5 steps."""
    position, steps = rng.uniform(0.4, 0.9, 2) * rng.choice([-1, 1], 2), []
    first = seen = dot(position)
    for t in range(5):
        action = act(seen)
        position = np.clip(position + 0.5 * action[:2], -1, 1)
        solved = bool(np.abs(position).max() < 0.3)
        seen = dot(position)
        steps.append(Transition(action, action, Source.POLICY, seen, solved, solved, t == 4 and not solved, 0.0, 0))
        if solved:
            break
    return Episode.from_steps(first, steps, EpisodeMeta(Outcome.SUCCESS if solved else Outcome.TIMEOUT, kind, ""))


def random_replay(task: TaskSpec, episodes: int, **config: Any) -> PixelReplay:
    settings = {"capacity_gib": 0.02, "batch_size": 64, "discount": 0.9, "shift_px": 1} | config
    replay, rng = PixelReplay(task, PixelReplayConfig(**settings)), np.random.default_rng(0)
    for _ in range(episodes):
        replay.add(dot_episode(rng, lambda _: rng.uniform(-1, 1, 4).astype(np.float32)))
    return replay


def test_it_learns_from_pixels_to_bring_a_dot_to_the_middle(small: TaskSpec) -> None:
    config = DrQv2Config(bf16=False, lr=1e-3, tau=0.02, std_steps=100)
    agent = new_agent(small, config, replace(TINY, squeeze=16, hidden=64))

    def successes() -> int:
        rng = np.random.default_rng(1)
        return sum(dot_episode(rng, agent.policy.act).meta.outcome is Outcome.SUCCESS for _ in range(40))

    before = successes()
    replay = random_replay(small, 400)
    for update in range(400):  # an actor that climbs untrained critics saturates
        agent.update(replay.sample(), steps=50, train_actor=update >= 200)
    assert before <= 10
    assert successes() >= 30


def test_a_resumed_run_goes_on_bit_by_bit(small: TaskSpec) -> None:
    """Ten updates are five, everything through a checkpoint's dictionaries, and five more."""

    def trained(agent: DrQv2, replay: PixelReplay, updates: int) -> DrQv2:
        for _ in range(updates):
            agent.update(replay.sample(), steps=300_000 + 1000 * agent.updates)
        return agent

    network = replace(TINY, stack=3)
    torch.manual_seed(7)
    straight = trained(new_agent(small, network=network), random_replay(small, 20, stack=3, n_step=3), 10)

    replay = random_replay(small, 20, stack=3, n_step=3)
    first = trained(new_agent(small, network=network), replay, 5)
    tensors, groups = optimizer_tensors(first.optimizers())
    saved = {k: v.clone() for k, v in {**tensors, **first.state_dict()}.items()}
    random, drawn = torch.get_rng_state(), replay.ring.rng_state()

    second, replay = new_agent(small, network=network, seed=99), random_replay(small, 20, stack=3, n_step=3)
    second.load_state_dict({k: v for k, v in saved.items() if not k.startswith("optimizer.")})
    load_optimizers(second.optimizers(), saved, groups)
    second.updates = first.updates
    torch.set_rng_state(random)
    replay.ring.set_rng_state(drawn)
    trained(second, replay, 5)
    assert straight.updates == second.updates == 10
    assert same(second, copied(straight))
    assert not same(first, copied(straight))
