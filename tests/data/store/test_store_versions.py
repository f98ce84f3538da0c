"""Stores of older programs: `stores/version1` was written by one and is never changed."""

import json
import shutil
from pathlib import Path

import pytest

from data.schema import SCHEMA_VERSION
from data.store.episode_store import EpisodeStore

OLD = Path(__file__).with_name("stores") / "version1"


@pytest.fixture
def old(tmp_path):
    return Path(shutil.copytree(OLD, tmp_path / "store"))


def version(path: Path) -> int:
    return json.loads((path / "store.json").read_text())["schema_version"]


def test_a_reader_reads_an_old_store_and_leaves_it_alone(made, old):
    reader = EpisodeStore.reader(old)
    for commit in reader.commits():
        episode = reader.read(commit, native=True)
        made.assert_same(episode, made.episode(reader.spec, commit.notes["seed"], 3))
        assert episode.native == {} and commit.session == ""
    assert len(reader.commits()) == 2 and reader.verify() == []
    assert version(old) == 1


def test_a_writer_migrates_it_and_keeps_every_byte_of_the_episodes(made, old):
    files = {p: p.read_bytes() for p in (old / "episodes").rglob("*") if p.is_file()}
    spec = EpisodeStore.reader(old).spec
    with EpisodeStore.create_or_open(old, spec) as store:
        store.append(made.episode(spec, 2, 3, session="today"))
    assert version(old) == SCHEMA_VERSION
    assert all(path.read_bytes() == content for path, content in files.items())
    reader = EpisodeStore.reader(old)
    assert [c.session for c in reader.commits()] == ["", "", "today"] and reader.verify() == []
    created = json.loads((OLD / "store.json").read_text())["created"]
    assert json.loads((old / "store.json").read_text())["created"] == created


def test_a_crash_while_migrating_leaves_the_old_store(made, old, monkeypatch):
    spec = EpisodeStore.reader(old).spec

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", crash)
    with pytest.raises(KeyboardInterrupt):
        EpisodeStore.create_or_open(old, spec)
    monkeypatch.undo()
    assert version(old) == 1
    EpisodeStore.create_or_open(old, spec).close()
    assert version(old) == SCHEMA_VERSION
