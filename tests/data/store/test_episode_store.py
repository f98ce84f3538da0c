import json
import os
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.errors import DiskRefused, UserError
from data.schema import Outcome
from data.spec import SpecMismatch
from data.store.episode_codec import CorruptEpisode
from data.store.episode_store import EpisodeStore
from data.store.store_folder import StoreLocked


@pytest.fixture
def spec(made):
    return made.task()


@pytest.fixture
def store(spec, tmp_path):
    with EpisodeStore.create_or_open(tmp_path / "store", spec) as store:
        yield store


# what is written is what is read


@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(1, 140),
    cameras=st.integers(0, 3),
    state_dim=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
    special=st.sampled_from([0.0, float("nan"), float("inf"), 1e-42]),
)
@example(count=3, cameras=1, state_dim=1, seed=0, special=-0.0)  # equals the fill value, but not bit for bit
def test_every_array_comes_back_bit_for_bit(made, tmp_path_factory, count, cameras, state_dim, seed, special):
    spec = made.task(cameras, size_px=4, state_dim=state_dim)
    written = made.episode(spec, seed, count, detector_version="v1", started_unix_s=1.5)
    written.p_success[:] = special
    path = tmp_path_factory.mktemp("store")
    with EpisodeStore.create_or_open(path, spec) as store:
        commit = store.append(written)
        assert (commit.steps, commit.uuid, commit.notes) == (count, written.meta.uuid, {"seed": seed})
        assert (commit.kind, commit.outcome, commit.detector_version) == ("online", Outcome.SUCCESS, "v1")
    reader = EpisodeStore.reader(path)
    assert reader.spec == spec and reader.commits() == [commit]
    made.assert_same(reader.read(commit), written)
    made.assert_same(reader.read(commit.index), written)
    assert reader.verify() == []


def test_commits_can_be_chosen_by_kind(made, spec, store):
    for seed, kind in enumerate(["baseline", "online", "online"]):
        store.append(made.episode(spec, seed, kind=kind))
    assert [c.index for c in store.commits()] == [0, 1, 2]
    assert [c.index for c in store.commits(kind="online")] == [1, 2]


def test_an_unknown_index_says_what_there_is(made, spec, store):
    with pytest.raises(UserError, match="holds no episode"):
        store.read(0)
    store.append(made.episode(spec, 0))
    with pytest.raises(UserError, match="1 episodes, 0 to 0"):
        store.read(7)


# what does not fit is refused


def test_an_episode_that_does_not_fit_names_every_array(made, spec, store):
    episode = made.episode(spec, 0)
    bad = replace(episode, state=episode.state.astype(np.float64), reward=episode.reward[:-1])
    with pytest.raises(ValueError, match=r"reward: has float32 \[3\].*\n.*state: has float64 \[5, 3\]"):
        store.append(bad)
    with pytest.raises(ValueError, match="camera1: has nothing"):
        store.append(replace(episode, images={"camera0": episode.images["camera0"]}))
    assert store.commits() == []


def test_an_episode_of_another_spec_or_with_a_path_as_uuid_is_refused(made, spec, store):
    with pytest.raises(SpecMismatch):
        store.append(made.episode(made.task(size_px=4), 0))
    with pytest.raises(ValueError, match="uuid"):
        store.append(made.episode(spec, 0, uuid="../outside"))


def test_another_spec_shows_the_keys_that_differ(made, spec, store):
    store.close()
    with pytest.raises(SpecMismatch, match=r"observation\.cameras\.0\.size_px: this session has 4, .* has 8"):
        EpisodeStore.create_or_open(store.path, made.task(size_px=4))
    EpisodeStore.create_or_open(store.path, spec).close()  # the failed attempt kept no lock


def test_a_second_writer_is_refused_and_told_who_writes(spec, store):
    with pytest.raises(StoreLocked, match=f"pid {os.getpid()};"):
        EpisodeStore.create_or_open(store.path, spec)
    EpisodeStore.reader(store.path)  # a reader is welcome
    store.close()
    EpisodeStore.create_or_open(store.path, spec).close()


def test_a_reader_cannot_write(made, spec, store):
    reader = EpisodeStore.reader(store.path)
    with pytest.raises(RuntimeError, match="create_or_open"):
        reader.append(made.episode(spec, 0))
    with pytest.raises(RuntimeError, match="create_or_open"):
        reader.journal(made.steps(spec, 0, 1)[0], made.meta(spec, 0))


def test_what_is_no_store_is_refused(made, spec, store, tmp_path):
    with pytest.raises(UserError, match=r"store\.json is missing"):
        EpisodeStore.reader(tmp_path / "nowhere")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").touch()
    with pytest.raises(UserError, match=r"letter\.txt"):
        EpisodeStore.create_or_open(tmp_path / "home", spec)
    content = json.loads((store.path / "store.json").read_text())
    (store.path / "store.json").write_text(json.dumps(content | {"schema_version": 99}))
    with pytest.raises(UserError, match="schema version 99"):
        EpisodeStore.reader(store.path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '{"schema_version": 1}'])
def test_a_damaged_store_json_says_so(store, text):
    (store.path / "store.json").write_text(text)
    with pytest.raises(UserError, match=r"store\.json is damaged"):
        EpisodeStore.reader(store.path)


# the log is the truth


def test_sending_an_episode_again_changes_nothing(made, spec, store):
    first = store.append(made.episode(spec, 0))
    assert store.append(made.episode(spec, 0)) == first
    store.close()
    with EpisodeStore.create_or_open(store.path, spec) as again:
        assert again.append(made.episode(spec, 0)) == first
        assert again.commits() == [first]
    assert [p.name for p in (store.path / "episodes").iterdir()] == [first.folder]


def test_a_torn_last_line_is_ignored_by_readers_and_cut_by_the_next_writer(made, spec, store):
    commit = store.append(made.episode(spec, 0))
    store.close()
    log = store.path / "commits.jsonl"
    with open(log, "a") as file:
        file.write('{"index": 1, "fol')
    reader = EpisodeStore.reader(store.path)
    assert reader.commits() == [commit]
    with EpisodeStore.create_or_open(store.path, spec) as again:
        later = again.append(made.episode(spec, 1))
        assert [commit, later] == again.commits() == reader.commits()
    assert [json.loads(line)["index"] for line in log.read_text().splitlines()] == [0, 1]


def test_a_damaged_line_is_reported_with_its_place(made, spec, store):
    store.append(made.episode(spec, 0))
    size = (store.path / "commits.jsonl").stat().st_size
    with open(store.path / "commits.jsonl", "a") as file:
        file.write("what is this\n")
    with pytest.raises(UserError, match=rf"commits\.jsonl, byte {size}"):
        EpisodeStore.reader(store.path).commits()


def test_a_renamed_folder_without_a_line_is_adopted_by_the_next_writer(made, spec, store):
    kept = store.append(made.episode(spec, 0))
    lost = store.append(made.episode(spec, 1))
    store.close()
    log = store.path / "commits.jsonl"
    log.write_text(log.read_text().splitlines(keepends=True)[0])  # killed between rename and log
    reader = EpisodeStore.reader(store.path)
    assert reader.commits() == [kept]
    assert any(lost.folder in problem for problem in reader.verify())
    with EpisodeStore.create_or_open(store.path, spec) as again:
        assert again.commits() == [kept, lost]
        assert again.append(made.episode(spec, 1)) == lost
    assert reader.tail(after=kept.index) == [lost]


def test_ids_are_never_reused(made, spec, store):
    store.append(made.episode(spec, 0))
    broken = store.append(made.episode(spec, 1))
    store.close()
    log = store.path / "commits.jsonl"
    log.write_text(log.read_text().splitlines(keepends=True)[0])
    shutil.rmtree(store.path / "episodes" / broken.folder / "reward")  # an orphan that cannot be adopted
    with EpisodeStore.create_or_open(store.path, spec) as again:
        assert [c.index for c in again.commits()] == [0]
        assert again.append(made.episode(spec, 2)).index == broken.index + 1
    shutil.rmtree(store.path / "episodes" / "ep_000002")  # a folder that someone removed
    with EpisodeStore.create_or_open(store.path, spec) as again:
        assert again.append(made.episode(spec, 3)).index == 3
        assert len(again.verify()) == 2


def test_an_existing_folder_is_never_replaced(made, spec, store, monkeypatch):
    (store.path / "episodes" / "ep_000000").mkdir()
    monkeypatch.setattr(store, "_folders", lambda: set())  # as if it had appeared this instant
    with pytest.raises(DiskRefused, match="never replaced"):
        store.append(made.episode(spec, 0))
    assert [p.name for p in (store.path / "episodes").iterdir()] == ["ep_000000"]


def test_stray_temporary_folders_are_invisible(made, spec, store):
    (store.path / "episodes" / ".tmp-123").mkdir()
    assert store.append(made.episode(spec, 0)).index == 0
    assert len(EpisodeStore.reader(store.path).commits()) == 1
    store.close()
    EpisodeStore.create_or_open(store.path, spec).close()
    assert not (store.path / "episodes" / ".tmp-123").exists()


def test_one_flipped_or_missing_byte_is_noticed(made, spec, store):
    commits = [store.append(made.episode(spec, seed)) for seed in range(3)]
    chunk = store.path / "episodes" / commits[0].folder / "executed" / "0.0"
    data = bytearray(chunk.read_bytes())
    data[3] ^= 1
    chunk.write_bytes(data)
    (store.path / "episodes" / commits[1].folder / "terminated" / "0").unlink()  # zarr would read zeros
    for commit in commits[:2]:
        with pytest.raises(CorruptEpisode):
            store.read(commit)
    assert [problem.split(":")[0] for problem in store.verify()] == ["ep_000000", "ep_000001"]


def test_two_episodes_in_each_others_place_are_noticed(made, spec, store):
    a, b = (store.path / "episodes" / store.append(made.episode(spec, s)).folder for s in (0, 1))
    a.rename(a.with_name("x"))
    b.rename(a)
    a.with_name("x").rename(b)
    assert len(store.verify()) == 2


def test_verify_reports_numbers_that_no_learner_may_see(made, spec, store):
    episode = made.episode(spec, 0)
    episode.state[1, 0] = np.nan
    store.append(episode)
    assert store.verify() == ["ep_000000: state holds NaN or infinity"]


def test_a_reader_that_tails_sees_each_commit_once_and_can_read_it(made, spec, store):
    reader, done, seen = EpisodeStore.reader(store.path), threading.Event(), []

    def follow() -> None:
        finished = False
        while not finished:
            finished = done.is_set()  # before the last look, so that nothing is missed
            for commit in reader.tail(after=seen[-1].index if seen else -1):
                reader.read(commit)
                seen.append(commit)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        written = [store.append(made.episode(spec, seed)) for seed in range(12)]
    finally:
        done.set()
        thread.join()
    assert seen == written
    assert reader.tail(after=written[-1].index) == []
