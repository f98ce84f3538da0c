"""A session under random faults: `uv run python benchmarks/soak.py --minutes 30 --seed 0`. Prints a markdown table.

`hilserl train` on an emulated rig that runs faster than time, with a scripted operator and a gamepad beside it. Every
few seconds of the arm's time something breaks: the bus, a motor, a camera, the pad; somebody presses STOP, pauses,
unplugs; or one of the processes gets a signal. After each end the same command goes on with --resume. At the end: no
episode that was ever committed may be lost, no goal may have moved the arm without authority, no traceback may have
reached the terminal, and after each death the arm must have been still. `--minutes` are the arm's.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.tick import wait_for
from data.store.reader import open_reader
from data.store.verify import verify
from hilserl.commands.processes import start, stop
from hilserl.robot.kinematics import JOINTS
from sim_pretrain.rig.client import RigClient

STILL_M, STILL_S = 0.005, 0.5  # what an arm that holds may move, in seconds of the arm
END_S = 60.0  # for a process that was told to end, or lost its arm
ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="of the arm's time")
    parser.add_argument("--time_scale", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # begun with `nohup`, the session would rightly ignore it
    with tempfile.TemporaryDirectory(prefix="soak") as folder:
        directory = Path(folder) / "rig"
        directory.mkdir()
        rig = start(
            ["rig", f"--directory={directory}", "--gamepad", f"--time_scale={args.time_scale}"], directory / "log"
        )
        try:
            wait_for(lambda: (directory / "rig.json").exists(), rig)
            soak = Soak(Path(folder), args.seed)
            soak.run(60 * args.minutes)
            return soak.report(args.seed)
        finally:
            stop(rig)


class Soak:
    """One run of `hilserl train`, again and again, and everything that happens to it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._run, self._rig, self._log = folder / "run", folder / "rig", folder / "terminal"
        self._person, self.rng = RigClient(self._rig, timeout_s=30), np.random.default_rng(seed)
        self._violations = folder / "violations"
        self._broken: Counter[str] = Counter()
        self._ends: Counter[str] = Counter()
        self._known: set[str] = set()
        self._moved: list[str] = []
        self._trained = 0.0
        self._train = self._start()

    def run(self, seconds: float) -> None:
        """Break things for so many seconds of the arm."""
        end_s = self._now_s() + seconds
        while self._now_s() < end_s:
            wait_until(lambda: self._train.poll() is not None or any(self._run.glob("store/journal-*.bin")), END_S)
            self._sleep(self.rng.uniform(1, 8))
            self._note_commits()
            if self._train.poll() is not None:
                self._ended("by itself")
                continue
            name = str(self.rng.choice(list(FAULTS), p=SHARES))
            self._broken[name] += 1
            FAULTS[name](self)
            print(f"\r{(end_s - self._now_s()) / 60:.1f} min left, {sum(self._broken.values())} faults, "
                  f"{len(self._known)} episodes   ", end="", file=sys.stderr, flush=True)  # fmt: skip
        stop(self._train)
        self._note_commits()

    def report(self, seed: int) -> int:
        """Print what came of it; 1 if something must not have happened."""
        reader = open_reader(self._run)
        kept = {commit.uuid for commit in reader.commits()}
        damaged = verify(reader, reader.commits()).problems
        terminal = self._log.read_text(errors="replace")
        moved = self._violations.read_text().splitlines() if self._violations.exists() else []
        rows = {
            "seed": seed,
            "faults": ", ".join(f"{name} {n}" for name, n in sorted(self._broken.items())),
            "ends of the session": ", ".join(f"{name} {n}" for name, n in sorted(self._ends.items())),
            "episodes committed": len(self._known),
            "committed episodes lost": len(self._known - kept),
            "damaged episodes": len(damaged),
            "goals that moved the arm without authority": len(moved),
            "arms that moved after the end of their process": len(self._moved),
            "tracebacks on the terminal": terminal.count("Traceback"),
        }
        print("\n| what | found |\n|---|---|")
        for name, value in rows.items():
            print(f"| {name} | {value} |")
        for line in (*moved[:5], *self._moved[:5], *damaged[:5]):
            print(line)
        if "Traceback" in terminal:
            print(terminal[terminal.index("Traceback") :][:4000])
        return int(any(rows[name] for name in list(rows)[4:]))

    def _start(self) -> subprocess.Popen[bytes]:
        resume = (self._run / "checkpoints").exists() and any((self._run / "checkpoints").glob("0*"))
        command = [
            sys.executable, "-m", "hilserl.cli", "train", f"--rig={self._rig}", f"--output_dir={self._run}",
            "--teleop.type=scripted", f"--teleop.rig={self._rig}", "--teleop.presses_success=true",
            "--buttons.type=virtual_pad", f"--buttons.events={self._rig}/pad.events",
            "--plugins=benchmarks.soak_watch", "--learner.baseline_episodes=2", "--learner.critic_updates=20",
            "--learner.utd=0.1", "--learner.checkpoint_every=2", "--learner.check_every=0", "--episodes=100000",
            "--max_debt=100000", "--give_up_s=40", f"--resume={str(resume).lower()}",
        ]  # fmt: skip
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, start_new_session=True,
                env=os.environ | {"PYTHONPATH": str(ROOT), "SOAK_VIOLATIONS": str(self._violations)},
            )  # fmt: skip

    def _ended(self, how: str) -> None:
        """The session is over: is the arm still? Then go on."""
        self._ends[f"{how}, status {self._train.returncode}"] += 1
        self._person.fault("heal")
        self._person.pad("plug")
        wait_until(lambda: not self._child("guard_process") and not self._child("cli actor"), END_S)
        before = np.array(self._person.truth()["ee_m"])
        self._sleep(STILL_S)
        moved_m = float(np.linalg.norm(np.array(self._person.truth()["ee_m"]) - before))
        if moved_m > STILL_M:
            self._moved.append(f"{how}: {1e3 * moved_m:.1f} mm")
        self._note_commits()
        self._train = self._start()

    def signal(self, number: signal.Signals) -> None:
        """Give a signal to the session or to one of its halves, and wait for the end of it all.

        Only the half that moves the arm is stopped: a stopped learner ends nothing.
        """
        whom = "actor" if number == signal.SIGSTOP else str(self.rng.choice(["train", "actor", "learner"]))
        pid = self._train.pid if whom == "train" else self._child(f"cli {whom}")
        if pid:
            os.kill(pid, number)
        try:
            self._train.wait(END_S)
        except subprocess.TimeoutExpired:
            self._ends[f"{number.name} to {whom}: no end"] += 1
            stop(self._train)
        self._ended(f"{number.name} to {whom}")

    def _child(self, name: str) -> int:
        pattern = f"{name}.*{self._rig if name == 'guard_process' else self._run}"
        found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False).stdout.split()
        return int(found[0]) if found else 0

    def break_for_a_while(self, kind: str, **details: str | int) -> None:
        self._person.fault(kind, **details)
        self._sleep(self.rng.uniform(0.2, 6))
        self._person.fault("heal")

    def pad(self, *acts: tuple[str, str]) -> None:
        for act, control in acts:
            self._person.pad(act, control)
            self._sleep(self.rng.uniform(0.1, 1.5))

    def stop_button(self) -> None:
        self.pad(("tap", "b"), ("press", "start"))
        time.sleep(1.2)  # the pad lives in real seconds
        self.pad(("release", "start"), ("tap", "start"))

    def _note_commits(self) -> None:
        try:
            self._known |= {commit.uuid for commit in open_reader(self._run).commits()}
        except Exception:  # not there yet
            return

    def _now_s(self) -> float:
        return float(self._person.truth()["time_s"])

    def _sleep(self, seconds: float) -> None:
        """Wait for so many seconds of the arm."""
        end_s = self._now_s() + seconds
        while self._now_s() < end_s:
            time.sleep(0.02)


FAULTS: dict[str, Callable[[Soak], None]] = {
    "bus silent": lambda s: s.break_for_a_while("silence"),
    "answers corrupted": lambda s: s.break_for_a_while("corrupt", count=int(s.rng.integers(1, 40))),
    "motor dead": lambda s: s.break_for_a_while("dead_motor", motor=str(s.rng.choice(JOINTS))),
    "cable pulled": lambda s: s.break_for_a_while("unplug"),
    "camera frozen": lambda s: s.break_for_a_while("freeze_camera", camera=str(s.rng.choice(["wrist", "front"]))),
    "pad unplugged": lambda s: s.pad(("unplug", ""), ("plug", ""), ("tap", "start")),
    "STOP": lambda s: s.stop_button(),
    "pause": lambda s: s.pad(("tap", "start"), ("tap", "start")),
    "discard": lambda s: s.pad(("press", "x"), ("release", "x")),
    "SIGINT": lambda s: s.signal(signal.SIGINT),
    "SIGTERM": lambda s: s.signal(signal.SIGTERM),
    "SIGHUP": lambda s: s.signal(signal.SIGHUP),
    "SIGKILL": lambda s: s.signal(signal.SIGKILL),
    "SIGSTOP": lambda s: s.signal(signal.SIGSTOP),
}
SHARES = np.array([3] * 9 + [1] * 5) / 32  # an end costs half a minute of starting again


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until it is true, at most so long."""
    deadline_s = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
