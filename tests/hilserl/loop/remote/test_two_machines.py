"""Learner and actor as processes of their own, killed without warning: what was committed arrives, once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data.store.episode_store import EpisodeStore

ROOT = Path(__file__).parents[4]
COUNT, STEPS = 10, 50  # frames of 64 x 64 do not compress: an episode is 1.2 MB, sent in two parts
BOTH = """
import sys, time
import made_episodes as made
from data.store.episode_store import EpisodeStore
from hilserl.loop.remote import courier, server
from hilserl.loop.remote.terms import Terms

courier.BACKOFF_S = (0.02, 0.1)
run, address, count, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
spec = made.task(size_px=64)
terms = Terms(spec, "policy", "0123456789abcdef")
"""
LEARNER = (
    BOTH
    + """
with server.serving(__import__("pathlib").Path(run), terms, address) as where:
    print(where, flush=True)
    time.sleep(600)
"""
)
ACTOR = (
    BOTH
    + """
letters = courier.Courier(run, address, terms, ["online"])
with EpisodeStore.create_or_open(run + "/store", spec) as store, letters:
    print("ready", flush=True)
    for seed in range(count):
        store.append(made.episode(spec, seed, steps))
    letters.flush(600)
    letters.close()
    print("sent", flush=True)
"""
)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Start one side; what it prints can be read. Whatever still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def process(script: str, name: str, address: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", script, str(tmp_path / name), address, str(COUNT), str(STEPS)]
        path = f"{ROOT}:{ROOT / 'tests' / 'data'}"
        running.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path})
        )
        return running[-1]

    yield process
    for child in running:
        child.kill()
        child.wait()
        child.stdout.close()


def test_killed_in_the_middle_and_started_again_nothing_is_lost_or_twice(
    made: Any, tmp_path: Path, start: Any, until: Any
) -> None:
    def held() -> list[str]:
        path = tmp_path / "learner" / "store"
        return [c.uuid for c in EpisodeStore.reader(path).commits()] if (path / "store.json").exists() else []

    sides = {"learner": start(LEARNER, "learner", "127.0.0.1:0")}
    address = sides["learner"].stdout.readline().strip()
    sides["actor"] = start(ACTOR, "actor", address)
    for victim, some in (("actor", 2), ("learner", 5)):
        until(lambda some=some: len(held()) >= some)
        sides[victim].kill()  # somewhere between the parts of an episode, its commit and its receipt
        sides[victim].wait()
        sides[victim] = start({"learner": LEARNER, "actor": ACTOR}[victim], victim, address)
    assert sides["actor"].stdout.readline() == "ready\n"
    until(lambda: len(held()) >= COUNT)
    assert sides["actor"].stdout.readline() == "sent\n"
    store = EpisodeStore.reader(tmp_path / "learner" / "store")
    assert store.verify() == []
    assert held() == [f"episode-{seed}" for seed in range(COUNT)]
    for seed in (0, COUNT - 1):
        made.assert_same(store.read(seed), made.episode(made.task(size_px=64), seed, STEPS))
