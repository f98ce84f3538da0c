"""The policy as the actor uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.schema import Observation, Source
from data.spec import CameraSpec, ObservationSpec, StateField, TaskSpec
from hilserl.agents.networks import NetworkConfig, Policy
from hilserl.loop.link import Link
from hilserl.loop.policy_runner import PolicyRunner
from teleop.inputs import OperatorState

NewPolicy = Callable[[int], Policy]
JOINTS = StateField("joints", 3, "rad", -2, 2)
IDLE = OperatorState(stamp_s=0.0)


@pytest.fixture
def new_policy() -> NewPolicy:
    whole = (0.0, 0.0, 1.0, 1.0)
    cameras = (CameraSpec("front", whole, 47), CameraSpec("wrist", whole, 47))
    task = TaskSpec("test", ObservationSpec(cameras, ("wrist",), (JOINTS,)))

    def make(seed: int) -> Policy:
        torch.manual_seed(seed)
        return Policy(task.observation, len(task.action.names))

    return make


@pytest.fixture
def observation() -> Observation:
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (47, 47, 3), np.uint8) for name in ("front", "wrist")}
    return Observation(images, rng.normal(size=3).astype(np.float32), 1.0)


def distribution(policy: Policy, observation: Observation) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        features = policy.encode(torch.from_numpy(observation.images["wrist"])[None, None])
        mean, std = policy.actor(features, torch.from_numpy(observation.state)[None])
    return mean[0].numpy(), std[0].numpy()


def test_without_exploration_it_is_the_mode(new_policy: NewPolicy, observation: Observation) -> None:
    runner = PolicyRunner(new_policy(0), seed=0)
    action = runner.act(observation, explore=False)
    assert action.dtype == np.float32 and action.shape == (4,)
    np.testing.assert_allclose(action, np.tanh(distribution(new_policy(0), observation)[0]), atol=1e-6)
    assert np.array_equal(action, runner.act(observation, explore=False))


def test_exploration_samples_the_gaussian_by_its_own_seed(new_policy: NewPolicy, observation: Observation) -> None:
    policy = new_policy(0)
    mean, std = distribution(policy, observation)
    runner = PolicyRunner(policy, seed=1)
    raw = np.arctanh([runner.act(observation, explore=True) for _ in range(400)])
    np.testing.assert_allclose(raw.mean(0), mean, atol=5 * std.max() / 20)
    np.testing.assert_allclose(raw.std(0), std, rtol=0.2)
    first = [PolicyRunner(policy, seed).act(observation, explore=True).tolist() for seed in (1, 1, 2)]
    assert first[0] == first[1] == pytest.approx(np.tanh(raw[0]).tolist(), abs=1e-6)
    assert first[0] != first[2]


def test_exploring_leaves_the_generator_of_others_alone(new_policy: NewPolicy, observation: Observation) -> None:
    runner = PolicyRunner(new_policy(0), seed=1)
    before = torch.get_rng_state()
    runner.act(observation, explore=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_sees_its_cameras_and_the_state_and_nothing_else(new_policy: NewPolicy, observation: Observation) -> None:
    runner = PolicyRunner(new_policy(0), seed=0)
    action = runner.act(observation, explore=False)
    wrist = {"wrist": observation.images["wrist"]}
    others = [
        replace(observation, images=wrist),  # the camera of the classifier is not even needed
        replace(observation, images={"hidden": np.zeros(1), **wrist, "front": np.zeros((47, 47, 3), np.uint8)}),
        replace(observation, stamp_s=99.0),
    ]
    assert all(np.array_equal(runner.act(o, explore=False), action) for o in others)
    blind = replace(observation, images={**observation.images, "wrist": np.zeros((47, 47, 3), np.uint8)})
    numb = replace(observation, state=np.zeros(3, np.float32))
    for changed in (blind, numb):
        assert np.abs(runner.act(changed, explore=False) - action).max() > 1e-4


def test_refresh_takes_newer_weights_between_ticks(
    tmp_path: Path, new_policy: NewPolicy, observation: Observation
) -> None:
    writer, runner = Link(tmp_path), PolicyRunner(new_policy(0), 0, Link(tmp_path))
    action = runner.act(observation, explore=False)
    runner.refresh()  # nothing was published yet
    assert runner.version == 0 and np.array_equal(runner.act(observation, explore=False), action)

    newer = new_policy(0)
    newer.actor.load_state_dict(new_policy(9).actor.state_dict())  # the encoder is the frozen one
    writer.publish_weights(newer.actor.state_dict(), 300)
    assert np.array_equal(runner.act(observation, explore=False), action)  # not before it is asked to
    runner.refresh()
    assert runner.version == 300
    expected = PolicyRunner(newer, 0).act(observation, explore=False)
    assert np.array_equal(runner.act(observation, explore=False), expected)
    assert not np.array_equal(expected, action)
    runner.refresh()
    assert runner.version == 300


def test_a_frozen_policy_never_changes(tmp_path: Path, new_policy: NewPolicy, observation: Observation) -> None:
    runner = PolicyRunner(new_policy(0), 0)
    action = runner.act(observation, explore=False)
    Link(tmp_path).publish_weights(new_policy(9).actor.state_dict(), 300)
    runner.refresh()
    assert runner.version == 0 and np.array_equal(runner.act(observation, explore=False), action)


def test_refresh_takes_the_encoder_too_when_it_was_trained(
    tmp_path: Path, new_policy: NewPolicy, observation: Observation
) -> None:
    runner = PolicyRunner(new_policy(0), 0, Link(tmp_path))
    Link(tmp_path).publish_weights(new_policy(9).state_dict(), 200)
    runner.refresh()
    expected = PolicyRunner(new_policy(9), 0).act(observation, explore=False)
    assert runner.version == 200 and np.array_equal(runner.act(observation, explore=False), expected)


def test_a_stack_starts_with_the_episode_and_has_no_gap(observation: Observation) -> None:
    spec = ObservationSpec((CameraSpec("wrist", (0.0, 0.0, 1.0, 1.0), 47),), ("wrist",), (JOINTS,))
    torch.manual_seed(0)
    runner = PolicyRunner(Policy(spec, 4, NetworkConfig(stack=2)), 0)
    other = replace(observation, images={"wrist": 255 - observation.images["wrist"]})

    def acts(*seen: Observation) -> list[float]:
        runner.begin()
        for o in seen[:-1]:
            runner.see(o)
        return runner.act(seen[-1], explore=False).tolist()

    assert acts(observation) == acts(observation, observation) == acts(other, observation, observation)
    assert acts(observation) != acts(other, observation)


def test_the_actor_shows_its_policy_every_frame_of_an_episode_once(bench: Any, new_world: Any) -> None:
    """A person takes over in the middle of the first episode; the frames of those steps must not be missing."""

    class Stacked(PolicyRunner):
        def __init__(self) -> None:
            self.version, self.episodes = 0, list[list[float]]()

        def refresh(self) -> None: ...

        def begin(self) -> None:
            self.episodes.append([])

        def see(self, observation: Observation) -> None:
            self.episodes[-1].append(observation.stamp_s)

        def act(self, observation: Observation, *, explore: bool) -> np.ndarray:
            self.see(observation)
            return np.array([0.0, 0.1, 0.0, 1.0], np.float32)

    policy = Stacked()
    taken_over = OperatorState(stamp_s=0.0, deadman=True, move=(0.0, 0.5, 0.0), gripper=1.0)
    b = bench([IDLE, IDLE, taken_over, taken_over, IDLE], [])
    b.actor.use(policy)
    first, second = b.run(episodes=2)
    assert Source.HUMAN in first.source and Source.POLICY in first.source and Source.HUMAN not in second.source
    assert policy.episodes == [e.stamp_s[:-1].tolist() for e in (first, second)]
