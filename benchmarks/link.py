"""How long weights take to the actor and episodes to the learner: `python benchmarks/link.py`.

Two processes on this machine, once with one folder between them (`hilserl train`), once with a courier and a server
over gRPC on loopback, each with a learner that waits and with one that computes all the time. Published is timed before
the weights are written, arrived after the actor has decoded them; committed when `append` returns, usable when the
learner, which looks every 50 ms, has read and checked the episode. Late is how long after its time a thread wakes that
sleeps from tick to tick, 50 times a second, in the process that holds courier and committer.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.schema import Episode, EpisodeMeta, Outcome
from data.spec import TaskSpec
from data.store.episode_codec import layout
from data.store.episode_store import EpisodeStore
from data.store.reader import open_reader
from hilserl.loop.learner import KINDS
from hilserl.loop.link import Link
from hilserl.loop.remote.courier import Courier
from hilserl.loop.remote.server import serving
from hilserl.loop.remote.terms import Terms
from hilserl.tasks import lift_task

WEIGHTS_BYTES = 10_000_000
STEPS = 80  # of an episode: the task's limit; two cameras of 128 x 128, 8 MB
TICK_S = 0.02
ROW = "{:32} {:>20} {:>20} {:>20}"


def main() -> None:
    """Run every combination and print the table, or be one of the two processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--count", type=int, default=20, help="weights and episodes in each run")
    parser.add_argument("--side", choices=("learner", "actor"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--address", default="", help=argparse.SUPPRESS)
    parser.add_argument("--busy", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.side:
        {"learner": learner, "actor": actor}[args.side](args)
        return
    print(ROW.format("median / p95, ms", "weights 10 MB", f"episode {STEPS} steps", "late by"))
    for remote in (False, True):
        for busy in (False, True):
            name = f"{'gRPC' if remote else 'one folder'}, learner {'computes' if busy else 'waits'}"
            for _ in range(args.runs):
                weights, episodes, late = measure(remote, busy, args.count)
                print(ROW.format(name, *(f"{np.median(v):.1f} / {np.percentile(v, 95):.1f}" for v in
                                         (weights, episodes, late))), flush=True)  # fmt: skip


def measure(remote: bool, busy: bool, count: int) -> tuple[list[float], list[float], list[float]]:
    """Run both processes; return milliseconds of every set of weights, every episode and every tick."""
    with tempfile.TemporaryDirectory() as folder:
        places = {"learner": f"{folder}/learner", "actor": f"{folder}/actor" if remote else f"{folder}/learner"}
        sides: dict[str, subprocess.Popen[str]] = {}
        address = "127.0.0.1:0" if remote else ""
        for side in ("learner", "actor"):
            command = [sys.executable, __file__, f"--side={side}", f"--folder={places[side]}", f"--count={count}"]
            command += [f"--address={address}", *(["--busy"] if busy else [])]
            sides[side] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            address = sides[side].stdout.readline().strip()  # type: ignore[union-attr]
        for process in sides.values():
            process.stdin.write("go\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        told = {side: json.loads(process.communicate()[0]) for side, process in sides.items()}
    taken = {
        what: [1e3 * (arrived_s - told[source][what][key]) for key, arrived_s in told[to][what].items()]
        for what, source, to in (("weights", "learner", "actor"), ("episodes", "actor", "learner"))
    }
    return taken["weights"], taken["episodes"], [1e3 * s for s in told["actor"]["late"]]


def learner(args: argparse.Namespace) -> None:
    """Publish weights and look for episodes; print when each left or was usable."""
    seen: dict[str, dict[str, float]] = {"weights": {}, "episodes": {}}
    terms, link = Terms(lift_task(), "same"), Link(args.folder)
    weights = {"w": torch.randn(WEIGHTS_BYTES // 4)}
    done = threading.Event()

    def publish() -> None:
        for version in range(args.count):
            time.sleep(0.35)
            seen["weights"][str(version)] = time.monotonic()
            link.publish_weights(weights, version)
        done.set()

    with serving(args.folder, terms, args.address) if args.address else contextlib.nullcontext("") as where:
        print(where, flush=True)
        input()
        threading.Thread(target=publish).start()
        store, after, square = open_reader(args.folder), -1, torch.randn(300, 300)
        while not done.is_set() or len(seen["episodes"]) < args.count:
            for commit in store.tail(after):
                store.read(commit)
                seen["episodes"][commit.uuid], after = time.monotonic(), commit.index
            if args.busy:
                for _ in range(100):  # about as long as a batch of updates
                    square = torch.tanh(square @ square)
            else:
                time.sleep(0.05)
        time.sleep(1.0)  # the last weights are on their way
    print(json.dumps(seen), flush=True)


def actor(args: argparse.Namespace) -> None:
    """Commit episodes and look for weights; print when each left or arrived, and how late every tick was."""
    seen: dict[str, dict[str, float]] = {"weights": {}, "episodes": {}}
    task, late, done = lift_task(), [], threading.Event()
    link, made = Link(args.folder), episode(task)

    def look() -> None:
        while str(args.count - 1) not in seen["weights"]:
            newer = link.newer_weights()
            if newer:
                seen["weights"][str(newer[1])] = time.monotonic()
            time.sleep(0.002)

    def tick() -> None:
        due_s = time.monotonic()
        while not done.is_set():
            due_s += TICK_S
            time.sleep(max(0.0, due_s - time.monotonic()))
            late.append(time.monotonic() - due_s)

    with EpisodeStore.create_or_open(args.folder / "store", task) as store, courier(args, task):
        print("ready", flush=True)
        input()
        threads = [threading.Thread(target=look), threading.Thread(target=tick)]
        for thread in threads:
            thread.start()
        for number in range(args.count):
            time.sleep(0.4)
            store.append(replace(made, meta=replace(made.meta, uuid=str(number))))
            seen["episodes"][str(number)] = time.monotonic()
        threads[0].join()
        done.set()
        threads[1].join()
    print(json.dumps({**seen, "late": late}), flush=True)


def courier(args: argparse.Namespace, task: TaskSpec) -> Any:
    """Return the actor's courier, or nothing where one folder serves both."""
    return Courier(args.folder, args.address, Terms(task, "same"), KINDS) if args.address else contextlib.nullcontext()


def episode(task: TaskSpec) -> Episode:
    """Make an episode whose pictures compress about as camera pictures do: to less than half."""
    rng = np.random.default_rng(0)
    arrays = {name: np.zeros(shape, dtype) for name, (dtype, shape) in layout(task, STEPS).items()}
    for name, array in arrays.items():
        if name.startswith("images/"):
            array[...] = 100 + rng.integers(0, 8, array.shape)
    arrays["terminated"][-1], arrays["reward"][-1] = True, 1.0
    arrays["stamp_s"][:] = np.arange(STEPS + 1) / task.rate_hz
    arrays["state"][:] = rng.uniform(-0.1, 0.1, arrays["state"].shape)
    images = {name.removeprefix("images/"): arrays.pop(name) for name in list(arrays) if name.startswith("images/")}
    return Episode(images=images, meta=EpisodeMeta(Outcome.SUCCESS, "online", task.fingerprint), **arrays)


if __name__ == "__main__":
    main()
