"""What is decided afterwards: history, undo, and episodes that change only when they are read."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import UserError
from data.lint import lint
from data.schema import Outcome
from data.store.annotations import FILE, Annotations, Entry, Verdict, in_force
from data.store.episode_store import EpisodeStore
from data.store.reader import open_reader


def _undo_chains(actions: list[int | None]) -> list[Entry]:
    """Entry i excludes, or undoes an earlier one."""
    return [
        Entry(i, "exclude" if a is None else "undo", "u", "", "", 0.0, undoes=-1 if a is None else a % i)
        for i, a in enumerate(actions)
        if a is None or i > 0
    ]


@settings(deadline=None)
@given(st.lists(st.none() | st.integers(0, 20), max_size=10).map(lambda a: [None, *a]))
def test_an_entry_counts_unless_an_entry_that_counts_undoes_it(actions: list[int | None]) -> None:
    entries = _undo_chains(actions)

    def counts(entry: Entry) -> bool:
        return not any(e.undoes == entry.number and counts(e) for e in entries if e.action == "undo")

    assert in_force(entries) == [e for e in entries if counts(e)]


def test_exclude_undo_and_undo_of_the_undo(tmp_path: Path) -> None:
    notes, other = Annotations(tmp_path), Annotations(tmp_path)
    first = notes.exclude("u", "blurred")
    assert other.verdicts()["u"].excluded == first  # another process sees it
    taken_back = other.undo(first.number, "not so bad")
    assert notes.verdicts() == {}
    with pytest.raises(UserError, match=r"no entry #0 in force; in force are #1"):
        notes.undo(first.number, "again")
    notes.undo(taken_back.number, "it is bad")
    excluded = other.verdicts()["u"].excluded
    assert excluded is not None
    assert (excluded.why, bool(excluded.who), excluded.written_unix_s > 1.7e9) == ("blurred", True, True)
    assert [(e.number, e.action, e.undoes) for e in notes.entries()] == [
        (0, "exclude", -1),
        (1, "undo", 0),
        (2, "undo", 1),
    ]


def test_the_newest_label_counts_and_undo_brings_the_one_before_back(tmp_path: Path) -> None:
    notes = Annotations(tmp_path)
    notes.relabel("u", ((3, 5), (1, 3)), "a")
    second = notes.relabel("u", ((2, 4),), "b")
    assert notes.verdicts()["u"].labels["success"] == second
    notes.undo(second.number, "c")
    relabel = Annotations(tmp_path).verdicts()["u"].labels["success"]
    assert relabel.intervals == ((1, 5),)  # normalised, and tuples again after JSON


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT])
@pytest.mark.parametrize("was", list(Outcome))
def test_reward_and_end_follow_the_outcome(tmp_path: Path, made: ModuleType, outcome: Outcome, was: Outcome) -> None:
    episode = made.episode(made.task(), 1, 5, outcome=was)
    entry = Annotations(tmp_path).judge("episode-1", outcome, "seen on the film")
    judged = Verdict(outcome=entry).apply(episode)
    assert [f for f in lint(judged, made.task()) if f.severity == "error"] == []
    assert judged.meta.outcome is outcome
    assert judged.reward.tolist() == [0, 0, 0, 0, outcome is Outcome.SUCCESS]
    assert judged.terminated.tolist() == [False] * 4 + [outcome is not Outcome.TIMEOUT]
    assert judged.truncated.tolist() == [False] * 4 + [outcome is Outcome.TIMEOUT]
    assert (judged.reward.dtype, judged.terminated.dtype) == (np.float32, np.bool_)
    made.assert_same(episode, made.episode(made.task(), 1, 5, outcome=was))  # the one that was read is untouched
    assert judged.executed is episode.executed  # what does not change is not copied


def test_aborted_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="success, failure and timeout"):
        Annotations(tmp_path).judge("u", Outcome.ABORTED, "")


def test_a_reader_applies_them_and_the_files_stay(tmp_path: Path, made: ModuleType) -> None:
    spec = made.task()
    with EpisodeStore.create_or_open(tmp_path, spec) as store:
        for seed in range(3):
            store.append(made.episode(spec, seed))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    reader = open_reader(tmp_path)
    reader.annotations.exclude("episode-1", "the cube fell off")
    reader.annotations.relabel("episode-2", ((1, 3),), "late")
    reader.annotations.judge("episode-2", Outcome.FAILURE, "it slipped")
    assert [c.uuid for c in reader.commits()] == ["episode-0", "episode-2"]
    assert [c.uuid for c in reader.tail(0)] == ["episode-2"]
    assert [c.uuid for c in reader.excluded()] == ["episode-1"]
    assert reader.commits()[1].outcome is Outcome.FAILURE
    relabelled = reader.read(2)
    assert relabelled.marked_success.tolist() == [False, True, True, False, False]
    assert relabelled.reward.sum() == 0
    made.assert_same(reader.read(0), made.episode(spec, 0))
    made.assert_same(reader.read(1), made.episode(spec, 1))  # named, it can still be read
    assert reader.find("episode-1").index == reader.find("1").index == 1
    reader.annotations.undo(0, "it came back")
    assert [c.index for c in reader.commits()] == [0, 1, 2]
    after = {p: p.read_bytes() for p in before}
    assert after == before


def test_a_torn_last_line_was_never_said(tmp_path: Path) -> None:
    Annotations(tmp_path).exclude("a", "x")
    with open(tmp_path / FILE, "ab") as file:
        file.write(b'{"number": 1, "action": "excl')
    notes = Annotations(tmp_path)
    assert set(notes.verdicts()) == {"a"}
    assert notes.exclude("b", "y").number == 1
    assert set(Annotations(tmp_path).verdicts()) == {"a", "b"}


@pytest.mark.parametrize("line", [b"garbage\n", b"{}\n", b"[1]\n"])
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    Annotations(tmp_path).exclude("a", "x")
    with open(tmp_path / FILE, "ab") as file:
        file.write(line)
    with pytest.raises(UserError, match="line 2 is no annotation"):
        Annotations(tmp_path).verdicts()


def test_an_action_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    Annotations(tmp_path).exclude("a", "x")
    path = tmp_path / FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"action": "transmogrify"}) + "\n")
    with pytest.raises(UserError, match="transmogrify"):
        Annotations(tmp_path).entries()


def test_labels_that_leave_the_episode_are_refused_with_the_way_back(tmp_path: Path, made: ModuleType) -> None:
    entry = Annotations(tmp_path).relabel("episode-1", ((3, 9),), "typo")
    with pytest.raises(UserError, match="hilserl data relabel"):
        Verdict(labels={"success": entry}).apply(made.episode(made.task(), 1, 4))


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    def write(name: int) -> None:
        notes = Annotations(tmp_path)
        for k in range(5):
            notes.exclude(f"{name}-{k}", "")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = Annotations(tmp_path).entries()
    assert [e.number for e in entries] == list(range(30))
    assert len({e.uuid for e in entries}) == 30
