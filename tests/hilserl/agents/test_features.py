"""The replay: rows that belong together, the half of demonstrations, and augmentation that survives a cache."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from data.errors import UserError
from data.replay.capacity import GIB
from data.schema import Episode, Observation, Outcome, Source
from data.spec import TaskSpec
from hilserl.agents.features import (
    ROWS,
    FeatureReplay,
    ReplayConfig,
    encode_copies,
    feature_layout,
    random_shift,
    stacks,
)
from hilserl.agents.networks import NetworkConfig, Policy
from hilserl.agents.sac import Sac, SacConfig

_made = runpy.run_path(str(Path(__file__).parents[2] / "data" / "made_episodes.py"))
NewPolicy = Callable[..., Policy]
Plan = tuple[int, Outcome, str, float, int]  # length, outcome, kind, share of human steps, seed


class Eyes:
    """Stands in for a policy of two actions: its features are the colour in the middle of the image."""

    cameras: tuple[str, ...] = ("wrist",)
    config = NetworkConfig()
    features = 3
    encoder = nn.Identity()
    actor = SimpleNamespace(head=SimpleNamespace(centre=torch.zeros(2)), mean=SimpleNamespace(out_features=2))

    def encode(self, images: Tensor) -> Tensor:
        middle = images.shape[3] // 2
        return images[:, 0, 0, middle, middle].float()

    def encoder_hash(self) -> str:
        return "eyes"


def labelled(number: int, plan: Plan) -> Episode:
    """Frame t of episode `number` shows (number, t // 256, t % 256), state and action tell the same."""
    length, outcome, kind, human, seed = plan
    t = np.arange(length + 1)
    colour = np.stack((np.full_like(t, number), t // 256, t % 256), 1).astype(np.uint8)
    others = np.array([Source.POLICY, Source.EXPERT, Source.HOLD], np.uint8)
    rng = np.random.default_rng(seed)
    return _made[
        "blank"
    ](
        length,
        outcome,
        kind,
        images={"wrist": np.broadcast_to(colour[:, None, None], (length + 1, 3, 3, 3)).copy()},
        state=np.stack((np.full_like(t, number), t), 1).astype(np.float32),
        proposed=np.full((length, 2), np.nan, np.float32),  # what is learnt from is what was executed
        executed=np.stack((np.full(length, number), t[:-1]), 1).astype(np.float32),
        source=np.where(rng.random(length) < human, np.uint8(Source.HUMAN), rng.choice(others, length)),
        reward=rng.integers(0, 4, length).astype(np.float32),  # not only at the end: sums have to be right
    )


def filled(episodes: list[Episode], policy: Any = None, discount: float | None = None, **config: Any) -> FeatureReplay:
    replay = FeatureReplay(policy or Eyes(), ReplayConfig(**config), discount)
    for episode in episodes:
        replay.add(episode)
    return replay


def is_demonstration(episode: Episode, t: int) -> bool:
    human = episode.source == Source.HUMAN
    shown = episode.meta.kind == "baseline" and episode.meta.outcome is Outcome.SUCCESS and not human.any()
    return bool(human[t] or shown or episode.meta.kind == "demo")


PLANS = st.lists(
    st.tuples(
        st.integers(1, 12),
        st.sampled_from(Outcome),
        st.sampled_from(["baseline", "online", "demo"]),
        st.sampled_from([0.0, 0.0, 0.3, 1.0]),
        st.integers(0, 99),
    ),
    min_size=1,
    max_size=6,
)
LONG = [(n, Outcome.TIMEOUT, "online", 0.1, n) for n in (700, 500, 900, 1300)]  # storage has to grow


DISCOUNT = 0.5  # powers of it are exact


def n_step_return(episode: Episode, t: int, n_step: int) -> tuple[float, float, int]:
    """Return, step by step, the sum of rewards, the factor of the value after them, and the step of that value.

    Whoever acts in between: a take-over is no end.
    """
    total, factor = 0.0, 1.0
    for _ in range(n_step):
        total += factor * float(episode.reward[t])
        factor *= DISCOUNT
        t += 1
        if episode.terminated[t - 1]:
            return total, 0.0, t
        if t == len(episode):  # a time-out bootstraps
            break
    return total, factor, t


@settings(max_examples=40, deadline=None)
@given(plans=PLANS, copies=st.integers(0, 2), batch_size=st.integers(2, 33), n_step=st.integers(1, 5))
@example(plans=LONG, copies=1, batch_size=512, n_step=3)
def test_every_row_is_one_step_of_one_episode(plans: list[Plan], copies: int, batch_size: int, n_step: int) -> None:
    episodes = [labelled(i, plan) for i, plan in enumerate(plans)]
    replay = filled(episodes, discount=DISCOUNT, copies=copies, batch_size=batch_size, n_step=n_step)
    assert len(replay) == sum(len(e) for e in episodes)
    assert replay.demonstrations == sum(is_demonstration(e, t) for e in episodes for t in range(len(e)))
    for _ in range(3):
        batch = replay.sample()
        assert {len(column) for column in batch} == {batch_size}
        assert {column.dtype for column in batch} == {torch.float32}
        for row in range(batch_size):
            number, t = (int(x) for x in batch.state[row])
            episode = episodes[number]
            total, factor, end = n_step_return(episode, t, n_step)
            assert batch.next_state[row].tolist() == [number, end]
            assert batch.features[row].tolist() == [number, t // 256, t % 256]
            assert batch.next_features[row].tolist() == [number, end // 256, end % 256]
            assert batch.action[row].tolist() == [number, t]
            assert batch.reward[row] == total
            assert batch.human[row] == (episode.source[t] == Source.HUMAN)
            assert batch.discount_mask[row] * DISCOUNT == factor  # what the agent makes of it
            if replay.demonstrations and row < batch_size // 2:
                assert is_demonstration(episode, t)
            elif any(e.meta.kind != "demo" for e in episodes):
                assert episode.meta.kind != "demo"


def test_a_take_over_is_no_end_and_a_failure_is() -> None:
    episode = labelled(0, (4, Outcome.FAILURE, "online", 0.0, 0))
    source = np.array([Source.POLICY, Source.HUMAN, Source.HUMAN, Source.POLICY], np.uint8)
    episode = replace(episode, source=source, reward=np.array([1.0, 2.0, 4.0, 8.0], np.float32))
    batch = filled([episode], discount=DISCOUNT, n_step=3, batch_size=64).sample()
    rows = {int(t): (float(r), float(m), int(e)) for t, r, m, e in zip(
        batch.state[:, 1], batch.reward, batch.discount_mask, batch.next_state[:, 1], strict=True
    )}  # fmt: skip
    # 1 + 2/2 + 4/4, then three steps of discount, one of them the agent's; 2 + 4/2 + 8/4 to the end; ...
    assert rows == {0: (3.0, 0.25, 3), 1: (6.0, 0.0, 4), 2: (8.0, 0.0, 4), 3: (8.0, 0.0, 4)}


def test_one_step_has_the_mask_alone_whatever_the_discount() -> None:
    episodes = [labelled(i, (3, outcome, "online", 0.0, i)) for i, outcome in enumerate(Outcome)]
    for discount in (None, 0.97, 0.0):
        assert filled(episodes, discount=discount).sample().discount_mask.unique().tolist() == [0.0, 1.0]


def test_returns_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="over 3 steps need the discount"):
        filled([], n_step=3)
    with pytest.raises(UserError, match="n_step is 0; accepted is 1 or more"):
        ReplayConfig(n_step=0)


def test_what_counts_as_a_demonstration() -> None:
    plans: list[tuple[Plan, int]] = [
        ((5, Outcome.SUCCESS, "baseline", 0.0, 0), 5),
        ((5, Outcome.SUCCESS, "online", 0.0, 0), 0),  # successful, but by a policy that was learning
        ((5, Outcome.TIMEOUT, "baseline", 0.0, 0), 0),
        ((5, Outcome.ABORTED, "baseline", 0.0, 0), 0),
        ((5, Outcome.FAILURE, "online", 1.0, 0), 5),
        ((5, Outcome.FAILURE, "demo", 0.5, 0), 5),
    ]
    for plan, expected in plans:
        assert filled([labelled(0, plan)]).demonstrations == expected, plan
    mixed = labelled(0, (9, Outcome.SUCCESS, "baseline", 0.5, 1))
    assert 0 < filled([mixed]).demonstrations == (mixed.source == Source.HUMAN).sum() < 9


def test_every_step_is_drawn_sooner_or_later() -> None:
    episodes = [labelled(i, (7, Outcome.TIMEOUT, "online", 0.3, i)) for i in range(4)]
    replay = filled(episodes, batch_size=64)
    drawn = {tuple(s) for _ in range(20) for s in replay.sample().state[32:].int().tolist()}
    assert drawn == {(i, t) for i in range(4) for t in range(7)}


def noise_episode(task: TaskSpec, seed: int, length: int = 6) -> Episode:
    rng = np.random.default_rng(seed)
    episode = labelled(seed, (length, Outcome.SUCCESS, "online", 0.5, seed))
    images = {"wrist": rng.integers(0, 256, (length + 1, 47, 47, 3), np.uint8)}
    state = rng.normal(size=(length + 1, task.observation.state_dim)).astype(np.float32)
    executed = rng.uniform(-1, 1, (length, len(task.action.names))).astype(np.float32)
    return Episode(**(vars(episode) | {"images": images, "state": state, "executed": executed}))


def batches(replay: FeatureReplay, count: int = 5) -> Tensor:
    return torch.stack([torch.cat([c.flatten() for c in replay.sample()]) for _ in range(count)])


def test_same_seed_and_episodes_give_the_same_batches(task: TaskSpec, new_policy: NewPolicy) -> None:
    policy, episodes = new_policy(), [noise_episode(task, i) for i in range(3)]
    reference = batches(filled(episodes, policy, batch_size=16))
    assert torch.equal(batches(filled(episodes, policy, batch_size=16)), reference)
    assert not torch.equal(batches(filled(episodes, policy, batch_size=16, seed=1)), reference)
    assert not torch.equal(reference[0], reference[1])


def test_the_cache_of_an_episode_depends_only_on_seed_and_place(task: TaskSpec, new_policy: NewPolicy) -> None:
    """Sampling in between, as a learner does, must not change what is cached: that is what makes a resume exact."""
    policy, episodes = new_policy(), [noise_episode(task, i) for i in range(3)]
    together, apart = filled(episodes, policy, batch_size=16), filled([], policy, batch_size=16)
    for episode in episodes:
        torch.manual_seed(len(apart))
        apart.add(episode)
        apart.sample()
    apart.set_rng_state(together.rng_state())
    assert torch.equal(batches(apart), batches(together))


def test_sampling_goes_on_from_a_saved_state(task: TaskSpec) -> None:
    replay = filled([labelled(0, (50, Outcome.SUCCESS, "online", 0.5, 0))], batch_size=16)
    replay.sample()
    saved = replay.rng_state()
    expected = batches(replay)
    replay.set_rng_state(saved)
    assert torch.equal(batches(replay), expected)


def test_a_full_replay_drops_old_policy_steps_and_keeps_within_its_capacity() -> None:
    config = ReplayConfig(copies=1, batch_size=64)
    slots = 40
    capacity_gib = slots * feature_layout(Eyes(), config).slot_bytes / GIB  # type: ignore[arg-type]
    plans = [(9, Outcome.TIMEOUT, "online", 1.0 if i == 0 else 0.0, i) for i in range(9)]
    replay = filled(
        [labelled(i, plan) for i, plan in enumerate(plans)], copies=1, batch_size=64, capacity_gib=capacity_gib
    )
    assert len(replay) == 36 and replay.demonstrations == 9 and replay.episodes == 9
    numbers = [set(part) for part in torch.cat([replay.sample().state[:, 0].view(2, -1) for _ in range(9)], 1).tolist()]
    assert numbers == [{0.0}, {0.0, 6.0, 7.0, 8.0}]


def test_shifted_copies_are_there_and_are_drawn(task: TaskSpec, new_policy: NewPolicy) -> None:
    policy, episode = new_policy(), noise_episode(task, 0, length=1)
    images = torch.from_numpy(episode.images["wrist"][:, None])
    cached = encode_copies(policy, images, 3, 4, np.random.default_rng(0))
    assert cached.shape == (2, 4, policy.features) and cached.dtype == torch.float16
    torch.testing.assert_close(cached[:, 0].float(), policy.encode(images), atol=4e-3, rtol=2e-3)
    for copy in range(1, 4):
        assert ((cached[:, copy] - cached[:, 0]).abs().amax(1) > 0.05).all()
    batch = filled([episode], policy, batch_size=64, copies=3).sample()  # one transition, so only copies differ
    assert len(batch.features.unique(dim=0)) == len(batch.next_features.unique(dim=0)) == 4
    pairs = torch.cat((batch.features, batch.next_features), 1)
    assert len(pairs.unique(dim=0)) > 4  # the two ends are drawn on their own


def test_a_long_episode_is_encoded_as_in_one_piece(task: TaskSpec, new_policy: NewPolicy) -> None:
    policy, episode = new_policy(), noise_episode(task, 0, length=2 * ROWS + 3)
    images = stacks(episode, policy.cameras, 1)
    cached = encode_copies(policy, images, 1, 4, np.random.default_rng(0))
    moved = random_shift(images, 4, np.random.default_rng(0))
    with torch.no_grad():
        expected = torch.stack((policy.encode(images), policy.encode(moved)), 1)
    torch.testing.assert_close(cached.float(), expected, atol=4e-3, rtol=2e-3)


# the encoder changes


def changed(policy: Policy) -> Policy:
    """A copy whose encoder has gone on learning."""
    policy = deepcopy(policy)
    with torch.no_grad():
        next(policy.encoder.parameters()).mul_(-1.0)
    return policy


def test_an_encoder_that_changed_is_refused(task: TaskSpec, new_policy: NewPolicy) -> None:
    policy, episodes = new_policy(), [noise_episode(task, i) for i in range(2)]
    replay = filled(episodes[:1], policy, batch_size=8)
    assert replay.encoder_hash == policy.encoder_hash()
    policy.load_state_dict(deepcopy(policy.state_dict()))  # written to, but the same
    nn.init.ones_(policy.actor.mean.weight)  # another actor on the same encoder
    replay.sample()
    policy.load_state_dict(changed(policy).state_dict())
    with pytest.raises(
        ValueError, match=f"features are those of encoder {replay.encoder_hash}.*{policy.encoder_hash()}"
    ):
        replay.sample()
    with pytest.raises(ValueError, match=r"FeatureReplay\.refresh"):
        replay.add(episodes[1])
    assert len(replay) == len(episodes[0])
    list(replay.refresh(policy, episodes[:1]))
    replay.add(episodes[1])
    assert replay.sample() is not None and replay.encoder_hash == policy.encoder_hash()


def test_an_empty_replay_takes_whatever_encoder_there_is(task: TaskSpec, new_policy: NewPolicy) -> None:
    policy = new_policy()
    replay = filled([], policy, batch_size=8)
    with pytest.raises(ValueError, match="no step"):
        replay.sample()
    policy.load_state_dict(changed(policy).state_dict())  # as a resume does
    replay.add(noise_episode(task, 0))
    assert replay.encoder_hash == policy.encoder_hash() and replay.sample() is not None


def test_an_optimiser_step_of_the_encoder_is_noticed(task: TaskSpec, new_policy: NewPolicy) -> None:
    policy = new_policy()
    replay = filled([noise_episode(task, 0)], policy, batch_size=8)
    optimizer = torch.optim.Adam(policy.encoder.parameters(), 1e-4, fused=True)
    policy.encode(torch.zeros(1, 1, 47, 47, 3, dtype=torch.uint8)).square().sum().backward()
    optimizer.step()
    with pytest.raises(ValueError, match="refresh"):
        replay.sample()


def test_a_refresh_is_as_if_the_new_encoder_had_made_everything(task: TaskSpec, new_policy: NewPolicy) -> None:
    episodes = [noise_episode(task, i) for i in range(4)]
    old, new = new_policy(), changed(new_policy())
    replay, expected = filled(episodes[:3], old, batch_size=16), filled(episodes, new, batch_size=16)
    store = list(episodes[:3])
    for done in replay.refresh(new, store):  # a list is asked for its next item late
        if done == 2:
            replay.add(episodes[3])
            store.append(episodes[3])
        replay.sample()
        assert replay.encoder_hash == old.encoder_hash()  # all of them are still the old ones
    assert done == len(store) == replay.episodes == 4
    assert replay.encoder_hash == new.encoder_hash()
    expected.set_rng_state(replay.rng_state())
    assert torch.equal(batches(replay), batches(expected))
    replay.add(episodes[0])  # it goes on with the new one


def test_a_refresh_that_misses_an_episode_changes_nothing(task: TaskSpec, new_policy: NewPolicy) -> None:
    policy, episodes = new_policy(), [noise_episode(task, i) for i in range(3)]
    replay, untouched = filled(episodes, policy, batch_size=16), filled(episodes, policy, batch_size=16)
    with pytest.raises(ValueError, match="refreshed 2 episodes, but 3 were added"):
        list(replay.refresh(changed(policy), episodes[:2]))
    assert torch.equal(batches(replay), batches(untouched))


@settings(max_examples=20, deadline=None)
@given(t=st.integers(1, 3), cameras=st.integers(1, 2), h=st.integers(4, 9), w=st.integers(4, 9),
       shift=st.integers(0, 6), seed=st.integers(0, 999))  # fmt: skip
def test_a_shift_is_padding_and_cropping(t: int, cameras: int, h: int, w: int, shift: int, seed: int) -> None:
    """Each image must be one of the crops of its edge-padded self, as NumPy makes them."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (t, cameras, h, w, 3), np.uint8)
    shifted = random_shift(torch.from_numpy(images), shift, rng)
    assert shifted.dtype == torch.uint8 and shifted.shape == images.shape
    for image, found in zip(images.reshape(-1, h, w, 3), shifted.numpy().reshape(-1, h, w, 3), strict=True):
        padded = np.pad(image, ((shift, shift), (shift, shift), (0, 0)), mode="edge")
        crops = [padded[y : y + h, x : x + w] for y in range(2 * shift + 1) for x in range(2 * shift + 1)]
        assert any(np.array_equal(found, crop) for crop in crops)


def test_shifts_reach_four_pixels_each_way_and_are_drawn_per_image() -> None:
    y, x = np.mgrid[0:20, 0:20]
    image = torch.from_numpy(np.stack((y, x, 0 * x), -1).astype(np.uint8))
    shifted = random_shift(image.expand(300, 2, 20, 20, 3), 4, np.random.default_rng(0))
    offsets = shifted[:, :, 10, 10, :2].int() - 10
    for camera in range(2):
        for axis in range(2):
            assert set(offsets[:, camera, axis].tolist()) == set(range(-4, 5))
    assert (offsets[:, 0] != offsets[:, 1]).any() and (offsets[..., 0] != offsets[..., 1]).any()


@pytest.mark.parametrize("count", [1, 2])
def test_both_cameras_of_a_policy_are_cached_in_its_order(count: int) -> None:
    class Two(Eyes):
        cameras = ("front", "wrist")[:count]
        features = count

        def encode(self, images: Tensor) -> Tensor:
            return images[:, :, 0, 0, 0, 2].float()

    episode = labelled(0, (4, Outcome.TIMEOUT, "online", 0.0, 0))
    episode = Episode(**(vars(episode) | {"images": {**episode.images, "front": 100 + episode.images["wrist"]}}))
    batch = filled([episode], Two(), batch_size=8, copies=0).sample()
    t = batch.state[:, 1]
    assert torch.equal(batch.features, torch.stack((100 + t, t), 1)[:, :count])


def test_an_episode_is_stacked_as_the_policy_stacks_it(task: TaskSpec) -> None:
    torch.manual_seed(0)
    policy, episode = Policy(task.observation, 4, NetworkConfig(stack=3)), noise_episode(task, 0)
    found = stacks(episode, policy.cameras, 3)
    assert found.shape == (7, 1, 3, 47, 47, 3)
    for t, image in enumerate(episode.images["wrist"]):
        live = policy.see(Observation({"wrist": image}, episode.state[t], 0.0))
        assert np.array_equal(found[t].numpy(), live)
    batch = filled([episode], policy, batch_size=8, copies=1).sample()
    assert batch.features.shape == (8, policy.features)


def test_the_frames_of_a_stack_are_shifted_together() -> None:
    y, x = np.mgrid[0:20, 0:20]
    image = torch.from_numpy(np.stack((y, x, 0 * x), -1).astype(np.uint8))
    shifted = random_shift(image.expand(100, 2, 3, 20, 20, 3), 4, np.random.default_rng(0))
    offsets = shifted[:, :, :, 10, 10, :2].int()
    assert (offsets == offsets[:, :, :1]).all()
    assert (offsets[:, 0] != offsets[:, 1]).any() and len(offsets[:, 0, 0].unique(dim=0)) > 20


@pytest.mark.parametrize("copies", [0, 2])
def test_without_a_camera_the_state_is_all_there_is(task: TaskSpec, copies: int) -> None:
    blind = replace(task, observation=replace(task.observation, cameras=(), policy_cameras=()))
    policy = Policy(blind.observation, 4)
    replay = filled([noise_episode(task, i) for i in range(3)], policy, batch_size=16, copies=copies)
    batch = replay.sample()
    assert batch.features.shape == batch.next_features.shape == (16, 0)
    assert batch.state.shape == (16, 4) and len(replay) == 18
    sac = Sac(blind, SacConfig(actor_every=1), policy)
    trained = [p for p in sac.parameters() if p.requires_grad]
    before = [p.clone() for p in trained]
    info = sac.update(batch, operated_episodes=0, train_actor=True)
    assert all(torch.isfinite(v) for v in info.values())
    assert sum(not torch.equal(p, b) for p, b in zip(trained, before, strict=True)) > 10
