"""The learner with every agent it can be given, without a warm start, and when an update goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from data.errors import UserError
from data.lint import UnfitEpisode
from data.replay.pixel_replay import PixelReplayConfig
from data.schema import Observation, Source
from data.spec import StateField, TaskSpec
from data.store.episode_store import EpisodeStore
from hilserl.agents.drqv2 import DrQv2, DrQv2Config
from hilserl.agents.features import FeatureReplay, ReplayConfig
from hilserl.agents.hg_dagger import HgDagger, HgDaggerConfig
from hilserl.agents.networks import NetworkConfig, Policy
from hilserl.agents.policy_file import LoadedPolicy, load_policy
from hilserl.agents.sac import Sac, SacConfig
from hilserl.agents.warm_start import StartConfig
from hilserl.loop.agents import PixelMemory, begin_with, make_agent, taught
from hilserl.loop.finite import NotFinite
from hilserl.loop.learner import Learner, LearnerConfig
from hilserl.loop.link import Link
from hilserl.loop.policy_runner import PolicyRunner
from hilserl.metrics import MetricsLog, read_metrics
from hilserl.runs import RunDirectory, numbered

STEPS = 4  # of every episode here
NETWORK = NetworkConfig(squeeze=4, hidden=8)
COLD = LearnerConfig(  # no warm start
    baseline_episodes=0,
    critic_updates=0,
    utd=1.0,
    publish_every=2,
    simulated=True,
    sac=SacConfig(actor_every=1),
    drqv2=DrQv2Config(bf16=False),
    replay=ReplayConfig(copies=0, batch_size=6, capacity_gib=0.001),
    pixels=PixelReplayConfig(batch_size=6, capacity_gib=0.01, n_step=2, shift_px=1),
)
AGENTS = {
    "state": (0, 1, COLD, Sac, FeatureReplay),
    "features": (1, 1, COLD, Sac, FeatureReplay),
    "ten critics": (0, 1, replace(COLD, sac=SacConfig(actor_every=1, critics=10)), Sac, FeatureReplay),
    "discrete gripper": (1, 1, replace(COLD, sac=SacConfig(actor_every=1, gripper="discrete")), Sac, FeatureReplay),
    "residual": (1, 1, replace(COLD, start=StartConfig(actor="residual")), Sac, FeatureReplay),
    "from scratch": (1, 1, replace(COLD, start=StartConfig(actor="scratch")), Sac, FeatureReplay),
    "end to end": (1, 1, replace(COLD, sac=SacConfig(actor_every=1, encoder_lr=1e-3)), Sac, PixelMemory),
    "drqv2": (2, 2, replace(COLD, agent="drqv2"), DrQv2, PixelMemory),
    "hg-dagger": (1, 1, replace(COLD, agent="hg-dagger"), HgDagger, FeatureReplay),
    "hg-dagger, end to end": (
        1, 1, replace(COLD, agent="hg-dagger", hg_dagger=HgDaggerConfig(encoder_lr=1e-3)), HgDagger, PixelMemory,
    ),
}  # fmt: skip


def task_of(made: ModuleType, cameras: int) -> TaskSpec:
    """The made-up task, with a state that knows the last action."""
    task: TaskSpec = made.task(cameras, size_px=47)
    state = (*task.observation.state, StateField("previous_action", 4, "1", -1.0, 1.0))
    return replace(task, observation=replace(task.observation, state=state))


class Run:
    """A run directory whose store the test fills."""

    def __init__(self, path: Path, made: ModuleType, cameras: int = 0, stack: int = 1) -> None:
        self.directory, self._made, self.task = RunDirectory(path), made, task_of(made, cameras)
        self._network, self._count = replace(NETWORK, stack=stack), 0

    def add(self, *kinds: str, reward: float | None = None, source: Source | None = None) -> None:
        with EpisodeStore.create_or_open(self.directory.path / "store", self.task) as store:
            for kind in kinds:
                episode = self._made.episode(self.task, self._count, STEPS, kind=kind)
                if reward is not None:
                    episode = replace(episode, reward=np.full(STEPS, reward, np.float32))
                if source is not None:
                    episode = replace(episode, source=np.full(STEPS, source, np.uint8))
                store.append(episode)
                self._count += 1

    def policy(self, seed: int = 1) -> Policy:
        torch.manual_seed(seed)
        return Policy(self.task.observation, len(self.task.action.names), self._network)

    def learner(self, config: LearnerConfig = COLD, seed: int = 1, linked: bool = True) -> Learner:
        start = LoadedPolicy(self.policy(seed), {}, {})
        return Learner(self.directory, self.task, start, config, linked=linked)


@pytest.fixture
def new_run(tmp_path: Path, made: ModuleType) -> Callable[..., Run]:
    return lambda name="run", cameras=0, stack=1: Run(tmp_path / name, made, cameras, stack)


def everything(learner: Learner) -> dict[str, torch.Tensor]:
    state = {k: v.clone() for k, v in learner.agent.state_dict().items()}
    for name, optimizer in learner.agent.optimizers().items():
        state |= {f"{name}.{i}.{k}": v for i, p in optimizer.state_dict()["state"].items() for k, v in p.items()}
    return state | {"torch": torch.get_rng_state(), "replay": learner._replay.rng_state()}


# every agent


@pytest.mark.parametrize("name", AGENTS)
def test_each_agent_learns_from_the_memory_that_fits_it(new_run: Callable[..., Run], name: str) -> None:
    cameras, stack, config, agent, memory = AGENTS[name]
    run = new_run(cameras=cameras, stack=stack)
    learner = run.learner(config)
    assert type(learner.agent) is agent and type(learner._replay) is memory
    before = {k: v.clone() for k, v in learner.policy.state_dict().items()}
    run.add("demo", "online", "online")
    learner.ingest()
    assert (learner.debt, learner.steps, learner.operated, learner.episodes) == (8, 8, 2, 3)
    row = learner.update(8)
    assert row["updates"] == 8 and all(np.isfinite(v) for v in row.values())
    changed = {k for k, v in learner.policy.state_dict().items() if not torch.equal(v, before[k])}
    assert any(k.startswith("actor.") for k in changed)
    assert any(k.startswith("encoder.") for k in changed) == (memory is PixelMemory)


@pytest.mark.parametrize("name", AGENTS)
def test_each_agent_resumes_to_the_same_numbers(new_run: Callable[..., Run], name: str) -> None:
    cameras, stack, config, *_ = AGENTS[name]
    through, broken = new_run("through", cameras, stack), new_run("broken", cameras, stack)
    learner = through.learner(config)
    for _ in range(2):
        through.add("demo", "online")
        learner.ingest()
        learner.update(4)
    expected = everything(learner)

    learner = broken.learner(config)
    broken.add("demo", "online")
    learner.ingest()
    learner.update(4)
    learner.checkpoint()
    broken.add("demo", "online")  # somebody went on recording
    learner = broken.learner(config, seed=77)
    learner.resume()
    assert learner.last_commit == 1
    learner.ingest()
    learner.update(4)
    found = everything(learner)
    assert found.keys() == expected.keys()
    assert [k for k in found if not torch.equal(found[k], expected[k])] == []


@pytest.mark.parametrize("name", AGENTS)
def test_the_checkpoint_of_each_agent_is_a_policy(new_run: Callable[..., Run], name: str) -> None:
    cameras, stack, config, *_ = AGENTS[name]
    run = new_run(cameras=cameras, stack=stack)
    run.add("demo", "online")
    learner = run.learner(config)
    learner.ingest()
    learner.update(2)
    learner.checkpoint({"more": 1})
    loaded = load_policy(run.directory.path, run.task)
    assert loaded.info["more"] == 1 and loaded.policy.config.stack == stack
    assert all(torch.equal(v, learner.policy.state_dict()[k]) for k, v in loaded.policy.state_dict().items())


@pytest.mark.parametrize("name", ["features", "end to end"])
def test_an_actor_gets_the_encoder_when_it_is_trained(new_run: Callable[..., Run], name: str) -> None:
    cameras, _, config, *_ = AGENTS[name]
    run = new_run(cameras=cameras)
    run.add("demo", "online")
    learner = run.learner(config)
    learner.ingest()
    learner.update(2)
    other = Policy(run.task.observation, 4, NETWORK)
    fresh = {k: v.clone() for k, v in other.encoder.state_dict().items()}
    runner = PolicyRunner(other, 0, Link(run.directory.path))
    runner.refresh()
    assert runner.version == 2
    assert all(torch.equal(v, learner.policy.actor.state_dict()[k]) for k, v in other.actor.state_dict().items())
    encoder = learner.policy.encoder.state_dict() if name == "end to end" else fresh
    assert all(torch.equal(v, encoder[k]) for k, v in other.encoder.state_dict().items())


@pytest.mark.parametrize("name", AGENTS)
def test_an_actor_that_begins_alike_acts_as_the_learner_does(new_run: Callable[..., Run], name: str) -> None:
    cameras, stack, config, *_ = AGENTS[name]
    run = new_run(cameras=cameras, stack=stack)
    run.add("demo", "online")
    learner = run.learner(config)
    learner.ingest()
    learner.update(2)
    runner = PolicyRunner(begin_with(run.policy(), run.task, config), 0, Link(run.directory.path))
    runner.refresh()
    assert runner.version == 2
    rng = np.random.default_rng(0)
    for _ in range(3):
        images = {f"camera{i}": rng.integers(0, 256, (47, 47, 3), np.uint8) for i in range(cameras)}
        seen = Observation(images, rng.uniform(-1, 1, 7).astype(np.float32), 0.0)
        np.testing.assert_array_equal(runner.act(seen, explore=False), learner.policy.act(seen))


def test_drqv2_without_a_camera_is_refused(new_run: Callable[..., Run]) -> None:
    with pytest.raises(UserError, match="no camera"):
        new_run().learner(replace(COLD, agent="drqv2"))


def test_the_memory_takes_stack_and_discount_from_the_agent(made: ModuleType) -> None:
    task: TaskSpec = made.task(1, size_px=47)
    policy = Policy(task.observation, 4, replace(NETWORK, stack=3))
    config = replace(COLD, sac=SacConfig(discount=0.5, encoder_lr=1e-3), pixels=replace(COLD.pixels, discount=0.9))
    _, memory = make_agent(task, policy, config)
    memory.add(made.episode(task, 0, STEPS))
    batch = memory.sample()
    assert batch.images["camera0"].shape[1] == 3  # type: ignore[union-attr]
    assert set(np.unique(batch.bootstrap.numpy())) <= {0.0, 0.25}  # type: ignore[union-attr]


# what it begins with


def test_critics_that_came_with_the_policy_go_on(new_run: Callable[..., Run]) -> None:
    run = new_run()
    saved = {k: v.clone() for k, v in make_agent(run.task, run.policy(3), COLD)[0].critic.state_dict().items()}

    def kept(config: LearnerConfig) -> bool:
        agent, _ = make_agent(run.task, run.policy(), config, saved)
        same = [torch.equal(v, saved[k]) for part in (agent.critic, agent.target) for k, v in part.state_dict().items()]
        return all(same)

    assert kept(COLD) and kept(replace(COLD, start=StartConfig(actor="residual")))
    assert not kept(replace(COLD, start=StartConfig(critics="scratch")))
    assert not kept(replace(COLD, start=StartConfig(actor="scratch")))
    make_agent(run.task, run.policy(), replace(COLD, agent="hg-dagger"), saved)  # has no use for them
    for sac in (SacConfig(critics=10), SacConfig(gripper="discrete")):
        with pytest.raises(UserError, match=r"first\.weight(?s:.*)--learner\.start\.critics=scratch"):
            make_agent(run.task, run.policy(), replace(COLD, sac=sac), saved)


def test_only_the_warm_start_is_anchored(new_run: Callable[..., Run]) -> None:
    run, weights = new_run(), {}
    for actor in ("policy", "scratch", "residual"):
        agent, _ = make_agent(run.task, run.policy(), replace(COLD, start=StartConfig(actor=actor)))
        assert isinstance(agent, Sac)
        weights[actor] = agent.config.anchor_start
    assert weights == {"policy": 0.25, "scratch": 0.0, "residual": 0.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agent": "drqv2", "start": StartConfig(actor="residual")}, "eyes must stay"),
        ({"sac": SacConfig(encoder_lr=1e-3), "start": StartConfig(actor="residual")}, "eyes must stay"),
        ({"start": StartConfig(actor="scratch", encoder="scratch")}, "must learn to see"),
    ],
)
def test_a_start_that_cannot_work_is_refused(new_run: Callable[..., Run], change: dict, message: str) -> None:
    with pytest.raises(UserError, match=rf"{message}.*accepted"):
        new_run(cameras=1).learner(replace(COLD, **change))


def test_what_an_episode_teaches_is_the_configs(made: ModuleType) -> None:
    sources = np.array([Source.POLICY, Source.HUMAN, Source.EXPERT, Source.POLICY], np.uint8)
    episode = replace(made.episode(made.task(0), 0, STEPS), source=sources)
    plain = taught(episode, COLD)
    assert plain.source.tolist() == [Source.POLICY, Source.HUMAN, Source.HUMAN, Source.POLICY]
    assert np.array_equal(plain.reward, episode.reward)
    assert plain.executed is episode.executed
    assert taught(episode, replace(COLD, learned="proposed")).executed is episode.proposed
    judged = taught(episode, replace(COLD, takeover_penalty=0.5))
    assert (judged.reward - episode.reward).tolist() == [-0.5, 0.0, 0.0, 0.0]
    alone = replace(episode, source=np.full(STEPS, Source.POLICY, np.uint8))
    own = taught(alone, replace(COLD, agent="hg-dagger", takeover_penalty=0.5))
    assert (own.source == Source.HUMAN).all() and np.array_equal(own.reward, alone.reward)


def test_a_penalty_lowers_the_smallest_return(new_run: Callable[..., Run]) -> None:
    run = new_run()
    agent, _ = make_agent(run.task, run.policy(), replace(COLD, takeover_penalty=0.5))
    worst = sum(-0.5 * agent.config.discount**t for t in range(0, 2000, 2))  # type: ignore[union-attr]
    assert agent.config.target_low == pytest.approx(worst)  # type: ignore[union-attr]


# without a warm start


def test_without_a_warm_start_the_first_episode_is_learned_from(new_run: Callable[..., Run]) -> None:
    run = new_run()
    learner = run.learner()
    learner.ingest()
    assert learner.debt == 0
    run.add("demo")
    learner.ingest()
    assert learner.debt == 0 and len(learner._replay) == STEPS  # a demonstration owes nothing
    run.add("online")
    learner.ingest()
    assert learner.debt == STEPS


def test_a_warm_start_from_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="10 critic_updates"):
        replace(COLD, critic_updates=10)
    with pytest.raises(UserError, match="baseline_episodes is -1"):
        replace(COLD, baseline_episodes=-1)


def test_a_simulation_may_pay_other_rewards_and_the_arm_may_not(new_run: Callable[..., Run]) -> None:
    run = new_run()
    run.add("online", reward=0.25)
    learner = run.learner()
    learner.ingest()
    assert learner._replay.sample().reward.eq(0.25).all()
    with pytest.raises(UnfitEpisode, match="reward"):
        run.learner(replace(COLD, simulated=False)).ingest()


@pytest.mark.parametrize(("source", "human"), [(Source.EXPERT, 1.0), (Source.HUMAN, 1.0), (Source.POLICY, 0.0)])
def test_what_an_expert_shows_is_copied_like_what_a_person_shows(
    new_run: Callable[..., Run], source: Source, human: float
) -> None:
    run = new_run()
    run.add("demo", source=source)
    learner = run.learner()
    learner.ingest()
    assert learner._replay.sample().human.eq(human).all()


def test_without_an_actor_nothing_is_published(new_run: Callable[..., Run]) -> None:
    run = new_run()
    run.add("demo", "online")
    learner = run.learner(linked=False)
    learner.ingest()
    learner.update(4)
    learner.checkpoint()
    assert not (run.directory.path / "link").exists()


# NaN


def spoil(learner: Learner, name: str) -> None:
    """Put a NaN where an update could have put it."""
    with torch.no_grad():
        dict(learner.agent.named_parameters())[name].view(-1)[0] = float("nan")


def ready(run: Run) -> Learner:
    """A learner with one good checkpoint."""
    run.add("demo", "online", "online")
    learner = run.learner(replace(COLD, publish_every=3))
    learner.ingest()
    learner.update(3)
    learner.checkpoint()
    return learner


@pytest.mark.parametrize("name", ["critic.first.weight", "policy.actor.mean.weight"])
def test_a_nan_in_an_update_stops_and_is_named(new_run: Callable[..., Run], name: str) -> None:
    run = new_run()
    learner = ready(run)
    spoil(learner, name)
    with MetricsLog(run.directory.metrics_path) as metrics, pytest.raises(NotFinite) as stopped:
        learner.update(1, metrics)
    assert "after 4 updates train/critic_loss is nan" in str(stopped.value)
    assert f" {name.split('.')[0]}." in str(stopped.value)  # by then it has spread to the whole network
    assert "Checkpoint 000001 is from before that" in str(stopped.value)
    assert read_metrics(run.directory.metrics_path)[-1]["train/critic_loss"] is None  # the row is there


def test_a_nan_is_never_saved_or_published(new_run: Callable[..., Run]) -> None:
    run = new_run()
    learner = ready(run)
    link = Link(run.directory.path)
    assert link.newer_weights() is not None
    good = {k: v.clone() for k, v in learner.policy.state_dict().items()}
    spoil(learner, "policy.actor.mean.bias")
    with pytest.raises(NotFinite, match=r"policy\.actor\.mean\.bias"):
        learner.checkpoint()
    with pytest.raises(NotFinite, match=r"mean\.bias"):
        learner._publish()
    assert link.newer_weights() is None
    assert [folder.name for folder in numbered(run.directory.checkpoints)] == ["000001"]
    again = run.learner(seed=5)
    again.resume()
    assert all(torch.equal(v, good[k]) for k, v in again.policy.state_dict().items())


def test_a_nan_in_an_optimizer_is_found_before_it_is_saved(new_run: Callable[..., Run]) -> None:
    run = new_run()
    learner = ready(run)
    state = learner.agent.optimizers()["critic"].state
    next(iter(state.values()))["exp_avg"].view(-1)[0] = float("inf")
    with pytest.raises(NotFinite, match=r"optimizer\.critic\.0\.exp_avg"):
        learner.checkpoint()
