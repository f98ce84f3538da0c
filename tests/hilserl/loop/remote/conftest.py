"""A learner's server and an actor's courier on loopback, each with a run of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from data.schema import Episode
from data.spec import TaskSpec
from data.store.episode_store import EpisodeStore
from hilserl.loop.remote import courier as courier_module
from hilserl.loop.remote import server as server_module
from hilserl.loop.remote.courier import Courier
from hilserl.loop.remote.server import serving
from hilserl.loop.remote.terms import Terms

TOKEN = "0123456789abcdef"
KINDS = ("baseline", "online", "demo")


class Learner:
    """The learner's machine: its run, and its door, which opens and closes; always at the same port."""

    def __init__(self, run: Path, terms: Terms) -> None:
        self.run, self.terms, self.address = run, terms, "127.0.0.1:0"

    @contextlib.contextmanager
    def open(self, **options: object) -> Iterator[None]:
        with serving(self.run, self.terms, self.address, **options) as self.address:
            yield

    def store(self) -> EpisodeStore | None:
        return EpisodeStore.reader(self.run / "store") if (self.run / "store" / "store.json").exists() else None

    def uuids(self) -> list[str]:
        """What it holds, oldest first."""
        store = self.store()
        return [c.uuid for c in store.commits()] if store else []

    def episodes(self) -> list[Episode]:
        """The same, read and checked."""
        store = self.store()
        return [store.read(c) for c in store.commits()] if store else []


class Actor:
    """The actor's machine: its run, which the test fills."""

    def __init__(self, run: Path, terms: Terms, made: ModuleType) -> None:
        self.run, self.terms, self._made = run, terms, made
        EpisodeStore.create_or_open(run / "store", terms.spec).close()

    def commit(self, *seeds: int, count: int = 4, kind: str = "online", **meta: object) -> list[Episode]:
        episodes = [self._made.episode(self.terms.spec, seed, count, kind=kind, **meta) for seed in seeds]
        with EpisodeStore.create_or_open(self.run / "store", self.terms.spec) as store:
            for episode in episodes:
                store.append(episode)
        return episodes

    def courier(self, learner: Learner, **options: object) -> Courier:
        return Courier(self.run, learner.address, self.terms, KINDS, **options)


@pytest.fixture(scope="session")
def spec(made: ModuleType) -> TaskSpec:
    return made.task()


@pytest.fixture
def terms(spec: TaskSpec) -> Terms:
    return Terms(spec, "policy", TOKEN)


@pytest.fixture
def learner(tmp_path: Path, terms: Terms) -> Iterator[Learner]:
    learner = Learner(tmp_path / "learner", terms)
    yield learner
    store = learner.store()
    assert store is None or store.verify() == []


@pytest.fixture
def new_actor(tmp_path: Path, terms: Terms, made: ModuleType) -> Callable[[str], Actor]:
    return lambda name: Actor(tmp_path / name, terms, made)


@pytest.fixture
def actor(new_actor: Callable[[str], Actor]) -> Actor:
    return new_actor("actor")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, quicker: a learner that comes back is found after a fraction of a second."""
    monkeypatch.setattr(courier_module, "BACKOFF_S", (0.02, 0.1))
    quick = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.min_reconnect_backoff_ms", 50))
    options = dict((*courier_module.CHANNEL_OPTIONS, *quick, ("grpc.max_reconnect_backoff_ms", 100)))
    monkeypatch.setattr(courier_module, "CHANNEL_OPTIONS", tuple(options.items()))
    monkeypatch.setattr(server_module, "HEARTBEAT_S", 0.05)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Wait until something holds; a minute means never."""

    def wait(holds: Callable[[], object]) -> None:
        deadline_s = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline_s, "it never came true"
            time.sleep(0.01)

    return wait
