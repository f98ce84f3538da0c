"""What is wrong, or looks wrong, with an episode: checks that are cheap enough to run on every one that comes in.

An error breaks what learning relies on, and training refuses the episode; a warning is for a person to look at.
Thresholds are set where 230 good episodes of an emulated arm (sensor noise, backlash, late ticks, contact with table
and object) lie well clear of them; the comments give what was measured there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data.errors import UserError
from data.labels import from_mask
from data.schema import Episode, Outcome, Source
from data.spec import ActionSpec, ObservationSpec, TaskSpec

Severity = Literal["error", "warning"]

GAP_PERIODS = 4.0  # a step longer than this: 2.7 at worst on a busy machine
RATE_TOLERANCE = 0.25  # of the median step: 0.01
STILL_STEPS = 5  # a take-over this long that moves nothing: none in 1,698 human steps
IDLE_STEPS = 20  # anybody else commanding no motion for this long: 1 at most
SATURATED_SHARE = 0.9  # of an episode's steps on one axis: 0.42 at most
FROZEN_FRAMES = 5  # equal frames in a row while the arm moves: sensor noise makes even two impossible
DUPLICATE_SHARE = 0.1  # equal neighbours among all frames while the arm moves
BLACK_MEAN, BLANK_STD = 8.0, 3.0  # grey levels of a frame: 88 and 31 at least
MOVED = 0.01  # share of a field's range that counts as motion: 7 mm, 2.3 degrees
WINDOW_STEPS = 10  # commanded and achieved displacements are compared over this
ACTED_M = 0.04  # commanded path below which an axis is not judged
MIN_CORRELATION = 0.5  # of commanded and achieved displacement: 0.82 at least
MIN_AXIS_CORRELATION = 0.0  # 0.30 at least
GAIN = (0.4, 1.6)  # achieved per commanded displacement: 0.74 to 1.0
COMMAND_TOLERANCE = 0.05  # of a full step: 5e-6


@dataclass(frozen=True)
class Finding:
    """One thing that was found in one episode."""

    severity: Severity
    rule: str
    uuid: str
    first: int  # steps, or frames where the words say so: first to last, both included
    last: int
    words: str

    def __str__(self) -> str:
        where = f"step {self.first}" if self.first == self.last else f"steps {self.first} to {self.last}"
        return f"{where}: {self.words}"


class UnfitEpisode(UserError):
    """An episode that training must not learn from."""


def lint(episode: Episode, spec: TaskSpec) -> list[Finding]:
    """Return what is wrong with an episode that fits `spec`, errors first; a few milliseconds."""
    found = list(_not_finite(episode))
    if not found:  # the rest calculates with the numbers
        found += [*_reward(episode), *_ends(episode), *_out_of_range(episode)]
        found += [*_times(episode, spec.rate_hz), *_idle(episode), *_saturated(episode, spec.action)]
        found += [*_commands(episode, spec), *_motion(episode, spec), *_frames(episode, spec.observation)]
    return sorted(found, key=lambda f: f.severity == "warning")


def require_fit(episode: Episode, spec: TaskSpec) -> list[Finding]:
    """Return the warnings about an episode that training may learn from.

    Raises:
        UnfitEpisode: there are errors; the message lists them.
    """
    found = lint(episode, spec)
    if errors := [str(f) for f in found if f.severity == "error"]:
        name = f"--episode={episode.meta.uuid}"
        raise UnfitEpisode(
            f"episode {episode.meta.uuid} cannot be learned from:\n  " + "\n  ".join(errors) + "\nLook at it with "
            f"`hilserl data show RUN {name} --output=episode.png`, leave it out with `hilserl data exclude RUN {name} "
            "--why=...`, then run the same command again."
        )
    return found


def _not_finite(episode: Episode) -> Iterator[Finding]:
    for name in ("state", "stamp_s", "proposed", "executed", "reward"):
        rows = np.isfinite(getattr(episode, name)).reshape(len(getattr(episode, name)), -1).all(1)
        if not rows.all():
            yield _finding("error", "not-finite", episode, np.flatnonzero(~rows), f"{name} holds NaN or infinity")


def _out_of_range(episode: Episode) -> Iterator[Finding]:
    rows = np.flatnonzero((np.abs(episode.executed) > 1 + 1e-5).any(1))
    if len(rows):
        worst = np.abs(episode.executed).max()
        yield _finding("error", "action-range", episode, rows, f"executed action {worst:.3g} is outside of [-1, 1]")


def _reward(episode: Episode) -> Iterator[Finding]:
    expected = np.zeros(len(episode), np.float32)
    expected[-1] = episode.meta.outcome is Outcome.SUCCESS
    wrong = np.flatnonzero(episode.reward != expected)
    if len(wrong):
        words = f"reward {episode.reward[wrong[0]]:g} in an episode of outcome {episode.meta.outcome}; it is 1 once, "
        yield _finding("error", "reward", episode, wrong, words + "at the end of a success, and 0 elsewhere")


def _ends(episode: Episode) -> Iterator[Finding]:
    ended = episode.terminated | episode.truncated
    early = np.flatnonzero(ended[:-1])
    if len(early):
        yield _finding("error", "end", episode, early, "ends the episode, and steps follow")
    terminal = episode.meta.outcome in (Outcome.SUCCESS, Outcome.FAILURE)
    if (episode.terminated[-1], episode.truncated[-1]) != (terminal, not terminal):
        flags = [name for name in ("terminated", "truncated") if getattr(episode, name)[-1]]
        words = f"outcome {episode.meta.outcome}, but the last step is {' and '.join(flags) or 'no end'}: success and "
        words += "failure are terminated, time-outs and aborted episodes truncated"
        yield _finding("error", "end", episode, np.array([len(episode) - 1]), words)


def _times(episode: Episode, rate_hz: float) -> Iterator[Finding]:
    took_s = np.diff(episode.stamp_s)
    back = np.flatnonzero(took_s <= 0)
    if len(back):
        yield _finding("warning", "time", episode, back, "the clock stands still or runs backwards")
    for first, stop in from_mask(took_s > GAP_PERIODS / rate_hz):
        words = f"{took_s[first:stop].max():.2f} s in one step; {1 / rate_hz:.2f} s is the period"
        yield _finding("warning", "time-gap", episode, np.array([first, stop - 1]), words)
    median_s = float(np.median(took_s))
    if not back.size and len(took_s) >= 10 and abs(median_s * rate_hz - 1) > RATE_TOLERANCE:
        words = f"recorded at {1 / median_s:.1f} steps per second, the task has {rate_hz:g}"
        yield _finding("warning", "rate", episode, np.array([0, len(took_s) - 1]), words)


def _idle(episode: Episode) -> Iterator[Finding]:
    """Nobody moves anything for seconds: what a broken take-over looks like in the record."""
    still = (np.abs(episode.executed[:, :-1]) < 1e-6).all(1)  # the last action is an absolute gripper command,
    still[1:] &= np.abs(np.diff(episode.executed[:, -1])) < 1e-6  # which moves something when it changes
    human = episode.source == Source.HUMAN
    for first, stop in from_mask(human):
        if stop - first >= STILL_STEPS and still[first + 1 : stop].all() and still[first : first + 1].all():
            words = f"a take-over of {stop - first} steps that moved nothing: was the input device read?"
            yield _finding("warning", "zero-action", episode, np.array([first, stop - 1]), words)
    for first, stop in from_mask(still & ~human & (episode.source != Source.HOLD)):
        if stop - first >= IDLE_STEPS:
            words = f"no motion is commanded for {stop - first} steps"
            yield _finding("warning", "zero-action", episode, np.array([first, stop - 1]), words)


def _saturated(episode: Episode, spec: ActionSpec) -> Iterator[Finding]:
    full = np.abs(episode.executed[:, :-1]) > 0.999  # the gripper is at an end of its range as a rule
    for axis in np.flatnonzero(full.mean(0) > SATURATED_SHARE):
        if len(episode) >= 10:
            words = f"{spec.names[axis]} is at its limit in {full[:, axis].mean():.0%} of the steps: units, or step_m?"
            yield _finding("warning", "saturated", episode, np.flatnonzero(full[:, axis]), words)


def _commands(episode: Episode, spec: TaskSpec) -> Iterator[Finding]:
    """The commanded position is measured position plus lead, and each executed delta moves it by its length."""
    axes, measured = _translation(spec), _field(episode, spec, "ee_in_base")
    lead = _field(episode, spec, "command_lead")
    if axes is None or measured is None or lead is None:
        return
    asked = episode.executed[:, axes].astype(float)
    moved = np.diff((measured + lead).astype(float), axis=0) / spec.action.step_m
    off = np.abs(np.clip(moved, -1, 1) - asked).max(1)  # a limit can move the command by more than an action can say
    for first, stop in from_mask(off > COMMAND_TOLERANCE):
        worst_mm = 1e3 * spec.action.step_m * off[first:stop].max()
        words = f"executed action and change of the commanded position differ by up to {worst_mm:.1f} mm"
        yield _finding("warning", "action-record", episode, np.array([first, stop - 1]), words)


def _motion(episode: Episode, spec: TaskSpec) -> Iterator[Finding]:
    """Displacements over a second, commanded and measured: lag and contact leave them alike, wrong units do not."""
    axes, measured = _translation(spec), _field(episode, spec, "ee_in_base")
    if axes is None or measured is None or len(episode) <= WINDOW_STEPS:
        return
    deltas = episode.executed[:, axes].astype(float) * spec.action.step_m
    commanded = np.cumsum(np.vstack((np.zeros(3), deltas)), 0)
    asked, made = (x[WINDOW_STEPS:] - x[:-WINDOW_STEPS] for x in (commanded, measured.astype(float)))
    whole = np.array([0, len(episode) - 1])
    path_m, tiny = np.abs(deltas).sum(0), 1e-12
    if path_m.sum() < ACTED_M:
        if np.ptp(measured, axis=0).max() > ACTED_M:
            words = f"the arm moved {1e3 * np.ptp(measured, axis=0).max():.0f} mm and almost no motion was commanded"
            yield _finding("warning", "motion", episode, whole, words)
        return
    correlation = (asked * made).sum() / np.sqrt((asked**2).sum() * (made**2).sum() + tiny)
    gain = (asked * made).sum() / ((asked**2).sum() + tiny)
    if correlation < MIN_CORRELATION or not GAIN[0] < gain < GAIN[1]:
        words = f"the arm did not do what was commanded: correlation {correlation:.2f}, {gain:.2f} m per m commanded"
        yield _finding("warning", "motion", episode, whole, words)
        return
    for k, axis in enumerate(axes):
        along = (asked[:, k] * made[:, k]).sum() / np.sqrt((asked[:, k] ** 2).sum() * (made[:, k] ** 2).sum() + tiny)
        if path_m[k] > ACTED_M and along < MIN_AXIS_CORRELATION:
            words = f"{spec.action.names[axis]} and the motion along it are opposed: correlation {along:.2f}"
            yield _finding("warning", "motion", episode, whole, words)


def _frames(episode: Episode, spec: ObservationSpec) -> Iterator[Finding]:
    low, high = (np.concatenate([np.full(f.size, getattr(f, end)) for f in spec.state]) for end in ("low", "high"))
    positions = np.concatenate([np.full(f.size, f.unit in ("rad", "m")) for f in spec.state])
    places = (episode.state / (high - low))[:, positions]
    for camera, frames in episode.images.items():
        few = frames[:, ::4, ::4].reshape(len(frames), -1)
        blank = (few.mean(1) < BLACK_MEAN) | (few.std(1) < BLANK_STD)
        for first, stop in from_mask(blank):
            words = f"frames of camera {camera} are black or of one colour"
            yield _finding("warning", "black", episode, np.array([first, stop - 1]), words)
        equal = (frames[1:] == frames[:-1]).reshape(len(episode), -1).all(1)
        frozen = False
        for first, stop in from_mask(equal):
            moved = np.ptp(places[first : stop + 1], axis=0).max(initial=0)
            if stop - first + 1 >= FROZEN_FRAMES and moved > MOVED and not blank[first]:
                frozen = True
                words = f"camera {camera} shows one frame {stop - first + 1} times while the arm moves"
                yield _finding("warning", "frozen", episode, np.array([first, stop]), words)
        moving = np.abs(np.diff(places, axis=0)).max(1, initial=0) > MOVED
        twice = np.flatnonzero(equal & moving & ~blank[1:])
        if not frozen and len(twice) > DUPLICATE_SHARE * len(episode):
            words = f"camera {camera} gives the same frame again in {len(twice)} steps: slower than the task's rate?"
            yield _finding("warning", "duplicates", episode, twice, words)


def _translation(spec: TaskSpec) -> list[int] | None:
    """Return the places of dx, dy, dz in the action, if it has them."""
    names = spec.action.names
    return [names.index(n) for n in ("dx", "dy", "dz")] if {"dx", "dy", "dz"} <= set(names) else None


def _field(episode: Episode, spec: TaskSpec, name: str) -> np.ndarray | None:
    """Return the columns [T+1, 3] of a position field in metres, if the state has it."""
    start = 0
    for field in spec.observation.state:
        if (field.name, field.unit, field.size) == (name, "m", 3):
            return episode.state[:, start : start + 3]
        start += field.size
    return None


def _finding(severity: Severity, rule: str, episode: Episode, rows: np.ndarray, words: str) -> Finding:
    return Finding(severity, rule, episode.meta.uuid, int(rows[0]), int(rows[-1]), words)
