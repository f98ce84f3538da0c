"""A staged classifier on the bowl task: grasped → placed → released, and the failure `fell`.

    uv run python benchmarks/stages.py

Twenty episodes of the scripted expert in simulation, each in another light, with every stage labelled by the truth in
the sidecar of the store, as `hilserl label --stages=[grasped,placed]` does it by hand; `hilserl classifier train` on
them; then forty further episodes, frame by frame as in the actor's loop, which success and failure end. Half of them go
well; in the others the cube is dropped on its way, or held over the bowl for good, or the hand closes beside it.

Prints a markdown table.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from success_classifier import LIGHT
from tqdm import tqdm

from classifier.detector import SuccessDetector, Verdict
from classifier.frames import marks
from data.labels import from_mask
from data.schema import Episode, EpisodeMeta, Observation, Outcome, Source, Transition
from data.store.annotations import Annotations
from data.store.episode_store import EpisodeStore
from data.store.reader import open_reader
from hilserl.metrics import wilson
from sim_pretrain.task.env import EnvConfig, SimEnv
from sim_pretrain.task.expert import Expert, expert_of
from sim_pretrain.task.tasks import in_bowl
from sim_pretrain.world.scene import BOWL_HEIGHT_M, BOWL_RADIUS_M
from sim_pretrain.world.truth import Truth

STAGES, FAILURES = ("grasped", "placed", "success"), ("fell",)
PLANS = ("well", "dropped", "well", "kept", "well", "dropped", "well", "beside", "well", "dropped")
LONGEST, TAIL = 110, 15  # steps of an episode, and after what it is about
DOUBT = 2  # frames on either side of an edge of the truth that count neither way


def main() -> None:
    """Record, train, judge; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captured", type=int, default=20)
    parser.add_argument("--held_out", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder whose recordings are kept, and used again")
    parser.add_argument("train", nargs="*", help="further flags of `hilserl classifier train`")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with contextlib.ExitStack() as stack:
        folder = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        runs = folder / "captured", folder / "held-out"
        for run, count, seed in zip(runs, (args.captured, args.held_out), (args.seed, args.seed + 7000), strict=True):
            if not (run / "store").exists():
                record(run, count, seed)
        staged = [f"--stages=[{','.join(STAGES)}]", f"--failures=[{','.join(FAILURES)}]", f"--seed={args.seed}"]
        train = ["classifier", "train", f"--output_dir={runs[0]}", *staged, *args.train]
        subprocess.run([sys.executable, "-m", "hilserl.cli", *train], check=True)
        reader = open_reader(runs[1])
        detector = SuccessDetector.load(runs[0] / "classifier", reader.spec)
        print(table(detector, [reader.read(c) for c in reader.commits()]))


def record(run: Path, count: int, seed: int) -> None:
    """Fill the store of a run with episodes, and its sidecar with what the truth says of them."""
    env = EnvConfig("bowl", randomization=LIGHT, all_cameras=True).make()
    with EpisodeStore.create_or_open(run / "store", env.task.spec) as store:
        notes = Annotations(store.path)
        for number in tqdm(range(count), desc=run.name, unit="ep"):
            episode, truths = play(env, PLANS[number % len(PLANS)], seed + number)
            store.append(episode)
            for name, mask in labels(truths).items():
                notes.relabel(episode.meta.uuid, from_mask(mask), "the truth", name)
    env.close()


def play(env: SimEnv, plan: str, seed: int) -> tuple[Episode, list[Truth]]:
    """Return an episode that goes on for a while after what it is about, and the truth in each of its frames."""
    env.reset(seed=seed)
    act = driver(plan, expert_of(env.task), np.random.default_rng([seed, 3]))
    first, truths, steps, left = env.observation, [env.truth], list[Transition](), TAIL
    while left and len(steps) < LONGEST:
        action = act(env.truth)
        executed = env.step(action)[4]["executed"]
        truths.append(env.truth)
        now = {name: mask[-1] for name, mask in labels(truths).items()}
        left -= bool(now["success"] or now["fell"] or (plan == "kept" and now["placed"]))
        steps.append(Transition(action, executed, Source.EXPERT, env.observation, 0.0, False, False, float("nan"), -1))
    steps[-1] = replace(steps[-1], truncated=True)
    meta = EpisodeMeta(Outcome.TIMEOUT, "labels", env.task.spec.fingerprint, notes={"shows": plan})
    return Episode.from_steps(first, steps, meta), truths


def driver(plan: str, expert: Expert, rng: np.random.Generator) -> Callable[[Truth], np.ndarray]:
    """Return who acts: the expert, until the plan goes another way."""
    lets_go_y_m, aside_m, over = rng.uniform(-0.09, 0.03), rng.choice([-0.045, 0.045]), False

    def act(truth: Truth) -> np.ndarray:
        nonlocal over
        if plan == "beside":
            x, y, z = truth.cube_m
            return expert(replace(truth, cube_m=(x, y + aside_m, z), moving_touch=False))
        over = over or (plan == "dropped" and held(truth) and truth.cube_m[1] > lets_go_y_m)
        over = over or (plan == "kept" and at_bowl(truth))
        if over:
            return np.array([0.0, 0.0, 0.2, 1.0] if plan == "dropped" else [0.0, 0.0, 0.0, -1.0], np.float32)
        return expert(truth)

    return act


def held(truth: Truth) -> bool:
    """Whether the cube is in the hand and off the table."""
    return bool(
        truth.cube_m[2] - truth.cube_half_m > 0.01 and np.linalg.norm(np.subtract(truth.cube_m, truth.ee_m)) < 0.03
    )


def at_bowl(truth: Truth) -> bool:
    """Whether the cube is in the bowl, or so low over it that it falls into it when it is let go."""
    assert truth.target_m is not None
    beside_m = np.hypot(*np.subtract(truth.cube_m, truth.target_m)[:2])
    return bool(beside_m < BOWL_RADIUS_M and truth.cube_m[2] - truth.cube_half_m < BOWL_HEIGHT_M + 0.025)


def labels(truths: list[Truth]) -> dict[str, np.ndarray]:
    """Return what a person who sees everything would label, bool [T+1] each."""
    grasped, placed, lies = (np.array([f(t) for t in truths]) for f in (held, at_bowl, in_bowl))
    down = np.array([t.cube_m[2] < t.cube_half_m + 0.01 for t in truths])
    had_it = np.maximum.accumulate(grasped)
    return {
        "grasped": grasped,
        "placed": placed,
        "success": np.maximum.accumulate(lies),
        "fell": had_it & down & ~placed,
    }


def look(detector: SuccessDetector, episode: Episode, begin: int = 1) -> Iterator[Verdict]:
    """Yield what the detector says of each frame from `begin` on, until it ends the episode."""
    detector.reset()
    for t in range(begin, len(episode) + 1):
        verdict = detector.step(Observation({n: x[t] for n, x in episode.images.items()}, episode.state[t], 0.0))
        yield verdict
        if verdict.success or verdict.failure:
            return


def table(detector: SuccessDetector, episodes: list[Episode]) -> str:
    """Return the numbers as Markdown."""
    names = (*STAGES, *FAILURES)
    truth = [marks(e, names) for e in episodes]
    said = [list(look(detector, e)) for e in episodes]
    rows = []
    for k, name in enumerate(names):
        seen, false, delays = 0, 0, list[int]()
        for mask, verdicts in zip(truth, said, strict=True):
            passed = [v.failure == name if k >= len(STAGES) else v.stage > k for v in verdicts]
            at = passed.index(True) + 1 if True in passed else None  # the first frame is not judged
            right = at is not None and bool(mask[max(0, at - DOUBT) : at + DOUBT + 1, k].any())
            seen, false = seen + right, false + (at is not None and not right)
            delays += [at - int(mask[:, k].argmax())] if at is not None and right else []
        there = sum(bool(mask[:, k].any()) for mask in truth)
        delay = f"{np.median(delays) / 10:.1f} s; {max(delays) / 10:.1f} s" if delays else "–"
        high = wilson(false, len(episodes))[1]
        rows.append(f"| {name} | {there} | {seen} | {false} (95 %: below {high:.0%}) | {delay} |")
    ordered = sum(all(a.stage <= b.stage <= a.stage + 1 for a, b in zip(v, v[1:])) for v in said)  # noqa: B905, RUF007
    after = [int(m[:, 2].argmax()) + DOUBT for m in truth if m[:, 2].any()]
    alone = [any(v.success for v in look(detector, e, t)) for e, t in zip(_with(episodes, truth), after, strict=True)]
    return "\n".join(
        [
            f"{len(episodes)} episodes; detector {detector.version}\n",
            "| stage | episodes with it | seen | said where it is not | median delay; longest |\n|---|---|---|---|---|",
            *rows,
            f"\nstages passed one by one, and never taken back: {ordered} of {len(said)}",
            f"success said although only the end was shown, without a grasp: {sum(alone)} of {len(alone)}",
        ]
    )


def _with(episodes: list[Episode], truth: list[np.ndarray]) -> list[Episode]:
    return [e for e, m in zip(episodes, truth, strict=True) if m[:, 2].any()]


if __name__ == "__main__":
    main()
