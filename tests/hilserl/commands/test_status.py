"""`hilserl status`: what it says at each point of a run's life, in lines that fit the screen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from data.schema import Outcome, Source
from data.store.episode_store import EpisodeStore
from hilserl.commands.status import WIDTH, main
from hilserl.loop.link import LearnerStatus, Link
from hilserl.metrics import MetricsLog
from hilserl.runs import RunDirectory
from hilserl.ui.lines import ago

HEALTH = {"health/action": 0.5, "health/takeover_s": 1.8, "health/episode_s": 8.0, "health/human_share": 0.25}
CHECK = {
    "check/version": 4200, "check/wins": 9, "check/n": 10, "check/low": 0.6, "check/high": 0.98,
    "check/best": 4200, "check/best_found": "9 of 10 untouched (60 to 98 %)", "check/alarm": "",
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, made: ModuleType) -> RunDirectory:
    """A run with 4 baseline episodes, of which 3 succeed, and 24 operated ones, the last 5 a quarter by a person."""
    run, task = RunDirectory(tmp_path / "lift"), made.task(cameras=0)
    with EpisodeStore.create_or_open(run.path / "store", task) as store:
        for i in range(28):
            kind, won = ("baseline", i > 0) if i < 4 else ("online", True)
            outcome = Outcome.SUCCESS if won else Outcome.TIMEOUT
            source = np.full(4, Source.POLICY, np.uint8)
            source[:1] = Source.HUMAN if i >= 23 else Source.POLICY
            store.append(replace(made.episode(task, i, kind=kind, outcome=outcome), source=source))
    return run


@pytest.fixture
def said(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> Callable[[], dict[str, str]]:
    """Run the command; return its lines by label, wrapped ones as one."""

    def say() -> dict[str, str]:
        assert main([str(run.path)]) == 0
        _, *lines = capsys.readouterr().out.splitlines()
        assert all(len(line) <= WIDTH for line in lines)
        found: dict[str, str] = {}
        for line in lines:
            label, text = line[2:14].strip(), line[14:].strip()
            label = label or list(found)[-1]
            found[label] = f"{found[label]} {text}" if label in found else text
        return found

    return say


def write(run: RunDirectory, *rows: dict) -> None:
    with MetricsLog(run.metrics_path) as metrics:
        for row in rows:
            metrics.write(row)


def test_of_a_run_that_was_only_recorded_it_says_what_there_is(said: Callable[[], dict[str, str]]) -> None:
    lines = said()
    assert list(lines) == ["arm", "disk", "baseline", "online", "last 20", "resume from"]
    assert lines["arm"].endswith("0.4 s an episode lately") and lines["disk"].endswith("GB free")
    assert lines["baseline"] == "4 finished, 0 cut short; success 3/4 (30% to 95%), 0% of the steps by a person"
    assert lines["last 20"] == "success 20/20 (84% to 100%), 6% of the steps by a person"
    assert "no checkpoint yet" in lines["resume from"]


def test_of_a_run_in_training_it_says_how_it_stands(run: RunDirectory, said: Callable[[], dict[str, str]]) -> None:
    write(
        run, {"updates": 4000, **CHECK}, {"updates": 4000, **HEALTH}, {"critic_per_step": 2.98, "actor_per_step": 0.745}
    )
    run.save_checkpoint({"w": torch.zeros(1)}, {"updates": 4200, "operated_episodes": 24}, best=True)
    run.write_json("train.json", {"learner": {"utd": 3.0, "agent": "sac", "sac": {"actor_every": 4}}})
    Link(run.path).report(LearnerStatus("training", 4210, 7, 28, 4200))
    lines = said()
    assert lines["last 20"].endswith("longest take-over 1.8 s")
    assert lines["untouched"].startswith("9 of 10 (60 to 98 %) after 4200 updates")
    assert lines["best"] == "checkpoint 000001: 9 of 10 untouched (60 to 98 %); to use it: --policy.path=RUN/best"
    assert lines["learner"] == (
        "last seen 0 s ago training, 4210 updates, 7 owed; per step 2.98 updates, 0.74 of the actor "
        "(asked for: 3 and 0.75)"
    )
    assert lines["health"] == "nothing looks wrong after 4000 updates"
    assert lines["resume from"].startswith("checkpoint 000001: 4200 updates, 24 operated episodes: actor, critics")
    assert "ALARM" not in lines and "WARNING" not in lines


def test_what_is_wrong_is_said_with_what_to_do(run: RunDirectory, said: Callable[[], dict[str, str]]) -> None:
    alarm = "success fell: 2 of 10 untouched (6 to 51 %) now, 10 of 10 untouched (72 to 100 %) at 4200 updates"
    sick = {**HEALTH, "health/takeover_s": 7.5, "health/human_share": 0.9}
    write(run, {"updates": 500, **HEALTH}, {"updates": 9000, **CHECK, "check/alarm": alarm}, {"updates": 9000, **sick})
    run.save_checkpoint({"w": torch.zeros(1)}, {"updates": 9000, "operated_episodes": 24}, best=True)
    lines = said()
    assert lines["ALARM"].startswith(alarm) and "--rollback=best" in lines["ALARM"]
    assert "A take-over lasted 7.5 of at most 8 seconds." in lines["WARNING"]
    assert "A person drove 90% of the last 20 episodes." in lines["WARNING"]
    assert "health" not in lines


def test_what_the_coach_said_and_what_happened_is_said(run: RunDirectory, said: Callable[[], dict[str, str]]) -> None:
    run.journal("started", command="hilserl train --episodes=24")
    run.journal("best", checkpoint="000004", found="9 of 10")
    for number in (5, 26):  # the first is long ago
        run.journal("hint", rule="help", text=f"Episode {number}: take over.", first=number, last=number)
    lines = said()
    assert lines["coach"] == "Episode 26: take over."
    assert lines["event"] == "0 s ago: started 0 s ago: best, checkpoint 000004, found 9 of 10"


@pytest.mark.parametrize(
    ("past_s", "words"),
    [(0.0, "0 s ago"), (119.0, "119 s ago"), (121.0, "2 min ago"), (7300.0, "2 h ago"), (3 * 86400.0, "3 days ago")],
)
def test_times_are_relative(past_s: float, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hilserl.ui.lines.time.time", lambda: 1e9 + past_s)
    assert ago(1e9) == words


def test_a_torn_metrics_file_and_an_empty_one_do_no_harm(run: RunDirectory, said: Callable[[], dict[str, str]]) -> None:
    run.metrics_path.write_text("")
    before = said()
    run.metrics_path.write_text(json.dumps(HEALTH | {"updates": 500}) + '\n{"upd')
    assert set(said()) == {*before, "health"}


@pytest.mark.parametrize(("drift", "light", "warned"), [(0.5, 1.0, False), (1.6, 1.0, True), (0.5, 0.6, True)])
def test_pictures_unlike_the_training_are_said_with_what_to_do(run, said, made, drift, light, warned) -> None:
    task = made.task(cameras=0)
    with EpisodeStore.create_or_open(run.path / "store", task) as store:
        for number in range(200, 203):
            episode = made.episode(task, number, 3)
            notes = {"drift": drift, "brightness": light}
            store.append(replace(episode, meta=replace(episode.meta, session="today", notes=notes)))
    lines = said()
    assert ("pictures" in lines) == warned
    if warned:
        assert "hilserl record --purpose=classifier" in lines["pictures"]
