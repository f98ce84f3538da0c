"""The learner as a caretaker: it paces itself, keeps the best policy, goes back when asked to, and resumes exactly."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.errors import UserError
from data.schema import Outcome, Source
from data.store.episode_store import EpisodeStore
from hilserl.agents.features import ReplayConfig
from hilserl.agents.networks import NetworkConfig, Policy
from hilserl.agents.policy_file import LoadedPolicy, load_policy
from hilserl.agents.sac import SacConfig
from hilserl.loop.checks import CHECK
from hilserl.loop.learner import Learner, LearnerConfig
from hilserl.loop.link import Link
from hilserl.loop.rollback import roll_back
from hilserl.metrics import MetricsLog, read_metrics
from hilserl.runs import RunDirectory, find_checkpoint, load_info, numbered

STEPS = 4  # of every episode here
SIZE = 5  # episodes of a check, here
CONFIG = LearnerConfig(
    baseline_episodes=2,
    critic_updates=6,
    utd=1.5,
    checkpoint_every=100,
    check_every=2,
    check_episodes=SIZE,
    health_every=5,
    sac=SacConfig(actor_every=2),
    replay=ReplayConfig(copies=0, batch_size=8, capacity_gib=0.001),
)


class Run:
    """A run directory whose store the test fills with untouched episodes."""

    def __init__(self, path: Path, made: ModuleType) -> None:
        self.directory, self.task, self._made = RunDirectory(path), made.task(cameras=0), made
        self.metrics = MetricsLog(self.directory.metrics_path)
        self._count = 0

    def add(self, kind: str, wins: int = 1, n: int = 1, version: int = 0, steps: int = STEPS) -> None:
        """Commit `n` episodes of one kind, the first `wins` of which succeed; the n-th of two runs are the same."""
        with EpisodeStore.create_or_open(self.directory.path / "store", self.task) as store:
            for i in range(n):
                won = i < wins
                episode = self._made.episode(self.task, self._count, steps, kind=kind)
                fields: dict[str, Any] = {"source": np.full(steps, Source.POLICY, np.uint8)}
                fields["policy_version"] = np.full(steps, version)
                if not won:
                    fields |= {"reward": np.zeros(steps, np.float32), "terminated": np.zeros(steps, bool)}
                    fields["truncated"] = np.arange(steps) == steps - 1
                    fields["meta"] = replace(episode.meta, outcome=Outcome.TIMEOUT)
                store.append(replace(episode, **fields))
                self._count += 1

    def learner(self, config: LearnerConfig = CONFIG, seed: int = 1) -> Learner:
        torch.manual_seed(seed)
        policy = Policy(self.task.observation, 4, NetworkConfig(hidden=8))
        return Learner(self.directory, self.task, LoadedPolicy(policy, {}, {}), config)

    def let(self, learner: Learner) -> None:
        """Let the learner run until it has done all it can, twice over; then it is stopped and saves."""
        rested = []

        def should_stop() -> bool:
            store = EpisodeStore.reader(self.directory.path / "store")
            seen = learner.last_commit == store.commits()[-1].index
            rested.append(seen and learner.debt == 0)
            return rested[-2:] == [True, True]

        learner.run(should_stop, self.metrics)

    def session(self, *checks: int, wins_before: int = 1) -> Learner:
        """Run the baseline, then for each check two operated episodes and SIZE checks with so many wins."""
        self.add("baseline", wins=wins_before, n=2)
        learner = self.learner()
        self.let(learner)
        for wins in checks:
            self.add("online", wins=2, n=2)
            self.let(learner)
            self.add(CHECK, wins=wins, n=SIZE, version=learner.agent.updates)
            self.let(learner)
        return learner

    def journal(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in (self.directory.path / "journal.jsonl").read_text().splitlines()]
        return [line for line in lines if line["event"] == event]

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [row for row in read_metrics(self.directory.metrics_path) if name in row]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.fixture
def new_run(tmp_path: Path, made: ModuleType) -> Callable[[str], Run]:
    return lambda name: Run(tmp_path / name, made)


@pytest.fixture
def run(new_run: Callable[[str], Run]) -> Run:
    return new_run("run")


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in learner.agent.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# pacing


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.integers(2, 9), st.tuples(st.integers(0, 30))), max_size=8), st.uuids())
def test_no_update_is_made_that_is_not_owed_whatever_is_asked_for(
    new_run: Callable[[str], Run], events: list[int | tuple[int]], name: object
) -> None:
    run = new_run(str(name))
    run.add("baseline", n=2, wins=2)
    learner, steps = run.learner(), 0
    for event in events:
        if isinstance(event, int):
            run.add("online", steps=event)
            learner.ingest()
            steps += event
        else:
            learner.update(*event)
        assert learner.agent.updates <= CONFIG.critic_updates + CONFIG.utd * steps
    learner.ingest()
    learner.update(1000)
    assert learner.debt == 0 and learner.agent.updates == int(CONFIG.critic_updates + CONFIG.utd * steps)


def test_the_measured_ratio_is_in_every_row(run: Run) -> None:
    learner = run.session()
    run.add("online", n=4, wins=4)
    run.let(learner)
    row = run.rows("critic_per_step")[-1]
    assert row["steps"] == 4 * STEPS and row["updates"] == 6 + 24
    assert (row["critic_per_step"], row["actor_per_step"]) == (1.5, 0.75)
    assert all(r["critic_per_step"] == 0.0 for r in run.rows("critic_per_step") if r["updates"] <= 6)


def test_it_sleeps_whenever_it_owes_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    run.add("baseline", n=2, wins=2)
    learner = run.learner()
    monkeypatch.setattr(time, "sleep", slept.append)
    learner.run(lambda: len(slept) == 5, run.metrics)
    assert slept == [0.05] * 5 and learner.agent.updates == 6


# checks


def test_the_start_policy_is_the_best_one_until_a_check_says_otherwise(run: Run) -> None:
    learner = run.session()
    best = find_checkpoint(run.directory.path, "best")
    assert load_info(best)["updates"] == CONFIG.critic_updates == learner.agent.updates
    assert "1 of 2 untouched" in (best / "README.md").read_text()
    assert [line["version"] for line in run.journal("best")] == [0]


def test_what_is_checked_is_saved_published_and_at_rest(run: Run) -> None:
    learner = run.session()
    run.add("online", wins=2, n=2)
    run.let(learner)
    at_rest, version = weights(learner), learner.agent.updates
    status = Link(run.directory.path).learner()
    assert status is not None and (status.debt, status.version, status.episodes) == (0, version, 4)
    assert load_info(run.directory.path)["updates"] == version
    run.add(CHECK, n=SIZE, wins=SIZE, version=version)
    run.let(learner)
    assert same(weights(learner), at_rest) and len(learner._replay) == (2 + 2 + SIZE) * STEPS


def test_the_best_checked_policy_stays_however_many_checkpoints_follow(run: Run) -> None:
    learner = run.session(5, 4, 4, 3)
    best = find_checkpoint(run.directory.path, "best")
    versions = [row["check/version"] for row in run.rows("check/version")]
    assert len(versions) == 5 and versions == sorted(versions) and versions[0] == 0
    assert load_info(best)["updates"] == versions[1]
    assert "5 of 5 untouched (57 to 100 %)" in (best / "README.md").read_text()
    assert run.rows("check/version")[-1]["check/best"] == versions[1]
    assert len(numbered(run.directory.checkpoints)) == 4 and learner.agent.updates == versions[-1]
    policy = load_policy(run.directory.path / "best", run.task)
    assert policy.info["updates"] == versions[1]


def test_the_alarm_is_told_once_and_kept(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hilserl.loop.keeper"):
        run.session(5, 5, 0)
    (told,) = (r.getMessage() for r in caplog.records if r.name == "hilserl.loop.keeper")
    assert told.startswith("success fell: 0 of 5 untouched (0 to 43 %) now, 5 of 5 untouched (57 to 100 %)")
    alarms = [row["check/alarm"] for row in run.rows("check/version")]
    assert [bool(a) for a in alarms] == [False, False, False, True]


def test_half_a_check_is_finished_after_a_resume(run: Run) -> None:
    learner = run.session(3)
    run.add("online", wins=2, n=2)
    run.let(learner)
    version = learner.agent.updates
    run.add(CHECK, n=3, wins=3, version=version)
    run.let(learner)
    assert len(run.rows("check/version")) == 2
    learner = run.learner(seed=9)
    learner.resume()
    run.let(learner)
    assert learner.agent.updates == version
    run.add(CHECK, n=2, wins=2, version=version)
    run.let(learner)
    assert run.rows("check/version")[-1]["check/n"] == SIZE
    assert load_info(run.directory.path / "best")["updates"] == version


@pytest.mark.parametrize("change", [{"check_every": -1}, {"check_episodes": 0}])
def test_a_schedule_that_cannot_be_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(UserError, match="check_every"):
        replace(CONFIG, **change)


# health


def test_health_is_written_and_a_healthy_run_raises_no_alarm(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    learner, at = watched(run)
    assert not caplog.records
    rows = run.rows("health/action")
    assert [row["updates"] for row in rows] == list(range(5, at + 1, 5)) and rows[-1]["health/q_most"] == 1.0
    assert [row["updates"] for row in run.rows("check/version")] == [6]
    assert learner.agent.updates == at


def test_what_is_wrong_is_said_when_it_changes(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    learner, _ = watched(run)
    with caplog.at_level(logging.INFO, "hilserl.loop.health"):
        good = learner.agent.critic.value.bias.detach().clone()
        with torch.no_grad():
            learner.agent.critic.value.bias.fill_(3.0)
        learner.update(20, run.metrics)
        with torch.no_grad():
            learner.agent.critic.value.bias.copy_(good)
        learner.update(20, run.metrics)
    first, second, *_ = (r.getMessage() for r in caplog.records)
    assert "the critics promise more than the task can pay" in first and "sane again" in second


def watched(run: Run) -> tuple[Learner, int]:
    """Return a learner after enough updates to judge its critics, with more to come, and how many it has made."""
    run.add("baseline", wins=1, n=2)
    learner = run.learner(replace(CONFIG, utd=20.0))
    run.let(learner)
    run.add("online", n=24, wins=20)
    learner.ingest()
    for _ in range(30):
        learner.update(20, run.metrics)
    return learner, 6 + 600


# going back


def test_rolled_back_it_has_the_old_networks_all_the_data_and_no_debt(run: Run) -> None:
    learner = run.session(5, 0)
    best = load_policy(run.directory.path / "best", run.task)
    ahead = learner.agent.updates
    before = [folder.name for folder in numbered(run.directory.checkpoints)]
    assert "operated episodes stay" in roll_back(run.directory, "best")
    assert set(before) < {folder.name for folder in numbered(run.directory.checkpoints)}, "something was deleted"
    assert run.journal("rolled back")[0]["from_updates"] == ahead

    learner = run.learner(seed=9)
    learner.resume()
    assert learner.agent.updates == ahead + 1 and learner.debt == 0 and learner.operated == 4
    assert same(dict(learner.policy.state_dict()), dict(best.policy.state_dict()))
    assert same(dict(learner.agent.critic.state_dict()), best.critic)
    assert len(learner._replay) == (2 + 4 + 2 * SIZE) * STEPS
    run.let(learner)
    assert run.rows("check/version")[-1]["check/alarm"] == "", "what fell has been dealt with"
    run.add("online", n=2, wins=2)
    learner.ingest()
    assert learner.debt == 2 * STEPS * CONFIG.utd
    run.let(learner)
    run.add(CHECK, n=SIZE, wins=0, version=learner.agent.updates)
    run.let(learner)
    assert run.rows("check/version")[-1]["check/alarm"]


def test_any_checkpoint_that_is_there_can_be_gone_back_to(run: Run) -> None:
    run.session(3)
    first = numbered(run.directory.checkpoints)[0]
    roll_back(run.directory, first.name)
    assert run.journal("rolled back")[0]["to"] == first.name
    with pytest.raises(UserError, match="no checkpoint `000077`"):
        roll_back(run.directory, "000077")


def test_a_run_without_a_best_checkpoint_says_so(run: Run) -> None:
    run.add("online")
    learner = run.learner(replace(CONFIG, baseline_episodes=0, critic_updates=0))
    run.let(learner)
    with pytest.raises(UserError, match="no checkpoint `best`"):
        roll_back(run.directory, "best")


# resume

SCRIPT = (("baseline", 2), ("online", 3), ("online", 2), (CHECK, 2), ("online", 1), ("online", 4))


def worked(run: Run, kill_after: tuple[int, ...] = ()) -> Learner:
    """Play the script; in every part after which there is a number, die so many updates after its first one."""
    learner = run.learner()
    for part, (kind, n) in enumerate(SCRIPT):
        run.add(kind, wins=n - 1, n=n)
        learner.ingest()
        if part < len(kill_after):
            learner.update(1, run.metrics)
            learner.checkpoint()
            learner.update(kill_after[part], run.metrics)  # lost with the process
            torch.rand(part)
            learner = run.learner(seed=70 + part)  # another start policy: all must come from the checkpoint
            learner.resume()
        while learner.debt:
            learner.update(3, run.metrics)
    return learner


def test_killed_five_times_and_resumed_it_is_the_run_that_was_never_interrupted(new_run: Callable[[str], Run]) -> None:
    through, broken = new_run("through"), new_run("broken")
    learner = worked(through)
    expected, rng = weights(learner), torch.get_rng_state()
    other = worked(broken, kill_after=(3, 2, 0, 1, 4))
    assert learner.agent.updates == other.agent.updates == 6 + 1.5 * 10 * STEPS
    assert same(weights(other), expected) and torch.equal(torch.get_rng_state(), rng)
    for name, optimizer in learner.agent.optimizers().items():
        ours, theirs = (o.state_dict()["state"] for o in (optimizer, other.agent.optimizers()[name]))
        assert all(torch.equal(v, theirs[i][k]) for i, p in ours.items() for k, v in p.items())
    assert torch.equal(other._replay.rng_state(), learner._replay.rng_state())
    assert other._pacing.state() == learner._pacing.state()
    assert other._checks.by_version == learner._checks.by_version
    first, second = (run.rows("health/action")[-1] for run in (through, broken))
    same_start = first.keys() - {"unix_s", "health/actor_change", "health/critic_change"}
    assert {k: first[k] for k in same_start} == {k: second[k] for k in same_start}


def test_other_learning_rates_hold_from_the_resume_on(run: Run) -> None:
    learner = run.session()
    learner.checkpoint()
    config = replace(CONFIG, sac=replace(CONFIG.sac, critic_lr=1e-5, actor_lr=2e-5))
    learner = run.learner(config)
    learner.resume()
    rates = {name: o.param_groups[0]["lr"] for name, o in learner.agent.optimizers().items()}
    assert rates == {"critic": 1e-5, "actor": 2e-5, "temperature": CONFIG.sac.temperature_lr}
    run.add("online", n=2, wins=2)
    learner.ingest()
    assert learner.update(4)["updates"] == 10


def test_the_card_says_what_how_good_and_how_made(run: Run) -> None:
    run.session()
    card = (find_checkpoint(run.directory.path) / "README.md").read_text()
    for words in ("# test: policy after 6 updates", run.task.fingerprint, "joints [rad]", "torch", "hilserl eval"):
        assert words in card
