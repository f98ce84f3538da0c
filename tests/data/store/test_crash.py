"""SIGKILL at any moment: what was acknowledged is there, and nothing half-written is to be seen."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from data.schema import Outcome
from data.store.episode_store import EpisodeStore

ROUNDS = 120


def test_acknowledged_episodes_survive_sigkill(made, tmp_path):
    rng = random.Random(0)
    script = Path(__file__).with_name("crashing_writer.py")
    writer = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    store_path, spec = tmp_path / "store", made.task()
    acknowledged: set[int] = set()
    seen: dict[int, str] = {}  # index → uuid, over all rounds
    try:
        for round_ in range(ROUNDS):
            began = crash(writer, store_path, 1000 * round_, rng, acknowledged)

            if (store_path / "store.json").exists():
                with EpisodeStore.reader(store_path) as reader:
                    assert_whole(made, reader, acknowledged, seen)
            with EpisodeStore.create_or_open(store_path, spec) as store:
                assert_whole(made, store, acknowledged, seen)
                fresh = [c for c in store.commits() if c.index not in seen]
                assert not {c.uuid for c in fresh} & set(seen.values())
                assert sum(c.outcome is Outcome.ABORTED for c in fresh) <= 1, "only the open episode is cut off"
                present = {c.notes["seed"]: c.steps for c in store.commits()}
                for seed, steps in began.items():  # a step whose add() returned is not lost
                    assert present.get(seed, 0) >= steps
                seen = {c.index: c.uuid for c in store.commits()}
                assert list(seen) == sorted(seen)
            assert not list(store_path.glob("journal-*")) and not list((store_path / "episodes").glob(".tmp-*"))
    finally:
        writer.kill()
        writer.wait()
    assert len(acknowledged) >= ROUNDS // 8
    with EpisodeStore.reader(store_path) as reader:
        assert any(c.salvaged for c in reader.commits())
        assert reader.verify() == []


def crash(writer, path: Path, seed: int, rng: random.Random, acknowledged: set[int]) -> dict[int, int]:
    """Let a child write, kill it at a random moment, and return {seed: steps whose add() returned}."""
    print(path, seed, rng.randrange(2), file=writer.stdin, flush=True)
    word, pid = writer.stdout.readline().split()
    assert word == "pid"
    began: dict[int, int] = {}

    def listen() -> str:
        word, *numbers = writer.stdout.readline().split() or ["nothing: it died, see its stderr"]
        if word == "step":
            began[int(numbers[0])] = int(numbers[1])
        elif word == "committed":
            acknowledged.add(int(numbers[0]))
        return word

    for kind in ("began", "step", "committed")[: rng.randrange(4)]:
        while (word := listen()) != kind:
            assert word in ("began", "step", "committed"), word
    time.sleep(rng.uniform(0.0, 0.06))  # anywhere within the next commit
    os.kill(int(pid), signal.SIGKILL)
    while (word := listen()) != "dead":
        assert word in ("began", "step", "committed"), word
    return began


def assert_whole(made, store: EpisodeStore, acknowledged: set[int], seen: dict[int, str]) -> None:
    """Everything acknowledged is visible and every visible episode is, bit for bit, what was written."""
    commits = store.commits()
    assert len({c.uuid for c in commits}) == len(commits)
    assert acknowledged <= {c.notes["seed"] for c in commits}
    for commit in (c for c in commits if c.index not in seen):  # the others were, and will be by verify()
        episode = store.read(commit)
        if commit.salvaged:
            whole = made.episode(store.spec, commit.notes["seed"], 5)
            assert episode.executed.tobytes() == whole.executed[: commit.steps].tobytes()
            assert episode.state.tobytes() == whole.state[: commit.steps + 1].tobytes()
            assert bool(episode.terminated[-1]) != bool(episode.truncated[-1])
        else:
            made.assert_same(episode, made.episode(store.spec, commit.notes["seed"], 5))
