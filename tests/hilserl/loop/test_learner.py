"""The learner on a real store: when it starts, how much it owes, and that a resumed run is the same run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from data.errors import UserError
from data.spec import TaskSpec
from data.store.episode_store import EpisodeStore
from hilserl.agents.features import ReplayConfig
from hilserl.agents.networks import Policy
from hilserl.agents.policy_file import LoadedPolicy, load_policy
from hilserl.agents.sac import SacConfig
from hilserl.loop.learner import Learner, LearnerConfig
from hilserl.loop.link import LearnerStatus, Link
from hilserl.metrics import MetricsLog, read_metrics
from hilserl.runs import RunDirectory, numbered

STEPS = 4  # of every episode here
CONFIG = LearnerConfig(
    baseline_episodes=2,
    critic_updates=6,
    utd=1.5,
    publish_every=4,
    checkpoint_every=2,
    sac=SacConfig(actor_every=2),
    replay=ReplayConfig(copies=1, batch_size=8),
)


@pytest.fixture(scope="session")
def task(made: ModuleType) -> TaskSpec:
    return made.task(size_px=47)


class Run:
    """A run directory whose store the test fills."""

    def __init__(self, path: Path, task: TaskSpec, made: ModuleType) -> None:
        self.directory, self.task, self._made = RunDirectory(path), task, made
        self.metrics = MetricsLog(self.directory.metrics_path)
        self._count = 0

    def add(self, *kinds: str, **meta: Any) -> None:
        """Commit one episode per kind; the n-th of any two runs are the same."""
        with EpisodeStore.create_or_open(self.directory.path / "store", self.task) as store:
            for kind in kinds:
                store.append(self._made.episode(self.task, self._count, STEPS, kind=kind, **meta))
                self._count += 1

    def learner(self, config: LearnerConfig = CONFIG, seed: int = 1, **start: Any) -> Learner:
        torch.manual_seed(seed)
        policy = Policy(self.task.observation, len(self.task.action.names))
        return Learner(self.directory, self.task, LoadedPolicy(policy, **({"critic": {}, "info": {}} | start)), config)

    def work(self, learner: Learner, count: int | None = None) -> None:
        """Take in what is new and make `count` updates, or all that are due."""
        learner.ingest()
        count = learner.debt if count is None else count
        assert count <= learner.debt
        if count:
            learner.update(count, self.metrics)

    def status(self) -> LearnerStatus:
        return Link(self.directory.path).learner()  # type: ignore[return-value]


@pytest.fixture
def new_run(tmp_path: Path, task: TaskSpec, made: ModuleType) -> Callable[[str], Run]:
    return lambda name: Run(tmp_path / name, task, made)


@pytest.fixture
def run(new_run: Callable[[str], Run]) -> Run:
    return new_run("run")


def actor_of(learner: Learner) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in learner._agent.policy.actor.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# pacing


def test_without_a_store_or_a_baseline_nothing_is_owed(run: Run) -> None:
    learner = run.learner()
    run.work(learner)
    assert learner.debt == 0
    run.add("baseline")
    run.work(learner)
    assert learner.debt == 0 and len(learner._replay) == STEPS
    assert run.status().phase == "waiting"


def test_early_online_episodes_do_not_shorten_the_warm_start(run: Run) -> None:
    learner = run.learner(replace(CONFIG, baseline_episodes=1))
    run.add("online", "online")
    learner.ingest()
    assert learner.debt == 0  # still waiting
    run.add("baseline")
    learner.ingest()
    assert learner.debt == 6 + 1.5 * 2 * STEPS


def test_a_warm_start_without_any_baseline_is_refused() -> None:
    with pytest.raises(UserError, match="baseline_episodes is 0"):
        replace(CONFIG, baseline_episodes=0)


def test_critics_first_and_alone_then_the_ratio(run: Run) -> None:
    learner = run.learner()
    untouched = actor_of(learner)
    run.add("baseline", "baseline")
    learner.ingest()
    assert learner.debt == 6
    run.work(learner)
    assert learner._agent.updates == 6 and learner.debt == 0
    assert same(actor_of(learner), untouched)
    assert "train/actor_loss" not in read_metrics(run.directory.metrics_path)[-1]

    run.add("online")
    learner.ingest()
    assert learner.debt == 1.5 * STEPS
    run.work(learner)
    assert not same(actor_of(learner), untouched)
    row = read_metrics(run.directory.metrics_path)[-1]
    assert (row["updates"], row["steps"], row["episodes"], row["debt"]) == (12, STEPS, 1, 0)
    assert "train/actor_loss" in row
    assert run.status().episodes == 3


def test_a_fraction_of_an_update_is_owed_until_it_is_whole(run: Run) -> None:
    learner = run.learner(replace(CONFIG, utd=0.125))  # half an update per episode
    run.add("baseline", "baseline")
    run.work(learner)
    owed = []
    for _ in range(4):
        run.add("online")
        learner.ingest()
        owed.append(learner.debt)
    assert owed == [0, 1, 1, 2]


@pytest.mark.parametrize("kind", ["eval-before", "labels"])
def test_other_kinds_are_no_training_data(run: Run, kind: str) -> None:
    learner = run.learner()
    run.add("baseline", kind, kind, kind)
    learner.ingest()
    assert learner.debt == 0 and len(learner._replay) == STEPS
    run.add("baseline", kind, "online", kind)
    learner.ingest()
    assert learner.debt == 6 + 1.5 * STEPS and len(learner._replay) == 3 * STEPS
    learner.ingest()
    assert len(learner._replay) == 3 * STEPS  # nothing is read twice


def test_the_loop_pays_its_debt_never_runs_ahead_and_saves(run: Run) -> None:
    run.add("baseline", "baseline", "online")
    learner, idle, phases = run.learner(), [], []

    def should_stop() -> bool:
        phases.append(learner._agent.updates)
        if learner.episodes and not learner.debt:
            idle.append(learner._agent.updates)
        return len(idle) == 4

    learner.run(should_stop, run.metrics)
    assert idle == [12] * 4
    assert phases == sorted(phases)
    status = run.status()
    assert (status.phase, status.updates, status.debt, status.version) == ("training", 12, 0, 12)
    found = Link(run.directory.path).newer_weights()
    assert found is not None and found[1] == 12 and same(found[0], actor_of(learner))
    tensors = load_policy(run.directory.path, run.task).policy.actor.state_dict()
    assert same(tensors, actor_of(learner))


def test_status_names_the_version_that_was_published(run: Run) -> None:
    run.add("baseline", "baseline", "online")
    learner = run.learner(replace(CONFIG, publish_every=5))
    learner.run(lambda: bool(learner._agent.updates) and not learner.debt, run.metrics)
    assert (run.status().updates, run.status().version) == (12, 10)
    found = Link(run.directory.path).newer_weights()
    assert found is not None and found[1] == 10


def test_critics_of_the_start_policy_are_taken_over(run: Run) -> None:
    critic = {k: v + 1.0 for k, v in run.learner()._agent.critic.state_dict().items()}
    learner = run.learner(critic=critic)
    assert same(learner._agent.critic.state_dict(), critic)
    assert same(learner._agent.target.state_dict(), critic)


# resume


def everything(learner: Learner) -> dict[str, Any]:
    """All that decides how a learner goes on, and what it draws next."""
    state: dict[str, Any] = {f"agent.{k}": v for k, v in learner._agent.state_dict().items()}
    for name, optimizer in learner._agent.optimizers().items():
        saved = optimizer.state_dict()
        state |= {f"{name}.{i}.{k}": v for i, p in saved["state"].items() for k, v in p.items()}
        groups = [{k: list(v) if k == "betas" else v for k, v in g.items()} for g in saved["param_groups"]]
        state[f"{name}.groups"] = groups
    state |= {"rng.torch": torch.get_rng_state(), "rng.replay": learner._replay.rng_state()}
    state |= {f"frames.{k}": learner._replay._frames[k] for k in ("features", "state")}
    state |= {n: getattr(learner, n) for n in ("debt", "steps", "operated", "last_commit")}
    state |= learner._pacing.state()
    return {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in state.items()}


SCRIPT: list[tuple[list[str], int]] = [  # what is committed, then how many updates are made
    (["labels", "baseline"], 0),
    (["baseline"], 2),
    (["eval"], 4),
    (["online", "online"], 5),
    (["baseline", "online", "eval"], 9),
    ([], 4),
]


@pytest.mark.parametrize(("cut", "ahead"), [(1, False), (2, True), (3, False), (4, False), (4, True), (5, False)])
def test_a_resumed_run_is_the_same_run(new_run: Callable[[str], Run], cut: int, ahead: bool) -> None:
    """Cut while waiting, among the critic updates, at their end, in training; `ahead`: the actor went on meanwhile."""
    through, broken = new_run("through"), new_run("broken")
    learner = through.learner()
    for kinds, updates in SCRIPT:
        through.add(*kinds)
        through.work(learner, updates)
    expected = everything(learner)

    learner = broken.learner()
    for kinds, updates in SCRIPT[:cut]:
        broken.add(*kinds)
        broken.work(learner, updates)
    learner.checkpoint()
    if ahead:
        broken.add(*SCRIPT[cut][0])
    torch.rand(7)
    learner = broken.learner(seed=77)  # another start policy: all must come from the checkpoint
    learner.resume()
    for part, (kinds, updates) in enumerate(SCRIPT[cut:]):
        if part or not ahead:
            broken.add(*kinds)
        broken.work(learner, updates)
    found = everything(learner)

    assert learner._agent.updates == 24 and found.keys() == expected.keys()
    tensors = {k for k, v in expected.items() if isinstance(v, torch.Tensor)}
    assert [k for k in tensors if not torch.equal(found[k], expected[k])] == []
    assert {k: found[k] for k in found.keys() - tensors} == {k: expected[k] for k in expected.keys() - tensors}


def test_a_checkpoint_is_made_every_few_episodes(run: Run) -> None:
    learner, seen = run.learner(), []

    def should_stop() -> bool:
        if not learner.debt and len(seen) < 3:
            seen.append(len(numbered(run.directory.checkpoints)))
            run.add("baseline", "online")
        return len(seen) == 3 and learner.episodes == 6 and not learner.debt

    learner.run(should_stop, run.metrics)
    assert seen == [0, 1, 2]


def test_a_new_ratio_holds_from_the_resume_on(run: Run) -> None:
    learner = run.learner()
    run.add("baseline", "baseline", "online")
    run.work(learner)
    learner.checkpoint()
    learner = run.learner(replace(CONFIG, utd=3.0))
    learner.resume()
    assert learner.debt == 0
    run.add("online")
    learner.ingest()
    assert learner.debt == 3 * STEPS
