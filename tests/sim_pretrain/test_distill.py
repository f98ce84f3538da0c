"""A tiny distillation: what comes out of it, not how good it is."""

import dataclasses

import numpy as np
import pytest
import torch

from data.schema import Source
from hilserl.agents.networks import Policy
from hilserl.agents.sac import Sac, SacConfig
from sim_pretrain.distill import DistillConfig, distill, mute_previous_action
from sim_pretrain.rollout import rollout

TINY = DistillConfig(
    expert_episodes=2, rounds=1, round_episodes=1, cloning_updates=4, round_updates=3, batch_size=16, critic_updates=2
)


@pytest.fixture(scope="module")
def short_task():
    from hilserl.tasks import lift_task

    return dataclasses.replace(lift_task(), time_limit_steps=12)


@pytest.fixture(scope="module")
def result(short_task):
    from sim_pretrain.world import World

    torch.set_num_threads(1)
    world = World()
    yield distill(world, short_task, TINY)
    world.close()


def first_weights(policy: Policy, where: slice, spec) -> torch.Tensor:
    offset = policy.actor.head.size - spec.state_dim
    return policy.actor.body[0].weight[:, offset + where.start : offset + where.stop]


def test_the_muted_slice_is_the_previous_action(short_task):
    policy = Policy(short_task.observation, 4)
    where = mute_previous_action(policy, short_task)
    assert where == slice(short_task.observation.state_dim - 4, short_task.observation.state_dim)
    assert not first_weights(policy, where, short_task.observation).any()
    others = policy.actor.body[0].weight[:, : -(where.stop - where.start)]
    assert (others != 0).float().mean() > 0.99


def test_training_leaves_the_previous_action_without_effect(result, short_task):
    policy, _, runs = result
    where = slice(short_task.observation.state_dim - 4, short_task.observation.state_dim)
    assert not first_weights(policy, where, short_task.observation).any()
    episode = runs[0].episode
    features = policy.encode(torch.from_numpy(np.stack([episode.images["wrist"][:3]], 1)))
    state = torch.from_numpy(episode.state[:3].copy())
    before = policy.actor(features, state)[0]
    state[:, where] = torch.tensor([1.0, -1.0, 0.5, -1.0])
    torch.testing.assert_close(policy.actor(features, state)[0], before, rtol=0, atol=0)
    state[:, 0] += 0.2  # whereas the rest of the state does matter
    assert (policy.actor(features, state)[0] - before).abs().max() > 1e-4


def test_the_critics_load(result, short_task):
    policy, critics, _ = result
    sac = Sac(short_task, SacConfig(), policy)
    fresh = {k: v.clone() for k, v in sac.critic.state_dict().items()}
    sac.critic.load_state_dict(critics)
    assert all(torch.isfinite(v).all() for v in critics.values())
    assert any((critics[k] != fresh[k]).any() for k in critics)


def test_the_rollouts_are_labelled_episodes(result, short_task):
    _, _, runs = result
    assert len(runs) == 3
    for run in runs:
        assert run.expert.shape == run.episode.executed.shape
        assert run.episode.meta.spec_fingerprint == short_task.fingerprint
        assert set(run.episode.images) == set(short_task.observation.policy_cameras)
    assert all(set(r.episode.source) == {Source.EXPERT} for r in runs[:2])
    assert set(runs[2].episode.source) <= {Source.EXPERT, Source.POLICY} and Source.POLICY in runs[2].episode.source
    assert any((r.episode.proposed != r.expert).any() for r in runs[:2])  # perturbed, while the label is not


def test_the_policy_gives_actions(result):
    policy, _, runs = result
    episode = runs[0].episode
    from data.schema import Observation

    action = policy.act(Observation({c: i[0] for c, i in episode.images.items()}, episode.state[0], 0.0))
    assert action.shape == (4,) and np.abs(action).max() <= 1.0


def test_an_untouched_rollout_ends_with_the_time(new_world, short_task):
    world = new_world()
    idle = np.array([0, 0, 0, 1], np.float32)
    run = rollout(world, short_task, lambda o, t: (idle, Source.POLICY), lambda t: idle, np.random.default_rng(0))
    assert len(run.episode) == 12
    assert run.episode.truncated[-1] and not run.episode.terminated.any() and not run.episode.reward.any()
