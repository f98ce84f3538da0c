import contextlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.schema import Episode, Outcome
from data.store.episode_store import EpisodeStore
from data.store.journal import Journal, read_journal


@pytest.fixture
def spec(made):
    return made.task()


def crashed(made, spec, path, seed, count, ends):
    """A store whose writer stopped with an open journal of `count` steps."""
    with EpisodeStore.create_or_open(path, spec) as store:
        first, steps = made.steps(spec, seed, count, ends)
        journal = store.journal(first, made.meta(spec, seed, outcome=Outcome.ABORTED))
        for step in steps:
            journal.add(step)
    return first, steps


def test_an_open_episode_is_salvaged_and_truncated(made, spec, tmp_path):
    first, steps = crashed(made, spec, tmp_path, 3, 5, ends=False)
    with EpisodeStore.create_or_open(tmp_path, spec) as store:
        (commit,) = store.commits()
        assert (commit.salvaged, commit.outcome, commit.steps) == (True, Outcome.ABORTED, 5)
        steps[-1] = replace(steps[-1], truncated=True)
        meta = made.meta(spec, 3, outcome=Outcome.ABORTED, salvaged=True)
        made.assert_same(store.read(commit), Episode.from_steps(first, steps, meta))
        assert store.verify() == []
    assert not list(tmp_path.glob("journal-*"))
    with EpisodeStore.create_or_open(tmp_path, spec) as store:
        assert store.commits() == [commit]


def test_an_episode_that_had_ended_keeps_its_end(made, spec, tmp_path):
    crashed(made, spec, tmp_path, 3, 5, ends=True)
    with EpisodeStore.create_or_open(tmp_path, spec) as store:
        (commit,) = store.commits()
        episode = store.read(commit)
    assert (commit.salvaged, commit.outcome) == (True, Outcome.SUCCESS)
    assert (episode.terminated[-1], episode.truncated[-1]) == (True, False)


def test_an_episode_without_a_step_leaves_nothing(made, spec, tmp_path):
    crashed(made, spec, tmp_path, 3, 0, ends=False)
    assert list(tmp_path.glob("journal-*"))
    with EpisodeStore.create_or_open(tmp_path, spec) as store:
        assert store.commits() == []
    assert not list(tmp_path.glob("journal-*"))


def test_a_journal_whose_start_is_damaged_is_kept_aside(made, spec, tmp_path):
    crashed(made, spec, tmp_path, 3, 5, ends=True)
    (journal,) = tmp_path.glob("journal-*")
    content = bytearray(journal.read_bytes())
    content[100] ^= 1
    journal.write_bytes(content)
    with EpisodeStore.create_or_open(tmp_path, spec) as store:
        assert store.commits() == []
    (kept,) = tmp_path.glob("rejected-*")
    assert kept.read_bytes() == content


def test_commit_and_discard_remove_the_journal(made, spec, tmp_path):
    with EpisodeStore.create_or_open(tmp_path, spec) as store:
        first, steps = made.steps(spec, 0, 4)
        store.journal(first, made.meta(spec, 0)).add(steps[0])
        store.append(made.episode(spec, 0))
        assert not list(tmp_path.glob("journal-*"))
        store.journal(first, made.meta(spec, 1)).discard()
        assert not list(tmp_path.glob("journal-*"))
        assert len(store.commits()) == 1


def test_a_journal_of_a_committed_episode_is_not_committed_twice(made, spec, tmp_path):
    with EpisodeStore.create_or_open(tmp_path, spec) as store:
        commit = store.append(made.episode(spec, 0))
        first, steps = made.steps(spec, 0, 4)
        store.journal(first, made.meta(spec, 0)).add(steps[0])  # killed between the log and the removal
    with EpisodeStore.create_or_open(tmp_path, spec) as store:
        assert store.commits() == [commit]
    assert not list(tmp_path.glob("journal-*"))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_journal_cut_or_damaged_anywhere_gives_a_prefix(made, tmp_path_factory, data):
    spec = made.task(cameras=1, size_px=2)
    path = tmp_path_factory.mktemp("journal") / "journal-x.bin"
    first, steps = made.steps(spec, 0, 4)
    journal, ends = Journal(path, first, made.meta(spec, 0)), []
    ends.append(path.stat().st_size)
    for step in steps:
        journal.add(step)
        ends.append(path.stat().st_size)  # it is with the operating system before add() returns
    journal.close()
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    cut = data.draw(st.booleans())
    if cut:
        content = content[:at]
    else:
        content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)

    whole = sum(end <= at for end in ends)  # records that end before the damage
    if whole == 0 and not cut and at >= 4:  # not the length: then it may look cut
        with pytest.raises(ValueError, match="damaged"):
            read_journal(path)
        return
    if whole == 0:
        with contextlib.suppress(ValueError):
            assert read_journal(path) is None
        return
    salvage = read_journal(path)
    assert len(salvage.steps) == whole - 1
    np.testing.assert_array_equal(salvage.first.state, first.state)
    for found, step in zip(salvage.steps, steps, strict=False):
        np.testing.assert_array_equal(found.executed, step.executed)
        np.testing.assert_array_equal(found.next_observation.images["camera0"], step.next_observation.images["camera0"])
        assert (found.source, found.reward, found.terminated) == (step.source, step.reward, step.terminated)


def test_no_step_can_follow_the_end(made, spec, tmp_path):
    with EpisodeStore.create_or_open(tmp_path, spec) as store:
        first, steps = made.steps(spec, 0, 2)
        journal = store.journal(first, made.meta(spec, 0))
        journal.add(steps[1])
        with pytest.raises(ValueError, match="has ended"):
            journal.add(steps[0])


def test_what_cannot_be_salvaged_is_kept_and_reported(made, spec, tmp_path):
    with EpisodeStore.create_or_open(tmp_path, spec) as store:
        other = made.task(size_px=4)  # frames of the wrong size under the right fingerprint
        first, steps = made.steps(other, 0, 2)
        store.journal(first, made.meta(spec, 0)).add(steps[0])
    with EpisodeStore.create_or_open(tmp_path, spec) as store:
        assert store.commits() == []
        assert store.verify() == ["rejected-episode-0.bin: a journal that could not be salvaged"]
