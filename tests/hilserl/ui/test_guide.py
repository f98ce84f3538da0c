"""The guide on a store that is recorded into: hints in the journal, places in what is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from data.schema import Episode, Outcome, Source
from data.spec import TaskSpec
from data.store.episode_store import EpisodeStore
from hilserl.runs import RunDirectory
from hilserl.tasks import lift_task
from hilserl.ui.attempts import KINDS, read_attempts, read_true_places, take
from hilserl.ui.coach import CoachConfig
from hilserl.ui.coverage import CoverageConfig
from hilserl.ui.guide import SERIES, Guide
from hilserl.ui.spot import ColourConfig
from teleop.inputs import Prompt

COLOUR = ColourConfig()


@pytest.fixture(scope="module")
def task() -> TaskSpec:
    return lift_task()


@pytest.fixture
def store(tmp_path: Path, task: TaskSpec) -> Iterator[EpisodeStore]:
    with EpisodeStore.create_or_open(tmp_path / "lift" / "store", task) as store:
        yield store


@pytest.fixture(scope="module")
def lost(made: ModuleType, task: TaskSpec) -> Callable[..., Episode]:
    """A factory of untouched failures with a red object in the front camera, gripper closed at step 3."""

    def make(seed: int, kind: str = "online", outcome: Outcome = Outcome.TIMEOUT) -> Episode:
        episode = made.episode(task, seed, 5, kind=kind, outcome=outcome)
        executed, front = episode.executed.copy(), np.full((6, 84, 84, 3), 128, np.uint8)
        executed[:, 3], front[:, 40:48, 20:28] = [1, 1, 1, -1, -1], (200, 20, 20)
        source = np.full(5, Source.POLICY, np.uint8)
        return replace(episode, executed=executed, source=source, images={**episode.images, "front": front})

    return make


def make_guide(store: EpisodeStore, told: list[str], **area: bool) -> Guide:
    run = RunDirectory(store.path.parent)
    return Guide(run, store.spec, CoachConfig(), CoverageConfig(**area), told.append)


def test_hints_are_told_once_and_kept_in_the_journal(store: EpisodeStore, lost: Callable[..., Episode]) -> None:
    told, counted = list[str](), list[Episode]()
    store.append(lost(100, kind="labels"))
    guide = make_guide(store, told)
    see = guide.then(counted.append)
    for i in range(7):
        episode = lost(i)
        if i % 2:  # the index is right whether the commit is through or not
            store.append(episode)
            see(episode)
        else:
            see(episode)
            store.append(episode)
    assert len(counted) == 7
    assert told == ["Coach: Episodes 1 to 5: it failed every time, and nobody helped. Take over when it is stuck."]
    (line,) = [json.loads(text) for text in (store.path.parent / "journal.jsonl").read_text().splitlines()]
    assert (line["event"], line["rule"], line["first"], line["last"]) == ("hint", "help", 1, 5)
    assert [h.rule for h in guide.hints] == ["help"]
    assert [a.stripe for a in make_guide(store, told).attempts] == [a.stripe for a in guide.attempts]


def test_aborted_episodes_and_labels_teach_the_guide_nothing(store: EpisodeStore, lost: Callable[..., Episode]) -> None:
    guide = make_guide(store, [])
    for episode in (lost(0, outcome=Outcome.ABORTED), lost(1, kind="labels")):
        guide.then(lambda _: None)(episode)
    assert guide.attempts == []


def test_whatever_goes_wrong_with_it_the_session_goes_on(store: EpisodeStore, lost: Callable[..., Episode]) -> None:
    told, counted = list[str](), list[Episode]()
    see = make_guide(store, told).then(counted.append)
    (store.path / "commits.jsonl").write_text("damaged\n")
    see(lost(0))
    assert len(counted) == 1 and told[0].startswith("No hints after this episode: ")


def test_when_the_object_is_asked_for_the_place_is_said(store: EpisodeStore, lost: Callable[..., Episode]) -> None:
    said: list[str] = []
    guide = make_guide(store, [])
    say = guide.on_top(said.append, "online")
    say("the arm holds")
    say(Prompt.PLACE_OBJECT)
    assert said[0] == "the arm holds"
    assert said[1].startswith(f"{Prompt.PLACE_OBJECT}, 2") and "in front of the arm's base" in said[1]
    shown = json.loads((store.path.parent / "guide.json").read_text())
    assert said[1] == f"{Prompt.PLACE_OBJECT}, {shown['place']['words']}" and shown["hints"] == []
    assert np.array(shown["coverage"]["tries"]).shape == CoverageConfig().cells
    for i in range(5):
        guide.then(lambda _: None)(lost(i))
    shown = json.loads((store.path.parent / "guide.json").read_text())
    assert shown["place"] is None and [h["rule"] for h in shown["hints"]] == ["help"]
    assert shown["coverage"]["of"] == "picture" and np.sum(shown["coverage"]["tries"]) == 5
    make_guide(store, [], prompts=False).on_top(said.append, "online")(Prompt.PLACE_OBJECT)
    assert said[2] == Prompt.PLACE_OBJECT


def test_checks_begin_from_the_same_places_each_time(store: EpisodeStore, lost: Callable[..., Episode]) -> None:
    guide, places = make_guide(store, []), []
    for i in range(2 * SERIES):
        places.append(guide.place("check"))
        guide.then(lambda _: None)(lost(i, kind="check"))
    assert places[:SERIES] == places[SERIES:] and len(set(places)) == SERIES


def test_what_is_read_from_the_store_is_what_was_seen(store: EpisodeStore, lost: Callable[..., Episode]) -> None:
    task = store.spec
    episodes = [lost(i, kind="check" if i % 2 else "online") for i in range(3)]
    for episode in [*episodes, lost(9, outcome=Outcome.ABORTED)]:
        store.append(episode)
    from data.store.reader import open_reader

    reader, progress = open_reader(store.path), list[int]()
    found = read_attempts(reader, [c for c in reader.commits() if c.kind in KINDS], COLOUR, progress.append)
    assert len(found) == len(progress) == 3
    for i, (got, episode) in enumerate(zip(found, episodes, strict=True)):
        expected = take(episode, i, task, COLOUR)
        np.testing.assert_array_equal(got.p_success, expected.p_success)
        assert replace(got, p_success=expected.p_success) == expected
        assert got.spot == pytest.approx((24 / 84, 44 / 84)) and got.stripe.number == i
        assert got.start_m == pytest.approx(episode.state[0, 12:14], abs=1e-4)
        assert got.closed_m == pytest.approx(episode.state[4, 12:14], abs=1e-4)


def test_a_damaged_episode_is_left_out(store: EpisodeStore, lost: Callable[..., Episode]) -> None:
    from data.store.reader import open_reader

    for i in range(2):
        store.append(lost(i))
    (next((store.path / "episodes").iterdir()) / "source" / "zarr.json").write_text("{}")
    reader = open_reader(store.path)
    assert len(read_attempts(reader, reader.commits(), COLOUR, lambda _: None)) == 1


def test_true_places_are_those_of_the_rig(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    assert read_true_places(path) == {}
    path.write_text('{"tag": "a", "start_m": [0.2, 0.01]}\n{"tag": "old"}\n{"tag": "torn')
    assert read_true_places(path) == {"a": (0.2, 0.01)}
