"""`hilserl classifier preview`: p(success) live, through the actor's own pipeline, while the person drives.

Press Failure (A, or *Wrong* on the page) whenever it is wrong: the frames of that moment join the labels, with the
opposite of what it said.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from classifier.detector import SuccessDetector, Verdict
from data.labels import from_mask
from data.schema import Episode, Observation
from data.store.annotations import UNSURE, Annotations
from hilserl.commands.arguments import ArmArgs, ClassifierArgs, parse
from hilserl.commands.wiring import open_actor, read_detector
from hilserl.loop.session import SessionConfig
from teleop.inputs import Button, Follower, Operator, OperatorState, Prompt

KIND = "preview"
WIDTH = 40
REACTION = 3  # frames before the one that was shown at the press, that it is about, too
WHY = "preview: wrong"


@dataclass(frozen=True)
class PreviewArgs(ArmArgs):
    """`hilserl classifier preview`: nothing ends an episode but its length; Ctrl-C ends the preview."""

    classifier: ClassifierArgs = field(default_factory=ClassifierArgs)  # none: the run's own
    episodes: int = 100
    length_s: float = 30.0  # of an episode


class Wrong:
    """Implements `Operator` around another one: Failure means that the detector is wrong now."""

    def __init__(self, operator: Operator, shown: Shown) -> None:
        """`shown` is what the person looks at: its last word goes to the page as the device's note."""
        self._operator, self._shown = operator, shown
        self._running = False  # between two episodes, Failure is about the last one
        self.frames: list[int] = []  # that were shown when it was pressed

    def read(self) -> OperatorState:
        """Read the device; the press goes no further."""
        state = self._operator.read()
        if not self._running:
            return state
        if Button.FAILURE in state.pressed:
            self.frames.append(self._shown.frame)
            print("\n  wrong: captured", file=sys.stderr)
        return replace(state, pressed=state.pressed - {Button.FAILURE}, note=self._shown.ends or state.note)

    def tell(self, prompt: Prompt, **details: str | float | int) -> None:
        """Notice where episodes begin and end."""
        if prompt is Prompt.EPISODE_STARTED:
            self._running, self.frames = True, []
        elif prompt is Prompt.EPISODE_ENDED:
            self._running = False
        self._operator.tell(prompt, **details)

    def follow(self, follower: Follower) -> None:
        """Show the arm to the device."""
        self._operator.follow(follower)

    def close(self) -> None:
        """Release the device."""
        self._operator.close()


class Shown:
    """The detector, with what it says of every frame on the terminal."""

    def __init__(self, detector: SuccessDetector) -> None:
        self._detector, self.version, self.calibration = detector, detector.version, detector.calibration
        self.frame, self.ends = 0, ""  # the newest frame of the episode, and how it would end here

    def at(self, threshold: float) -> Shown:
        """Show the same with another threshold from now on; `Wrong` goes on looking at this."""
        self._detector = self._detector.at(threshold)
        self.version, self.calibration = self._detector.version, self._detector.calibration
        return self

    def reset(self) -> None:
        """Begin an episode."""
        self._detector.reset()
        self.frame, self.ends = 0, ""

    def step(self, observation: Observation) -> Verdict:
        """Judge a frame, and show it."""
        verdict = self._detector.step(observation)
        self.frame, self.ends = self.frame + 1, ends(verdict)
        words = picture(verdict, self.calibration.threshold)
        print(f"\r\x1b[2K{words}", end="", file=sys.stderr, flush=True)
        return verdict


def ends(verdict: Verdict) -> str:
    """Return what an episode would end with here, or ""."""
    how = "success" if verdict.success else verdict.failure
    return f"WOULD END HERE: {how}" if how else ""


def picture(verdict: Verdict, threshold: float) -> str:
    """Return a bar of p(success) with the threshold in it, and what follows from it."""
    full, at = round(verdict.probability * WIDTH), min(WIDTH - 1, round(threshold * WIDTH))
    bar = "".join("│" if i == at else "█" if i < full else "░" for i in range(WIDTH))
    odd = f"  unlike the training (drift {verdict.drift:.1f})" if verdict.drift > 1.5 else ""
    return f"p(success) {verdict.probability:.2f} {bar}  {ends(verdict)}{odd}"


def captured(episode: Episode, pressed: Sequence[int], threshold: float) -> dict[str, np.ndarray] | None:
    """Return the labels that presses of *wrong* make, bool [T+1] each: success, and unsure wherever none was.

    None when nothing was pressed.
    """
    success, known = (np.zeros(len(episode) + 1, bool) for _ in range(2))
    probability = np.concatenate(([0.0], np.nan_to_num(episode.p_success)))
    for frame in pressed:
        begin, end = max(1, frame - REACTION), min(len(episode), frame) + 1
        said = probability[begin:end].max(initial=0.0) >= threshold
        success[begin:end], known[begin:end] = not said, True
    return {"success": success, UNSURE: ~known} if known.any() else None


def main(argv: Sequence[str]) -> int:
    """Show until Ctrl-C; say how many frames were captured."""
    args = parse(PreviewArgs, argv)
    path = args.classifier.path or args.output_dir / "classifier"
    task = args.read_task()
    detector = read_detector(ClassifierArgs(path), task)
    assert detector is not None  # a path was given
    shown, seen, count = Shown(detector), list[Wrong](), 0

    def around(operator: Operator) -> Operator:
        seen.append(Wrong(operator, shown))
        return seen[-1]

    def done(episode: Episode) -> None:
        nonlocal count
        labels = captured(episode, seen[-1].frames, shown.calibration.threshold)
        notes = Annotations(Path(args.output_dir) / "store")
        for name, mask in (labels or {}).items():
            notes.relabel(episode.meta.uuid, from_mask(mask), WHY, name)
        count += len(seen[-1].frames)

    session = SessionConfig(
        kind=KIND,
        episodes=args.episodes,
        drives="human",
        ends_on_success=False,
        max_steps=round(args.length_s * task.rate_hz),
        give_up_s=args.give_up_s,
        seed=args.seed,
    )
    try:
        with open_actor(args, task, detector=shown, seen_by=around) as actor:  # type: ignore[arg-type]
            start = actor.count(KIND)
            actor.run(replace(session, episodes=start + args.episodes), done, say=say)
    finally:
        if count:
            print(f"{count} mistakes captured; take them in: hilserl classifier train --output_dir={args.output_dir}")
    return 0


def say(words: str) -> None:
    """Write a line that stays."""
    print(f"\r\x1b[2K{words}", file=sys.stderr)
