"""The replay against LeRobot's, in one run: `uv run python benchmarks/replay.py`. Prints a markdown table.

Two cameras of 128×128 px, state 20, episodes of 100 steps, frames of noise (camera noise does not compress either).
One torch and one OpenCV thread. What happens in memory is told in CPU time, what waits for the disk in wall time;
medians. `--quick` only shows that it runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from lerobot.rl.buffer import ReplayBuffer, random_shift

from data.replay.capacity import GIB
from data.replay.pixel_replay import PixelReplay, PixelReplayConfig
from data.schema import Episode, EpisodeMeta, Observation, Outcome, Source, Transition
from data.spec import CameraSpec, ObservationSpec, StateField, TaskSpec
from data.store.committer import Committer
from data.store.episode_store import EpisodeStore

STEPS = 100  # of an episode
KIB = 1024
Row = tuple[str, str, str]  # what, ours, LeRobot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run of every part; its numbers mean nothing")
    parser.add_argument("--held", type=int, default=10_000, help="steps in each buffer while it is measured")
    parser.add_argument("--reopened", type=int, default=50_000, help="steps of the store that is loaded (100 KB each)")
    parser.add_argument("--passed", type=int, default=200_000, help="steps sent through a ring of 2 GiB")
    parser.add_argument("--folder", type=Path, default=None, help="where the temporary stores are made")
    args = parser.parse_args()
    if args.quick:
        args.held, args.reopened, args.passed = 500, 500, 30_000
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print("| what | ours | LeRobot 0.6 `ReplayBuffer` |\n|---|---|---|")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for row in rows(args, Path(folder)):
            print("| " + " | ".join(row) + " |", flush=True)


def rows(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Measure one part after the other; each frees its memory before the next one starts."""
    repeats = 5 if args.quick else 60
    ours, theirs = in_memory(args.held, repeats), lerobot_in_memory(args.held, repeats)
    for name, unit in (("tensors", "KiB a step"), ("resident memory", "KiB a step"), ("add", "steps per CPU second"),
                       ("sample(256)", "CPU ms"), ("sample(256) with shift", "CPU ms")):  # fmt: skip
        decimals = 0 if name == "add" else 1
        yield f"{name}, {unit}", f"{ours[name]:.{decimals}f}", f"{theirs[name]:.{decimals}f}"
    append_ms, submit_ms = commits(folder / "commits", 3 if args.quick else 20)
    yield "commit of an episode with fsync", f"{append_ms:.0f} ms", "—"
    yield "… as the control thread sees it", f"{submit_ms:.2f} ms", "—"
    load_s, read_s = reopen(folder / "reopen", args.reopened)
    yield f"load {args.reopened} steps from disk, warm, into the ring", f"{load_s:.1f} s", "—"
    yield "… of which reading and checking", f"{read_s:.1f} s", "—"
    alone, beside = while_read(folder / "beside", 5 if args.quick else 20)
    yield "commit / sample(256) with shift", f"{alone[0]:.0f} / {alone[1]:.1f} ms", "—"
    yield "… while another process reads the store", f"{beside[0]:.0f} / {beside[1]:.1f} ms", "—"
    held, growth = bounded(args.passed, capacity_gib=0.5 if args.quick else 2.0)
    yield f"resident growth after {args.passed} steps", f"{growth}, {held} steps held", "—"


def task() -> TaskSpec:
    names = ("wrist", "front")
    return TaskSpec(
        name="benchmark",
        observation=ObservationSpec(
            cameras=tuple(CameraSpec(n, (0.0, 0.0, 1.0, 1.0), 128) for n in names),
            policy_cameras=names,
            state=(StateField("joints", 20, "rad", -3.0, 3.0),),
        ),
    )


def episode(seed: int, human_steps: int = 0) -> Episode:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (STEPS + 1, 2, 128, 128, 3), np.uint8)
    state = rng.normal(size=(STEPS + 1, 20)).astype(np.float32)
    action = rng.uniform(-1, 1, (STEPS, 4)).astype(np.float32)

    def observation(t: int) -> Observation:
        return Observation({"wrist": images[t, 0], "front": images[t, 1]}, state[t], t / 10)

    def step(t: int) -> Transition:
        source = Source.HUMAN if t < human_steps else Source.POLICY
        return Transition(action[t], action[t], source, observation(t + 1), 0.0, False, t == STEPS - 1, 0.5, 1)

    meta = EpisodeMeta(Outcome.TIMEOUT, "online", task().fingerprint)
    return Episode.from_steps(observation(0), [step(t) for t in range(STEPS)], meta)


def renamed(source: Episode) -> Episode:
    return dataclasses.replace(source, meta=dataclasses.replace(source.meta, uuid=uuid.uuid4().hex))


def new_replay(steps: int, shift_px: int = 4) -> PixelReplay:
    capacity_gib = (steps * 1.01 + 1) * PixelReplay.layout(task()).slot_bytes / GIB
    return PixelReplay(task(), PixelReplayConfig(capacity_gib=capacity_gib, shift_px=shift_px))


def in_memory(steps: int, repeats: int) -> dict[str, float]:
    """Fill a ring of images and sample it."""
    source, before = [episode(i) for i in range(4)], resident_bytes()
    replay = new_replay(steps)
    seconds = [cpu_timed(lambda i=i: replay.add(source[i % 4])) for i in range(steps // STEPS)]
    resident = resident_bytes() - before
    plain = new_replay(STEPS, shift_px=0)
    plain.ring = replay.ring  # the same memory without the shift
    return {
        "tensors": sum(c.nbytes for c in replay.ring._columns.values()) / steps / KIB,
        "resident memory": resident / steps / KIB,
        "add": STEPS / statistics.median(seconds),
        "sample(256)": median_ms(plain.sample, repeats, cpu_timed),
        "sample(256) with shift": median_ms(replay.sample, repeats, cpu_timed),
    }


def lerobot_in_memory(steps: int, repeats: int) -> dict[str, float]:
    """The same with LeRobot's buffer, as its learner makes it, but for an eager shift in place of a compiled one."""
    one, transitions = episode(0), []
    for t in range(STEPS + 1):
        images = {c: torch.from_numpy(one.images[c][t]).permute(2, 0, 1)[None] / 255 for c in one.images}
        observation = {f"observation.images.{c}": image for c, image in images.items()}
        transitions.append(observation | {"observation.state": torch.from_numpy(one.state[t])[None]})
    action = torch.from_numpy(one.executed)[:, None]
    gc.collect()
    before = resident_bytes()
    buffer = ReplayBuffer(
        steps,
        device="cpu",
        state_keys=list(transitions[0]),
        image_augmentation_function=random_shift,
        use_drq=True,
        optimize_memory=True,
    )

    def add() -> None:
        for t in range(STEPS):
            buffer.add(transitions[t], action[t], 0.0, transitions[t + 1], False, t == STEPS - 1)

    seconds = [cpu_timed(add) for _ in range(steps // STEPS)]
    resident = resident_bytes() - before
    shifted_ms = median_ms(lambda: buffer.sample(256), max(3, repeats // 6), cpu_timed)
    buffer.use_drq = False
    tensors = [*buffer.states.values(), buffer.actions, buffer.rewards, buffer.dones, buffer.truncateds]
    return {
        "tensors": sum(t.nbytes for t in tensors) / steps / KIB,
        "resident memory": resident / steps / KIB,
        "add": STEPS / statistics.median(seconds),
        "sample(256)": median_ms(lambda: buffer.sample(256), max(3, repeats // 3), cpu_timed),
        "sample(256) with shift": shifted_ms,
    }


def commits(path: Path, repeats: int) -> tuple[float, float]:
    """Return the medians of a commit on the calling thread, and of handing it to the committer [ms]."""
    source = episode(0)
    with EpisodeStore.create_or_open(path, task()) as store:
        append_ms = median_ms(lambda: store.append(renamed(source)), repeats)
        submitted = []
        with Committer(store) as committer:
            for _ in range(repeats):
                one = renamed(source)
                started_s = time.perf_counter()
                future = committer.submit(one)
                submitted.append(time.perf_counter() - started_s)
                future.result()
    shutil.rmtree(path)
    return append_ms, 1e3 * statistics.median(submitted)


def reopen(path: Path, steps: int) -> tuple[float, float]:
    """Return the medians of loading a store into a ring, and of reading it [s]."""
    source = [episode(i) for i in range(4)]
    with EpisodeStore.create_or_open(path, task()) as store:
        for i in range(steps // STEPS):
            store.append(renamed(source[i % 4]))

    def read() -> None:
        store = EpisodeStore.reader(path)
        for commit in store.commits():
            store.read(commit)

    def load() -> None:
        store, replay = EpisodeStore.reader(path), new_replay(steps)
        for commit in store.commits():
            replay.add(store.read(commit))
        assert len(replay) == steps

    read()  # warms the page cache
    read_s = statistics.median(timed(read) for _ in range(3))
    load_s = statistics.median(timed(load) for _ in range(3))
    shutil.rmtree(path)
    return load_s, read_s


def while_read(path: Path, repeats: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the medians of a commit and of a sample [ms], alone and while another process reads without pause."""
    source, replay = episode(0), new_replay(2_000)
    for _ in range(20):
        replay.add(source)

    with EpisodeStore.create_or_open(path, task()) as store:

        def both() -> tuple[float, float]:
            return (
                median_ms(lambda: store.append(renamed(source)), repeats),
                median_ms(replay.sample, 3 * repeats),
            )

        alone = both()
        context = multiprocessing.get_context("spawn")
        started, stop = context.Event(), context.Event()
        reader = context.Process(target=read_on, args=(path, started, stop))
        reader.start()
        started.wait()
        beside = both()
        stop.set()
        reader.join()
        assert reader.exitcode == 0, "the reading process failed"
    shutil.rmtree(path)
    return alone, beside


def read_on(path: Path, started, stop) -> None:
    """Read everything that is committed, again and again."""
    store = EpisodeStore.reader(path)
    while not stop.is_set():
        for commit in store.commits():
            store.read(commit)
        started.set()


def bounded(steps: int, capacity_gib: float) -> tuple[int, str]:
    """Send many more steps through a ring than it holds; return what it holds, and its growth against its capacity."""
    source = [episode(0, human_steps=20), *(episode(i) for i in range(1, 10))]  # 2 % of all steps may never leave
    gc.collect()
    before, most = resident_bytes(), 0
    replay = PixelReplay(task(), PixelReplayConfig(capacity_gib=capacity_gib))
    buffers = sum(b.nbytes for pair in replay._buffers.values() for b in pair)
    for i in range(steps // STEPS):
        replay.add(source[i % 10])
        replay.sample()
        most = max(most, resident_bytes() - before)
    text = f"{most / GIB:.3f} GiB of {capacity_gib:.1f} GiB + {buffers / GIB:.3f} GiB for the batch"
    return len(replay), text


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def timed(call: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    call()
    return time.perf_counter() - started_s


def cpu_timed(call: Callable[[], object]) -> float:
    started_s = time.process_time()
    call()
    return time.process_time() - started_s


def median_ms(call: Callable[[], object], repeats: int, clock: Callable[[Callable], float] = timed) -> float:
    call()
    return 1e3 * statistics.median(clock(call) for _ in range(repeats))


if __name__ == "__main__":
    main()
