"""How soon the person's hands count: `uv run python benchmarks/hands.py`. Prints a markdown table.

The emulated rig at time scale 1 with its gamepad, which SDL reads as a real one; this process is the actor, on the wall
clock as at a real arm, with the shipped policy. A thread presses and releases the pad at random moments. Times are from
the press to the end of the write, to the bus, of the first goal that obeys it. Three conditions: no learner; a learner
that is never idle, and one more learner's work for every core; the same with those as nice as `train` makes them.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.tick import busy, learner, rig
from hilserl.agents.policy_file import load_policy
from hilserl.commands.arguments import SHIPPED, TrainArgs, parse
from hilserl.commands.train import LEARNER_NICE
from hilserl.commands.wiring import open_actor
from hilserl.loop.policy_runner import PolicyRunner
from hilserl.loop.session import SessionConfig, SessionStopped
from hilserl.tasks import lift_task
from sim_pretrain.rig.client import RigClient
from teleop.authority import Authority

LATE_S = 0.01  # half a period of the inner loop
ANSWER_S = 2.0  # what is not obeyed by then is lost


class Goal(NamedTuple):
    """One goal that went to the bus."""

    at_s: float
    authority: Authority


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="of take-over, release and STOP in each condition")
    args = parser.parse_args()
    print("| ms: median, p99, largest | take-over | release to hold | STOP | late inner ticks |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, rig(Path(folder) / "rig", "--gamepad") as flags:
        run = Path(folder) / "run"
        pad = ["--teleop.type=virtual_pad", f"--teleop.events={folder}/rig/pad.events"]
        actor = [*flags, *pad, f"--output_dir={run}"]
        row("no learner", *drive(actor, Path(folder) / "rig", args.rounds, seed=0))
        for seed, nice in ((1, 0), (2, LEARNER_NICE)):
            with learner(actor, run, nice), busy(run, nice):
                row(f"all cores taken, nice {nice}", *drive(actor, Path(folder) / "rig", args.rounds, seed))


def row(name: str, waits_s: dict[str, list[float]], late: float) -> None:
    """Print one row of the table."""
    cells = (1e3 * np.array(values) for values in waits_s.values())
    words = (f"{np.median(ms):.0f}, {np.percentile(ms, 99):.0f}, {ms.max():.0f}" for ms in cells)
    print(f"| {name} | {' | '.join(words)} | {late:.1%} |", flush=True)


def drive(flags: list[str], directory: Path, rounds: int, seed: int) -> tuple[dict[str, list[float]], float]:
    """Run sessions until the person is through with their rounds; return the waits [s] and the share of late goals."""
    args, task = parse(TrainArgs, flags), lift_task()
    goals, sleeps = list[Goal](), list[float]()
    policy = PolicyRunner(load_policy(SHIPPED, task).policy, seed=0)
    with open_actor(args, task, policy=policy) as actor, RigClient(directory) as person:
        env, control = actor._env, actor._control
        write, hold, sleep = env.arm.write, env.arm.hold, env.clock.sleep_until_s

        def noted(goal: np.ndarray) -> np.ndarray:
            sent = write(goal)
            goals.append(Goal(time.monotonic(), control.authority))
            return sent

        def timed(until_s: float) -> None:
            sleep(until_s)
            if control.authority in (Authority.POLICY, Authority.HUMAN):
                sleeps.append(time.monotonic() - until_s)

        def held() -> None:
            hold()
            goals.append(Goal(time.monotonic(), control.authority))

        env.arm.write, env.arm.hold, env.clock.sleep_until_s = noted, held, timed
        hand = Hand(person, goals, rounds, seed)
        thread = threading.Thread(target=hand.work, daemon=True)
        thread.start()
        session = SessionConfig(
            "baseline", 100_000, may_take_over=True, ends_on_success=False, max_steps=100_000, give_up_s=5.0
        )
        with contextlib.suppress(SessionStopped):  # the hand's last press is STOP
            actor.run(session, lambda episode: None)
    thread.join()
    return hand.waits_s, float(np.mean(np.array(sleeps) > LATE_S))


class Hand:
    """Presses and releases at random moments, and notes when the next goal obeys."""

    def __init__(self, person: RigClient, goals: list[Goal], rounds: int, seed: int) -> None:
        self._person, self._goals, self._rounds = person, goals, rounds
        self._rng = np.random.default_rng(seed)
        self.waits_s: dict[str, list[float]] = {"take-over": [], "release": [], "STOP": []}

    def work(self) -> None:
        """Take over and release, again and again; every third time STOP, and go on with the next episode."""
        for round_ in range(self._rounds):
            self._until_driving()
            self._person.pad("axis", "lefty", float(self._rng.uniform(-1, 1)))
            self._wait("take-over", lambda: self._person.pad("press", "rightshoulder"), {Authority.HUMAN})
            self._pause()
            still = {Authority.HOLDING, Authority.POLICY, Authority.STOPPED}
            self._wait("release", lambda: self._person.pad("release", "rightshoulder"), still)
            if round_ % 3 == 2:
                self._until_driving()
                self._wait("STOP", lambda: self._person.pad("tap", "b"), {Authority.STOPPED})
                self._person.pad("press", "start")
                time.sleep(1.3)  # re-arms
                self._person.pad("release", "start")
        self._person.pad("tap", "b")

    def _until_driving(self) -> None:
        """Press Start until the policy drives."""
        while True:
            self._pause()
            newest = self._goals[-1] if self._goals else Goal(0.0, Authority.HOLDING)
            if newest.authority is Authority.POLICY and time.monotonic() - newest.at_s < 0.2:
                return
            self._person.pad("tap", "start")
            time.sleep(0.3)

    def _pause(self) -> None:
        time.sleep(self._rng.uniform(0.3, 0.6))

    def _wait(self, name: str, act, wanted: set[Authority]) -> None:  # type: ignore[no-untyped-def]
        at_s, known = time.monotonic(), len(self._goals)
        act()
        while time.monotonic() - at_s < ANSWER_S:
            found = next((goal for goal in self._goals[known:] if goal.authority in wanted and goal.at_s > at_s), None)
            if found:
                self.waits_s[name].append(found.at_s - at_s)
                return
            time.sleep(0.001)
        self.waits_s[name].append(float("inf"))


if __name__ == "__main__":
    main()
