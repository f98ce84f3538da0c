"""A tiny distillation: what comes out of it, not how good it is, and that a killed one goes on to the same numbers."""

import dataclasses

import numpy as np
import pytest
import torch

from data.errors import UserError
from data.schema import Source
from data.store.episode_store import EpisodeStore
from hilserl.agents.networks import Policy
from hilserl.agents.policy_file import load_policy
from hilserl.agents.sac import Sac, SacConfig
from hilserl.loop.finite import NotFinite
from hilserl.metrics import MetricsLog, read_metrics
from hilserl.runs import RunDirectory, load_checkpoint, under
from sim_pretrain.distill.cloning import CloningConfig, mute_previous_action
from sim_pretrain.distill.distillation import Distillation, DistillConfig, demonstrations, golden
from sim_pretrain.distill.shards import load_shard, save_shard
from sim_pretrain.episodes.collect import Collector, Driver
from sim_pretrain.episodes.rollout import Phase, rollout
from sim_pretrain.task.env import EnvConfig
from sim_pretrain.task.tasks import TASKS
from sim_pretrain.world.randomize import Randomization

TASK = dataclasses.replace(TASKS["lift"], spec=dataclasses.replace(TASKS["lift"].spec, time_limit_steps=10))
TINY = DistillConfig(
    teacher_episodes=3, rounds=2, round_episodes=2, cloning_updates=6, round_updates=4, critic_episodes=2,
    critic_updates=3, evaluate=2, cloning=CloningConfig(batch_size=16),
)  # fmt: skip
ENV = EnvConfig(TASK, randomization=Randomization())


@pytest.fixture(scope="module")
def sim():
    torch.set_num_threads(1)
    with Collector(ENV, 1) as collector:
        yield collector


def made(path, sim, config=TINY) -> Distillation:
    return Distillation(RunDirectory(path), TASK, sim, config, {"note": "test"})


@pytest.fixture(scope="module")
def whole(sim, tmp_path_factory):
    """An uninterrupted distillation: its folder, itself and its result."""
    path = tmp_path_factory.mktemp("distill") / "run"
    distillation = made(path, sim)
    with MetricsLog(path / "metrics.jsonl") as metrics:
        while not distillation.finished:
            distillation.step(metrics)
    return path, distillation, distillation.finish(2)


def first_weights(policy: Policy, where: slice) -> torch.Tensor:
    offset = policy.actor.head.size - TASK.spec.observation.state_dim
    return policy.actor.body[0].weight[:, offset + where.start : offset + where.stop]


def test_the_muted_slice_is_the_previous_action():
    policy = Policy(TASK.spec.observation, 4)
    where = mute_previous_action(policy, TASK.spec)
    assert where == slice(TASK.spec.observation.state_dim - 4, TASK.spec.observation.state_dim)
    assert not first_weights(policy, where).any()
    others = policy.actor.body[0].weight[:, : -(where.stop - where.start)]
    assert (others != 0).float().mean() > 0.99


def test_training_leaves_the_previous_action_without_effect(whole):
    _, _, done = whole
    where = slice(TASK.spec.observation.state_dim - 4, TASK.spec.observation.state_dim)
    assert not first_weights(done.policy, where).any()


def test_the_result_is_a_policy_that_loads_anywhere(whole):
    path, _, done = whole
    loaded = load_policy(path, TASK.spec)  # the run itself: its newest checkpoint
    assert loaded.golden and loaded.info["note"] == "test"
    for name, tensor in done.policy.state_dict().items():
        torch.testing.assert_close(loaded.policy.state_dict()[name], tensor, rtol=0, atol=0)
    sac = Sac(TASK.spec, SacConfig(), loaded.policy)
    sac.critic.load_state_dict(loaded.critic)
    assert loaded.info["calibration"]["steps"] > 0 and loaded.info["evaluation"]["n"] == 2


def test_every_round_is_measured(whole):
    path, *_ = whole
    rows = read_metrics(path / "metrics.jsonl")
    assert [r["round"] for r in rows] == [0, 1, 2]
    assert [r["updates"] for r in rows] == [6, 10, 14]
    assert [r["episodes"] for r in rows] == [3, 5, 7]


@pytest.mark.parametrize("rounds_before", [1, 2])
def test_a_killed_run_goes_on_to_the_same_numbers(whole, sim, tmp_path, rounds_before):
    path, *_ = whole
    with MetricsLog(tmp_path / "m.jsonl") as metrics:
        first = made(tmp_path / "run", sim)
        for _ in range(rounds_before):
            first.step(metrics)
        del first
        again = made(tmp_path / "run", sim)
        assert again.rounds_done == rounds_before
        while not again.finished:
            again.step(metrics)
    again.finish(2)
    ours, _ = load_checkpoint(tmp_path / "run")
    theirs, _ = load_checkpoint(path)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0)


def test_a_round_that_was_simulated_is_not_simulated_again(whole, sim, tmp_path):
    with MetricsLog(tmp_path / "m.jsonl") as metrics:
        made(tmp_path / "run", sim).step(metrics)
        before = (tmp_path / "run" / "rounds" / "000" / "tensors.safetensors").stat().st_mtime_ns
        for checkpoint in (tmp_path / "run" / "checkpoints").iterdir():  # killed before its first checkpoint
            checkpoint.rename(tmp_path / f"gone-{checkpoint.name}")
        made(tmp_path / "run", sim).step(metrics)
    assert (tmp_path / "run" / "rounds" / "000" / "tensors.safetensors").stat().st_mtime_ns == before


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_round(sim, tmp_path):
    with MetricsLog(tmp_path / "m.jsonl") as metrics:
        distillation = made(tmp_path / "run", sim)
        distillation.step(metrics)
        kept, _ = load_checkpoint(tmp_path / "run")
        distillation._rollouts[0].expert[:] = np.nan
        with pytest.raises(NotFinite, match=r"(?s)loss is nan.* actor\.head.*Checkpoint 000001 .*--resume"):
            distillation.step(metrics)
    newest, _ = load_checkpoint(tmp_path / "run")
    assert all(torch.isfinite(t).all() for t in under("policy", newest).values())
    torch.testing.assert_close(newest["policy.actor.mean.weight"], kept["policy.actor.mean.weight"])


def test_the_teacher_labels_whoever_drives(sim):
    (perturbed,) = sim.run(Driver(perturbed=1.0), [0])
    assert set(perturbed.episode.source) == {Source.EXPERT}
    assert (perturbed.episode.proposed[:, :3] != perturbed.expert[:, :3]).any()  # the label is without the noise
    policy = Policy(TASK.spec.observation, 4)
    (mixed,) = sim.run(Driver(student=0.5), [0], policy)
    assert set(mixed.episode.source) == {Source.EXPERT, Source.POLICY}
    by_teacher = mixed.episode.source == Source.EXPERT
    np.testing.assert_array_equal(mixed.episode.proposed[by_teacher], mixed.expert[by_teacher])


def test_more_workers_give_the_same_episodes_and_one_that_fails_says_why(sim):
    seeds, driver = [4, 5, 6], Driver(student=0.5, perturbed=0.3)
    torch.manual_seed(0)
    policy = Policy(TASK.spec.observation, 4)
    with Collector(ENV, 2) as two:
        for alone, together in zip(sim.run(driver, seeds, policy), two.run(driver, seeds, policy), strict=True):
            np.testing.assert_array_equal(alone.episode.images["wrist"], together.episode.images["wrist"])
            np.testing.assert_array_equal(alone.episode.executed, together.episode.executed)
            np.testing.assert_array_equal(alone.expert, together.expert)
        three_actions = Policy(TASK.spec.observation, 3)
        with pytest.raises(RuntimeError, match="size mismatch"):
            list(two.run(driver, [7], three_actions))


def test_a_shard_comes_back_as_it_was(sim, tmp_path):
    runs = list(sim.run(Driver(perturbed=0.3), [1, 2]))
    save_shard(tmp_path / "000", runs)
    for before, after in zip(runs, load_shard(tmp_path / "000", TASK.spec), strict=True):
        assert (after.phase, after.max_height_m, after.held_s) == (before.phase, before.max_height_m, before.held_s)
        np.testing.assert_array_equal(after.expert, before.expert)
        for name, array in vars(before.episode).items():
            if isinstance(array, np.ndarray):
                np.testing.assert_array_equal(getattr(after.episode, name), array, err_msg=name)
        np.testing.assert_array_equal(after.episode.images["wrist"], before.episode.images["wrist"])


def test_an_untouched_rollout_ends_with_the_time():
    env = EnvConfig(TASK, blind=True).make()
    idle = np.array([0, 0, 0, 1], np.float32)
    run = rollout(env, lambda o, t: (idle, Source.POLICY), lambda t: idle, 0)
    assert len(run.episode) == TASK.spec.time_limit_steps and run.phase is Phase.MISSED
    assert run.episode.truncated[-1] and not run.episode.terminated.any() and not run.episode.reward.any()


def test_demonstrations_in_a_store_can_be_the_first_round(sim, tmp_path):
    with EpisodeStore.create_or_open(tmp_path / "store", TASK.spec) as store:
        with pytest.raises(UserError, match="holds no demonstrations"):
            demonstrations(tmp_path, TASK)
        with Collector(dataclasses.replace(ENV, all_cameras=True), 1) as both:
            for run in both.run(Driver(perturbed=0.3), [1, 2]):
                meta = dataclasses.replace(run.episode.meta, kind="demo")
                store.append(dataclasses.replace(run.episode, meta=meta))
    found = demonstrations(tmp_path, TASK)
    assert len(found) == 2
    np.testing.assert_array_equal(found[0].expert, found[0].episode.executed)
    with MetricsLog(tmp_path / "m.jsonl") as metrics:
        first = made(tmp_path / "run", sim, dataclasses.replace(TINY, demos=tmp_path))
        first.step(metrics)
    assert not (tmp_path / "run" / "rounds" / "000").exists()  # they stay where they are
    assert made(tmp_path / "run", sim, dataclasses.replace(TINY, demos=tmp_path)).rounds_done == 1


def test_golden_observations_are_spread_over_the_episodes(sim):
    runs = list(sim.run(Driver(), [1, 2, 3, 4]))
    kept = golden(runs)
    assert len(kept) == 32
    np.testing.assert_array_equal(kept[0].state, runs[0].episode.state[0])
    np.testing.assert_array_equal(kept[-1].state, runs[-1].episode.state[len(runs[-1].episode) - 1])
