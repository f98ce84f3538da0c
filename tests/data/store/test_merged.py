"""Several stores read as one: stable indices, no episode twice, sources untouched."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.errors import UserError
from data.schema import Episode, Outcome
from data.spec import SpecMismatch, TaskSpec
from data.store.annotations import Annotations
from data.store.commit_log import Commit
from data.store.episode_store import EpisodeStore
from data.store.merge_manifest import MANIFEST, read_manifest, write_manifest
from data.store.reader import STRIDE, MergedReader, open_reader


class Listing:
    """A reader that holds commits and nothing else."""

    def __init__(self, spec: TaskSpec, uuids: list[str]) -> None:
        self.spec, self.uuids = spec, uuids

    def commits(self, kind: str | None = None) -> list[Commit]:
        return [
            Commit(i, f"ep_{i:06d}", u, 1, "online", Outcome.SUCCESS, 0, "", False, 0.0, 0)
            for i, u in enumerate(self.uuids)
        ]

    def read(self, which: Commit | int, *, native: bool = False) -> Episode:
        raise AssertionError("not read here")


def _store(path: Path, made: ModuleType, seeds: range, spec: TaskSpec | None = None) -> Path:
    spec = spec or made.task()
    with EpisodeStore.create_or_open(path, spec) as store:
        for seed in seeds:
            store.append(made.episode(spec, seed))
    return path


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=4), st.integers(0, 3))
def test_an_index_means_one_episode_and_each_episode_counts_once(
    made: ModuleType, stores: list[list[int]], new: int
) -> None:
    listings = [Listing(made.task(), list(dict.fromkeys(map(str, uuids)))) for uuids in stores]
    merged = MergedReader([(str(i), listing) for i, listing in enumerate(listings)])  # type: ignore[arg-type,misc]
    before = merged.commits()
    indices = [c.index for c in before]
    assert indices == sorted(set(indices))
    assert sorted(c.uuid for c in before) == sorted({u for listing in listings for u in listing.uuids})
    for cut in [-1, *indices]:
        assert merged.tail(cut) == [c for c in before if c.index > cut]
    listings[-1].uuids += [f"new-{k}" for k in range(new)]  # the last store goes on
    assert merged.commits()[: len(before)] == before
    assert len(merged.tail(indices[-1] if indices else -1)) == new


def test_a_merge_reads_like_a_store(tmp_path: Path, made: ModuleType) -> None:
    a, b = _store(tmp_path / "a" / "store", made, range(0, 3)), _store(tmp_path / "b" / "store", made, range(2, 5))
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for s in (a, b) for p in s.rglob("*") if p.is_file()}
    spec = made.task()
    write_manifest(tmp_path / "ab", [a, b], spec)
    reader = open_reader(tmp_path / "ab")
    assert reader.spec == spec
    assert [c.index for c in reader.commits()] == [0, 1, 2, STRIDE + 1, STRIDE + 2]
    for commit, seed in zip(reader.commits(), range(5), strict=True):
        made.assert_same(reader.read(commit), made.episode(spec, seed))
        made.assert_same(reader.read(commit.index), made.episode(spec, seed))
        assert reader.location(commit).is_dir()
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in before}
    assert json.loads((tmp_path / "ab" / MANIFEST).read_text())["stores"] == ["../a/store", "../b/store"]
    for which in (7, STRIDE + 9, 2 * STRIDE):
        with pytest.raises(UserError):
            reader.read(which)


def test_annotations_of_a_source_and_of_the_merge_both_count(tmp_path: Path, made: ModuleType) -> None:
    a, b = _store(tmp_path / "a", made, range(0, 2)), _store(tmp_path / "b", made, range(2, 4))
    write_manifest(tmp_path / "ab", [a, b], made.task())
    Annotations(a).exclude("episode-0", "")
    reader = open_reader(tmp_path / "ab")
    reader.annotations.exclude("episode-3", "")
    assert [c.uuid for c in reader.commits()] == ["episode-1", "episode-2"]
    assert len(open_reader(b).commits()) == 2  # what is excluded from the merge stays in its store


def test_stores_of_different_specs_are_refused_with_a_diff(tmp_path: Path, made: ModuleType) -> None:
    a = _store(tmp_path / "a", made, range(1))
    b = _store(tmp_path / "b", made, range(1), made.task(size_px=9))
    with pytest.raises(SpecMismatch, match=r"size_px: this session has 8, .*b.* has 9"):
        MergedReader([(str(p), open_reader(p)) for p in (a, b)])
    write_manifest(tmp_path / "m", [b], made.task())
    with pytest.raises(SpecMismatch, match="in their place"):
        open_reader(tmp_path / "m")


def test_a_missing_source_is_named(tmp_path: Path, made: ModuleType) -> None:
    a, b = _store(tmp_path / "a", made, range(1)), _store(tmp_path / "b", made, range(1, 2))
    write_manifest(tmp_path / "ab", [a, b], made.task())
    b.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"none at \.\./b "):
        open_reader(tmp_path / "ab")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 1, "spec_fingerprint": "x", "stores": []}', '{"stores": 3}']
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(UserError, match="no list of stores"):
        read_manifest(tmp_path)


def test_a_newer_manifest_and_a_folder_in_use_are_refused(tmp_path: Path, made: ModuleType) -> None:
    path = write_manifest(tmp_path / "m", [_store(tmp_path / "a", made, range(1))], made.task())
    path.write_text(path.read_text().replace('"version": 1', '"version": 9'))
    with pytest.raises(UserError, match="version 9"):
        open_reader(tmp_path / "m")
    with pytest.raises(UserError, match="not empty"):
        write_manifest(tmp_path / "m", [tmp_path / "a"], made.task())


def test_a_run_its_store_and_a_foreign_folder(tmp_path: Path, made: ModuleType) -> None:
    _store(tmp_path / "run" / "store", made, range(2))
    assert open_reader(tmp_path / "run").commits() == open_reader(tmp_path / "run" / "store").commits()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "photo.jpg").touch()
    for name, found in (("other", "photo.jpg"), ("nowhere", "no such folder")):
        with pytest.raises(UserError, match=found):
            open_reader(tmp_path / name)
