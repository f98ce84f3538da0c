import threading
from concurrent.futures import Future

import pytest

from data.store.committer import Committer
from data.store.episode_store import EpisodeStore


@pytest.fixture
def spec(made):
    return made.task()


@pytest.fixture
def store(spec, tmp_path):
    with EpisodeStore.create_or_open(tmp_path / "store", spec) as store:
        yield store


def test_the_committer_keeps_the_order_and_drains_on_close(made, spec, store):
    with Committer(store) as committer:
        futures = [committer.submit(made.episode(spec, seed)) for seed in range(4)]
        assert all(isinstance(f, Future) for f in futures)
    assert [f.result() for f in futures] == store.commits()
    assert [c.notes["seed"] for c in store.commits()] == [0, 1, 2, 3]


def test_the_committer_does_not_make_its_caller_wait(made, spec, store, monkeypatch):
    gate, append = threading.Event(), store.append
    monkeypatch.setattr(store, "append", lambda episode: gate.wait() and append(episode))
    with Committer(store) as committer:
        futures = [committer.submit(made.episode(spec, seed)) for seed in range(3)]
        assert not any(f.done() for f in futures)  # submit has returned three times with the disk stuck
        gate.set()
    assert len(store.commits()) == 3


def test_a_failed_commit_surfaces_once_and_keeps_its_journal(made, spec, store, monkeypatch):
    first, steps = made.steps(spec, 0, 2)
    journal = store.journal(first, made.meta(spec, 0))
    for step in steps:
        journal.add(step)

    def full(*_):
        raise OSError("no space left")

    with Committer(store) as committer:
        with monkeypatch.context() as patch:
            patch.setattr("data.store.episode_store.write_group", full)
            with pytest.raises(OSError, match="no space"):
                committer.submit(made.episode(spec, 0, 2)).result()
        with pytest.raises(OSError, match="no space"):
            committer.submit(made.episode(spec, 1))
        committer.submit(made.episode(spec, 1))
    assert [c.notes["seed"] for c in store.commits()] == [1]
    store.close()
    with EpisodeStore.create_or_open(store.path, spec) as again:
        assert [c.notes["seed"] for c in again.commits()] == [1, 0]


def test_closing_the_committer_raises_what_nobody_was_told(made, spec, store, monkeypatch):
    monkeypatch.setattr("data.store.episode_store.write_group", lambda *_: 1 / 0)
    committer = Committer(store)
    committer.submit(made.episode(spec, 0))
    with pytest.raises(ZeroDivisionError):
        committer.close()
