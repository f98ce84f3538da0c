"""Weights and status through files: newest only, whole or not at all, and when a learner counts as silent."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import torch

from hilserl.loop import link as link_module
from hilserl.loop.link import STALE_S, LearnerStatus, Link

STATUS = LearnerStatus("training", updates=7, debt=3, episodes=2, version=5)


def weights(value: float, rows: int = 3) -> dict[str, torch.Tensor]:
    return {"a": torch.full((rows, 2), value), "b.c": torch.full((1,), value)}


class Clock:
    """Stands in for the module `time`; somebody may set the time of day."""

    def __init__(self) -> None:
        self.now_s, self.set_by_s = 1000.0, 0.0

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return self.now_s + self.set_by_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(link_module, "time", clock)
    return clock


def test_nothing_before_the_first(tmp_path: Path) -> None:
    assert Link.peek(tmp_path) is None
    assert list(tmp_path.iterdir()) == []  # looking makes no folder
    link = Link(tmp_path)
    assert link.newer_weights() is None
    assert link.learner() is None
    assert not link.learner_is_silent()


def test_weights_arrive_once_whole_and_with_their_version(tmp_path: Path) -> None:
    Link(tmp_path).publish_weights(weights(1.5), 300)
    reader = Link(tmp_path)
    found = reader.newer_weights()
    assert found is not None and found[1] == 300
    assert found[0].keys() == {"a", "b.c"}
    assert all(torch.equal(found[0][k], v) for k, v in weights(1.5).items())
    assert reader.newer_weights() is None
    assert Link(tmp_path).newer_weights() is not None  # a reader that starts later


def test_only_the_newest_is_left(tmp_path: Path) -> None:
    writer, reader = Link(tmp_path), Link(tmp_path)
    for version in (100, 200, 300):
        writer.publish_weights(weights(version), version)
    found = reader.newer_weights()
    assert found is not None and found[1] == 300
    assert reader.newer_weights() is None
    assert len(list((tmp_path / "link").iterdir())) == 1  # no temporary file either


def test_two_writes_within_one_tick_of_the_file_system_are_told_apart(tmp_path: Path) -> None:
    writer, reader = Link(tmp_path), Link(tmp_path)
    for version in (1, 2):
        writer.publish_weights(weights(version), version)
        os.utime(tmp_path / "link" / "actor.safetensors", ns=(10**18, 10**18))
        found = reader.newer_weights()
        assert found is not None and found[1] == version


def test_a_crash_while_writing_leaves_the_older_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Link(tmp_path)
    writer.publish_weights(weights(1), 1)
    with monkeypatch.context() as patch:

        def crash(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            writer.publish_weights(weights(2), 2)
    found = Link(tmp_path).newer_weights()
    assert found is not None and found[1] == 1
    writer.publish_weights(weights(3), 3)
    found = Link(tmp_path).newer_weights()
    assert found is not None and found[1] == 3


def test_what_was_read_stays_while_newer_ones_are_written(tmp_path: Path) -> None:
    link = Link(tmp_path)
    link.publish_weights(weights(1), 1)
    found = link.newer_weights()
    assert found is not None
    link.publish_weights(weights(2), 2)
    assert (found[0]["a"] == 1.0).all()


def test_reader_and_writer_at_once_see_whole_and_rising_versions(tmp_path: Path) -> None:
    """Every tensor of a version holds its number; any mixture of two files would show."""
    done = threading.Event()

    def write() -> None:
        writer = Link(tmp_path)
        for version in range(1, 151):
            writer.publish_weights(weights(version, rows=20_000), version)
            writer.report(LearnerStatus("training", version, 0, version, version))
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    reader, seen = Link(tmp_path), [0]
    while True:
        finished = done.is_set()  # before the last look
        found = reader.newer_weights()
        if found is not None:
            assert {v.item() for t in found[0].values() for v in t.unique()} == {float(found[1])}
            seen.append(found[1])
        status = reader.learner()
        assert status is None or status.updates == status.episodes == status.version
        if finished:
            break
    thread.join()
    assert seen == sorted(seen) and seen[-1] == 150
    assert len(seen) > 3


def test_status_is_stamped_and_replaced(tmp_path: Path, clock: Clock) -> None:
    link = Link(tmp_path)
    link.report(STATUS)
    assert Link.peek(tmp_path) == LearnerStatus("training", 7, 3, 2, 5, unix_s=1000.0, monotonic_s=1000.0)
    clock.now_s += 1
    link.report(LearnerStatus("critics", 8, 0, 2, 5))
    found = link.learner()
    assert found is not None and (found.phase, found.unix_s) == ("critics", 1001.0)


def test_a_learner_that_stops_reporting_is_silent(tmp_path: Path, clock: Clock) -> None:
    link = Link(tmp_path)
    clock.now_s += 500  # never having reported is waiting, not silence
    assert not link.learner_is_silent()
    link.report(STATUS)
    clock.now_s += STALE_S
    assert not link.learner_is_silent()
    clock.now_s += 0.1
    assert link.learner_is_silent()
    link.report(STATUS)
    assert not link.learner_is_silent()


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0])
def test_the_time_of_day_may_jump(tmp_path: Path, clock: Clock, jump_s: float) -> None:
    learner, link = Link(tmp_path), Link(tmp_path)
    learner.report(STATUS)
    assert link.live_learner() is not None and not link.learner_is_silent()
    clock.set_by_s += jump_s
    assert not link.learner_is_silent()
    learner.report(STATUS)
    assert link.live_learner() is not None and link.silent_s() == 0
    clock.now_s += STALE_S + 0.1
    assert link.learner_is_silent()


def test_a_status_from_before_a_reboot_is_old(tmp_path: Path, clock: Clock) -> None:
    Link(tmp_path).report(STATUS)
    clock.now_s = 5.0  # the clock that only runs has begun again
    link = Link(tmp_path)
    assert not link.learner_is_silent() and link.live_learner() is None
    clock.now_s += STALE_S + 0.1
    assert link.learner_is_silent()


def test_what_was_reported_in_an_earlier_life_is_not_live(tmp_path: Path) -> None:
    Link(tmp_path).report(STATUS)
    link = Link(tmp_path)
    assert link.learner() is not None and link.live_learner() is None
    Link(tmp_path).report(STATUS)
    assert link.live_learner() is not None


def test_the_weights_travel_as_a_file(tmp_path: Path) -> None:
    here, there = Link(tmp_path / "here"), Link(tmp_path / "there")
    assert here.newer_weights_file() is None
    Link(tmp_path / "here").publish_weights(weights(1.5), 300)
    content = here.newer_weights_file()
    assert content is not None and here.newer_weights_file() is None
    there.put_weights_file(content)
    found = there.newer_weights()
    assert found is not None and found[1] == 300 and (found[0]["a"] == 1.5).all()
    assert [p.name for p in (tmp_path / "there" / "link").iterdir()] == ["actor.safetensors"]


def test_after_a_break_the_learner_gets_time_to_come_up(tmp_path: Path, clock: Clock) -> None:
    """Both halves start together on a resume; the status that is there is of yesterday."""
    Link(tmp_path).report(STATUS)
    clock.now_s += 86_400
    link = Link(tmp_path)
    assert not link.learner_is_silent()
    clock.now_s += STALE_S + 0.1
    assert link.learner_is_silent()
