"""A disk that refuses: real refusals by the operating system (a file size limit), in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data.errors import DiskRefused
from data.store.episode_store import EpisodeStore

ROOT = Path(__file__).parents[3]
WRITER = """
import resource, signal, sys
import made_episodes as made
from data.store.committer import Committer
from data.store.episode_store import EpisodeStore
from data.errors import DiskRefused

def fill_the_disk():  # a journal of 40 steps takes 62 kB, a chunk of frames that do not compress 31 kB
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

path, full_before = sys.argv[1:]
spec = made.task(size_px=16)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with EpisodeStore.create_or_open(path, spec) as store:
    store.append(made.episode(spec, 0, 40))
    first, steps = made.steps(spec, 1, 40)
    count = 0
    try:
        with Committer(store) as committer:
            journal = store.journal(first, made.meta(spec, 1))
            if full_before == "journal":
                fill_the_disk()
            for step in steps:
                journal.add(step)
                count += 1
            fill_the_disk()
            committer.submit(made.episode(spec, 1, 40))
    except DiskRefused as error:
        print(count, error)
"""


@pytest.mark.parametrize("full_before", ["journal", "commit"])
def test_what_the_disk_refuses_is_said_and_nothing_is_lost(made, tmp_path, full_before):
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(tmp_path), full_before],
        capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{Path(__file__).parents[1]}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    count, said = done.stdout.split(maxsplit=1)
    assert (int(count) == 40) == (full_before == "commit") and int(count) > 5
    assert "File too large" in said and "run the same command again" in said
    reader = EpisodeStore.reader(tmp_path)
    assert len(reader.commits()) == 1 and reader.verify() == []
    spec = made.task(size_px=16)
    with EpisodeStore.create_or_open(tmp_path, spec) as store:  # there is room again
        whole, salvaged = store.commits()
        made.assert_same(store.read(whole), made.episode(spec, 0, 40))
        assert salvaged.salvaged and salvaged.steps == int(count)
        assert store.verify() == []


def test_a_folder_that_cannot_be_written_says_so(made, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DiskRefused, match="Not a directory"):
        EpisodeStore.create_or_open(tmp_path / "file" / "store", made.task())


def test_a_read_only_store_can_be_read(made, tmp_path):
    """Root may write anywhere, so what a reader does to the folder is looked at instead."""
    spec = made.task()
    with EpisodeStore.create_or_open(tmp_path, spec) as store:
        store.append(made.episode(spec, 0))
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    for path in sorted(before, reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    reader = EpisodeStore.reader(tmp_path)
    made.assert_same(reader.read(0), made.episode(spec, 0))
    assert reader.verify() == []
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    for path in before:
        path.chmod(0o755)
