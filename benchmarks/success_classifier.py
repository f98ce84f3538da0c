"""How long the success classifier takes a person, and how far it can be trusted.

    uv run python benchmarks/success_classifier.py

1. On the emulated rig, with its real-world profile, a scripted operator records twenty labelled episodes through
   `hilserl record`, and `hilserl classifier train` trains and calibrates on them: the stop-watch.
2. One hundred further episodes, with the detector in the actor's loop: every one in another light, the cube anywhere in
   a larger area, and near misses made on purpose. Cameras, arm and actor are those of the rig, in one process: no servo
   bus, and no clock to wait for.
3. The detector alone, on one core.

Prints a markdown table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import draccus
import numpy as np
import torch
from learning_study import Beside
from tqdm import tqdm

from classifier.calibrate import with_rule
from classifier.detector import REPORT, SuccessDetector
from classifier.events import EventScores, Trace
from classifier.frames import unsure
from classifier.report import DetectorReport
from data.schema import Episode
from data.store.episode_store import EpisodeStore
from hilserl.commands.processes import start, stop
from hilserl.loop.actor import Actor
from hilserl.loop.session import SessionConfig
from hilserl.metrics import wilson
from sim_pretrain.rig.client import arm_flags
from sim_pretrain.task.tasks import find_task
from sim_pretrain.world.physics import World
from sim_pretrain.world.profile import RealWorld
from sim_pretrain.world.randomize import Randomization
from sim_pretrain.world.sim_arm import make_env
from teleop.scripted import ScriptedConfig, ScriptedOperator

LIGHT = Randomization().only(
    "brightness", "white_balance", "gamma", "image_noise", "light_diffuse", "light_ambient", "light_position_m"
)
SPAWN = {"spawn_low_m": (0.175, -0.06), "spawn_high_m": (0.285, 0.06), "spawn_yaw_rad": 0.7}  # 1 cm more on each side
RIG_START_S = 60.0


@dataclass(frozen=True)
class Watch:
    """Wall time of a stage [min]."""

    record: float
    train: float


def main() -> None:
    """Record, train, judge; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captured", type=int, default=20)
    parser.add_argument("--held_out", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time_scale", type=float, default=4.0, help="of the rig, while it is recorded")
    parser.add_argument("--keep", type=Path, help="a folder whose recordings are kept, and used again")
    parser.add_argument("train", nargs="*", help="further flags of `hilserl classifier train`")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with contextlib.ExitStack() as stack:
        run = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        watch = capture(run, args.captured, args.seed, args.time_scale, args.train)
        task = find_task("lift")
        detector = SuccessDetector.load(run / "classifier", task.spec)
        report = DetectorReport.read(run / "classifier" / REPORT)
        episodes = judge(run, detector, args.held_out, args.seed + 7000)
        print(table(watch, report, episodes, detector))


def capture(run: Path, count: int, seed: int, time_scale: float, train: list[str]) -> Watch:
    """Record and train through the commands."""
    began = time.monotonic()
    if not (run / "store").exists():
        with rig(run / "rig", time_scale) as directory:
            person = [f"--teleop.type=scripted --teleop.rig={directory}", f"--teleop.seed={seed} --teleop.plays=show"]
            flags = [*arm_flags(directory), *" ".join(person).split(), f"--seed={seed}", f"--output_dir={run}"]
            hilserl("record", *flags, "--purpose=classifier", f"--episodes={count}")
    recorded = time.monotonic()
    hilserl("classifier", "train", f"--output_dir={run}", f"--seed={seed}", *train)
    return Watch((recorded - began) / 60, (time.monotonic() - recorded) / 60)


@contextlib.contextmanager
def rig(directory: Path, time_scale: float) -> Iterator[Path]:
    """Start a rig with the real-world profile."""
    directory.mkdir(parents=True, exist_ok=True)
    profile = directory / "profile.json"
    profile.write_text(json.dumps(draccus.encode(RealWorld())))
    flags = [f"--directory={directory}", f"--profile_json={profile}", f"--time_scale={time_scale}"]
    process = start(["rig", *flags], directory / "rig.log")
    try:
        end_s = time.monotonic() + RIG_START_S
        while not (directory / "rig.json").exists():
            if process.poll() is not None or time.monotonic() > end_s:
                sys.exit((directory / "rig.log").read_text())
            time.sleep(0.05)
        yield directory.resolve()
    finally:
        stop(process)


def hilserl(*words: str) -> None:
    """Run a command to its end."""
    subprocess.run([sys.executable, "-m", "hilserl.cli", *words], check=True)


def judge(run: Path, detector: SuccessDetector, count: int, seed: int) -> list[Episode]:
    """Record episodes that the detector judges frame by frame, as it would in a session; none is ended by it."""
    task, profile = find_task("lift"), RealWorld()
    world, rng = World(profile, seed), np.random.default_rng([seed, 5])
    config = ScriptedConfig(plays="show", seed=seed, **SPAWN)  # type: ignore[arg-type]
    episodes: list[Episode] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        EpisodeStore.create_or_open(Path(folder) / "store", task.spec) as store,
    ):
        person = ScriptedOperator(config, Beside(world, task, run / "verdicts.jsonl"))
        actor = Actor(make_env(world, task.spec), person, store, detector=detector)
        session = SessionConfig("labels", 0, drives="human", ends_on_success=False, seed=seed)
        for number in tqdm(range(1, count + 1), desc="held-out episodes", unit="ep"):
            world.apply(LIGHT.sample(rng, profile))
            actor.run(replace(session, episodes=number), episodes.append)
    world.close()
    return episodes


def trace(episode: Episode) -> Trace:
    """What the detector said in the loop; the first frame precedes it."""
    return Trace(np.concatenate(([0.0], episode.p_success)), episode.marked_success, unsure(episode))


def table(watch: Watch, report: DetectorReport, episodes: list[Episode], detector: SuccessDetector) -> str:
    """Return the numbers as Markdown."""
    scores: EventScores = with_rule([trace(e) for e in episodes], detector.calibration)
    caught, n = scores.successes - scores.missed, len(episodes)
    delays_s = np.array(scores.delays_frames) / report.rate_hz
    high = wilson(scores.false_successes, n)[1]
    low = wilson(caught, scores.successes)[0]
    rows = [
        (f"wall time: record {len(report.train.uuids)} episodes, label, train, calibrate", "≤ 3 min",
         f"{watch.record + watch.train:.1f} min ({watch.record:.1f} + {watch.train:.1f})"),
        ("training alone", "≤ 5 min", f"{report.train.duration_s / 60:.1f} min"),
        (f"false successes in {n} further episodes", "0", f"{scores.false_successes} (95 %: below {high:.1%})"),
        (f"of {scores.successes} true successes detected", "≥ 95 %",
         f"{caught}, {caught / max(1, scores.successes):.0%} (95 %: above {low:.0%})"),
        ("median delay; longest", "≤ 0.5 s", f"{np.median(delays_s):.1f} s; {delays_s.max():.1f} s"),
        ("detector, one frame of two cameras, one core", "≤ 5 ms", f"{milliseconds(detector, episodes[0]):.1f} ms"),
    ]  # fmt: skip
    lines = ["| | aim | measured |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    return f"{report.table()}\n\n" + "\n".join(lines)


def milliseconds(detector: SuccessDetector, episode: Episode, repeats: int = 200) -> float:
    """Median time of one step [ms]."""
    from data.schema import Observation

    images = {name: frames[5] for name, frames in episode.images.items()}
    observation, took = Observation(images, episode.state[5], 0.0), []
    for _ in range(repeats):
        began = time.perf_counter()
        detector.step(observation)
        took.append(1e3 * (time.perf_counter() - began))
    return float(np.median(took))


if __name__ == "__main__":
    main()
