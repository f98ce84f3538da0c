"""How punctual the actor is: `uv run python benchmarks/tick.py`. Prints a markdown table.

The emulated rig at time scale 1 and `hilserl learner` are processes of their own, as in `hilserl demo`; this process is
the actor, on the wall clock as at a real arm, with the shipped policy and a success detector of untrained weights. What
it calls is timed from outside. Three conditions: without a learner; with a learner that is never idle; with one more
learner's work for every core, so that all of them are taken. `--nice` measures a fourth, in which those give way.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from classifier.calibrate import Calibration
from classifier.detector import SuccessDetector
from classifier.model import ClassifierSpec, SuccessModel
from data.store.journal import Journal
from data.store.reader import open_reader
from hilserl.agents.features import FeatureReplay, ReplayConfig
from hilserl.agents.policy_file import load_policy
from hilserl.agents.sac import Sac, SacConfig
from hilserl.commands.arguments import SHIPPED, TrainArgs, parse
from hilserl.commands.processes import start, stop
from hilserl.commands.wiring import open_actor
from hilserl.loop.link import Link
from hilserl.loop.policy_runner import PolicyRunner
from hilserl.loop.session import SessionConfig
from hilserl.tasks import lift_task
from sim_pretrain.rig.client import RigClient, arm_flags

START_S = 60.0  # until the rig, or the learner, is ready
PHASES = {  # of a tick, in their order
    "weights": "take newer weights",
    "act": "policy: one action",
    "write": "bus: five goals",
    "sleep": "asleep",
    "read": "bus: one reading",
    "frame": "newest frame of both cameras",
    "detector": "success detector",
    "operator": "operator",
    "journal": "journal of the episode",
    "rest": "everything else: kinematics, safety, resizing, state",
}


class Call(NamedTuple):
    """One call of something that is timed."""

    name: str
    start_s: float
    end_s: float
    planned_s: float  # when a sleep was to end; else 0


class Tick(NamedTuple):
    """One control period, from the end of one `ArmEnv.step` to the end of the next [ms]."""

    late: float  # its observation, after the time that the grid of the episode gives it
    age: float  # of the joint reading when the action that follows from it reaches the bus
    phases: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=6, help="of 80 ticks, in each condition")
    parser.add_argument("--nice", type=int, default=0, help="more than 0: a condition more, the learners that nice")
    args = parser.parse_args()
    found: dict[str, list[Tick]] = {}
    with tempfile.TemporaryDirectory() as folder, rig(Path(folder) / "rig") as flags:
        run = Path(folder) / "run"
        actor = [*flags, "--teleop.type=none", f"--output_dir={run}"]
        found["no learner"] = drive(actor, "baseline", args.episodes)
        with learner(actor, run, nice=0):
            drive(actor, "online", 1)  # what it has to learn from: it owes more updates than it can ever make
            found["one learner"] = drive(actor, "online", 1 + args.episodes)
            with busy(run, nice=0):
                found["all cores taken"] = drive(actor, "online", 1 + 2 * args.episodes)
        if args.nice:
            with learner(actor, run, args.nice), busy(run, args.nice):
                found[f"all cores taken, nice {args.nice}"] = drive(actor, "online", 1 + 3 * args.episodes)
    print(table(found))


@contextlib.contextmanager
def rig(directory: Path, *options: str) -> Iterator[list[str]]:
    """Start an emulated rig in real time; yield the flags that lead to it, its clock left out."""
    directory.mkdir(parents=True)
    process = start(["rig", f"--directory={directory}", "--time_scale=1", *options], directory / "rig.log")
    try:
        wait_for(lambda: (directory / "rig.json").exists(), process)
        with RigClient(directory) as people:
            people.place(0.23, 0.0)
        yield [flag for flag in arm_flags(directory) if not flag.startswith("--clock")]
    finally:
        stop(process)


@contextlib.contextmanager
def learner(flags: list[str], run: Path, nice: int) -> Iterator[None]:
    """Run the learner's command; once it has seen a step it is never idle again."""
    owes = ["--learner.baseline_episodes=1", "--learner.critic_updates=1", "--learner.utd=1000000"]
    resume = [f"--resume={any((run / 'checkpoints').glob('0*'))}".lower()]
    process = start(["learner", *flags, *owes, *resume], run / "learner.log", nice)
    try:
        before = time.time()
        wait_for(lambda: (s := Link(run).learner()) is not None and s.unix_s > before, process)
        yield
        if process.poll() is not None:
            raise RuntimeError(f"the learner ended early:\n{(run / 'learner.log').read_text()}")
    finally:
        stop(process)


@contextlib.contextmanager
def busy(run: Path, nice: int) -> Iterator[None]:
    """Keep every core busy with a learner's updates."""
    context = multiprocessing.get_context("spawn")
    ready = context.Semaphore(0)
    workers = [context.Process(target=update_for_ever, args=(run, nice, ready)) for _ in range(os.cpu_count() or 1)]
    for worker in workers:
        worker.start()
    try:
        if not all(ready.acquire(timeout=START_S) for _ in workers):
            raise RuntimeError("the processes that keep the cores busy did not start")
        yield
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def update_for_ever(run: Path, nice: int, ready: Any) -> None:
    """Update the shipped policy on the episodes of a run."""
    os.nice(nice)
    torch.set_num_threads(1)
    task = lift_task()
    policy = load_policy(SHIPPED, task).policy
    agent, replay, store = Sac(task, SacConfig(), policy), FeatureReplay(policy, ReplayConfig()), open_reader(run)
    for commit in store.commits("baseline"):
        replay.add(store.read(commit))
    ready.release()
    while True:
        agent.update(replay.sample())


def drive(flags: list[str], kind: str, episodes: int) -> list[Tick]:
    """Let the policy drive until the run holds this many episodes of a kind; return their ticks."""
    args, task, calls = parse(TrainArgs, flags), lift_task(), list[Call]()
    detector = SuccessDetector(SuccessModel(ClassifierSpec.for_task(task)), Calibration(0.9, 3, 0.0))
    policy = PolicyRunner(load_policy(SHIPPED, task).policy, seed=0, link=Link(args.output_dir))
    session = SessionConfig(kind, episodes, explore=True, ends_on_success=False)
    journal = Journal.add
    with open_actor(args, task, policy=policy, detector=detector) as actor:
        env = actor._env
        for name, owner, method in (
            ("begin", env, "begin"),
            ("step", env, "step"),
            ("weights", policy, "refresh"),
            ("act", policy, "act"),
            ("write", env.arm, "write"),
            ("sleep", env.clock, "sleep_until_s"),
            ("read", env.arm, "read"),
            ("frame", env.frames, "read"),
            ("detector", detector, "step"),
            ("operator", actor._operator, "read"),
            ("journal", Journal, "add"),
        ):
            watch(calls, name, owner, method)
        try:
            actor.run(session, lambda episode: None)
        finally:
            Journal.add = journal  # type: ignore[method-assign]
    return ticks(calls)


def watch(calls: list[Call], name: str, owner: Any, method: str) -> None:
    """Note from now on when a method of an object or a class runs."""
    original = getattr(owner, method)

    def timed(*args: Any, **named: Any) -> Any:
        start_s = time.monotonic()
        try:
            return original(*args, **named)
        finally:
            calls.append(Call(name, start_s, time.monotonic(), args[0] if name == "sleep" else 0.0))

    setattr(owner, method, timed)


def ticks(calls: list[Call]) -> list[Tick]:
    """Cut what was noted into control periods; the first of an episode has none before it and is left out."""
    found, inside, before, read_s = list[Tick](), list[Call](), None, 0.0
    for call in calls:  # in the order of their ends: what a step calls stands before it
        if call.name == "begin":
            before = None
        if call.name != "step":
            inside.append(call)
            continue
        if before is not None:
            phases = {name: 1e3 * sum(c.end_s - c.start_s for c in inside if c.name == name) for name in PHASES}
            phases["rest"] = 1e3 * (call.end_s - before.end_s) - sum(phases.values())
            acted_s = next(c.end_s for c in inside if c.name == "write")
            woken = last(inside, "sleep")
            found.append(Tick(1e3 * (woken.end_s - woken.planned_s), 1e3 * (acted_s - read_s), phases))
        read_s = last(inside, "read").end_s
        inside, before = [], call
    return found


def last(calls: list[Call], name: str) -> Call:
    """Return the last call of this name."""
    return next(c for c in reversed(calls) if c.name == name)


def table(found: dict[str, list[Tick]]) -> str:
    """Return the markdown table: median / 99th percentile / largest, in ms."""
    lines = ["| median / p99 / max, ms | " + " | ".join(found) + " |", "|---" * (1 + len(found)) + "|"]

    def row(name: str, value: Callable[[Tick], float]) -> None:
        cells = []
        for many in found.values():
            values = [value(tick) for tick in many]
            cells.append(" / ".join(f"{v:.2f}" for v in (*np.percentile(values, (50, 99)), max(values))))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")

    row("tick lateness", lambda tick: tick.late)
    row("observation age at action", lambda tick: tick.age)
    for phase, words in PHASES.items():
        row(words, lambda tick, phase=phase: tick.phases[phase])  # type: ignore[misc]
    counts = ", ".join(f"{name} {len(many)}" for name, many in found.items())
    return "\n".join(lines) + f"\n\nTicks: {counts}."


def wait_for(ready: Callable[[], bool], process: Any) -> None:
    """Wait for a process that starts."""
    deadline_s = time.monotonic() + START_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise RuntimeError(f"{process.args} did not start")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
