"""What the transfer checks found: as words, as JSON, as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.film import FAINT, INK
from sim_pretrain.episodes.evaluation import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GOOD = 0.9  # success that is good enough to go on
BLIND = 0.4  # of the sighted success: what may at most remain without seeing
HARD = 0.9  # share of steps at the limit in every direction: bang-bang
STILL = 0.3  # share of steps in which the hand is told to stay
HABIT = 0.25  # share of the previous action among what the policy heeds
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"  # Okabe and Ito (2008); each is named in words, too


@dataclass(frozen=True)
class Use:
    """What one input is to a policy."""

    name: str
    share: float  # of the change of action, over all inputs
    change: tuple[float, ...]  # mean absolute change of each dimension of the action when the input is another's
    shuffled: Evaluation  # with this input from a random moment at every step


@dataclass(frozen=True)
class Actions:
    """How hard a policy drives."""

    saturated: Mapping[str, float]  # share of steps, per dimension
    idle: float  # share of steps that ask the hand to stay


@dataclass(frozen=True)
class AxisEnd:
    """Success with one randomisation axis at one of its ends and everything else at the centre."""

    axis: str
    end: str  # low or high
    value: Any  # of the profile's field
    evaluation: Evaluation


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict."""

    good: bool
    words: str
    grave: bool = False  # if not good: train again before anything else


@dataclass(frozen=True)
class TransferReport:
    """Everything that was found."""

    name: str  # of the checkpoint
    task: str
    seed: int  # of the first episode
    own_table: bool  # not the task's own table at the centre
    golden: int  # observation -> action pairs that were verified
    sighted: Evaluation
    black: Evaluation  # the same policy, images black
    baseline: Evaluation | None  # a policy that was made without seeing
    randomized: Evaluation  # every axis at once
    uses: tuple[Use, ...]  # most used first
    actions: Actions
    axes: tuple[AxisEnd, ...]

    def verdict(self) -> tuple[Finding, ...]:
        """Return what is good, then what is suspicious."""
        return tuple(sorted(self._findings(), key=lambda f: not f.good))

    @property
    def suspicious(self) -> bool:
        """Whether anything is."""
        return any(not f.good for f in self._findings())

    def weak_ends(self) -> list[AxisEnd]:
        """Return the ends of axes at which success drops by more than chance explains."""
        return [end for end in self.axes if end.evaluation.interval[1] < self.sighted.interval[0]]

    def _findings(self) -> Iterator[Finding]:
        share = self.sighted.success
        yield Finding(share >= GOOD, f"it succeeds in {share:.0%} of episodes on the table at the centre", grave=True)
        if self.sighted.wins:
            yield from self._looking()
            yield Finding(
                self.randomized.success >= GOOD,
                f"it succeeds in {self.randomized.success:.0%} of episodes when every table is another",
                grave=True,
            )
        if self.axes and self.sighted.wins:
            weak = [f"{end.axis} {end.end}" for end in self.weak_ends()]
            yield Finding(
                not weak,
                f"success drops at {', '.join(weak)}" if weak else "no single randomisation axis makes it fail",
            )
        yield Finding(
            self.golden > 0,
            f"{self.golden} golden pairs give the same actions here as where it was made"
            if self.golden
            else "it holds no golden pairs: whether it acts here as where it was made is not verified",
            grave=True,
        )
        yield from self._driving()

    def _looking(self) -> Iterator[Finding]:
        limit = BLIND * self.sighted.success
        blind = self.black.success
        if blind > limit:
            yield Finding(False, f"it does not use its camera: {blind:.0%} success with black images", grave=True)
        else:
            yield Finding(True, f"it needs its camera: {blind:.0%} success with black images")
        for use in self.uses:
            if use.name == "image" and use.shuffled.success > limit:
                words = (
                    f"{use.shuffled.success:.0%} success with images of other moments: what they show does not matter"
                )
                yield Finding(False, words, grave=True)
        if self.baseline is not None:
            leaks, rate = self.baseline.success > limit, f"{self.baseline.success:.0%} success"
            words = (
                f"the task can be done blind ({rate} of a policy that never saw): its state tells where the object is"
            )
            yield Finding(not leaks, words if leaks else f"the task needs a camera: {rate} of a policy that never saw")

    def _driving(self) -> Iterator[Finding]:
        moves = {n: s for n, s in self.actions.saturated.items() if n != "gripper"}
        if moves and min(moves.values()) > HARD:
            yield Finding(False, "it drives at full speed in every direction at all times")
        if self.actions.idle > STILL:
            yield Finding(False, f"it asks the hand to stay in {self.actions.idle:.0%} of the steps")
        habit = next((u.share for u in self.uses if u.name == "previous action"), 0.0)
        if habit > HABIT:
            yield Finding(False, f"{habit:.0%} of what it heeds is its own last action: it may repeat itself")

    def next_command(self) -> str:
        """Return what to run next."""
        if any(f.grave and not f.good for f in self._findings()):
            return f"hilserl pretrain --task={self.task} --output_dir=runs/pretrain-{self.task}-2, then check it again"
        return f"hilserl demo --policy={self.name}, or on the arm: hilserl train --policy.path={self.name}"

    def text(self) -> str:
        """Return the report for a terminal."""
        table = "the given table" if self.own_table else "the task's own table"
        lines = [f"Transfer check of {self.name} ({self.task}), {table} at the centre, seeds from {self.seed:,}", ""]
        lines += ["Success, untouched and greedy"]
        lines += [f"  {name:32}{found.text()}" for name, found in self._successes() if found is not None]
        lines += ["", *self._uses_text(), "", *self._actions_text()]
        if self.axes:
            lines += ["", *self._axes_text()]
        lines += ["", "Verdict"]
        lines += [f"  {'good' if f.good else 'suspicious'}: {f.words}" for f in self.verdict()]
        return "\n".join([*lines, f"Next: {self.next_command()}"])

    def to_json(self) -> dict[str, Any]:
        """Return everything but the single episodes as JSON values."""
        return {
            "name": self.name, "task": self.task, "seed": self.seed, "own_table": self.own_table,
            "golden": self.golden,
            "success": {n: None if e is None else _sums(e) for n, e in self._successes()},
            "uses": [
                {"input": u.name, "share": u.share, "change": list(u.change), "shuffled": _sums(u.shuffled)}
                for u in self.uses
            ],
            "saturated": dict(self.actions.saturated), "idle": self.actions.idle,
            "axes": [{"axis": a.axis, "end": a.end, "value": a.value, **_sums(a.evaluation)} for a in self.axes],
            "verdict": [{"good": f.good, "words": f.words} for f in self.verdict()],
            "next": self.next_command(),
        }  # fmt: skip

    def plot(self, path: Path) -> None:
        """Write a PNG: success with and without sight, what is used, and success along the axes."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        rows = len({a.axis for a in self.axes})
        figure = Figure((13.5 if rows else 7.5, max(4.8, 1.6 + 0.24 * rows)), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(f"Transfer check: {self.name} ({self.task})", fontsize=13, weight="bold", color=INK)
        grid = figure.add_gridspec(2, 2 if rows else 1)
        _dots(figure.add_subplot(grid[0, 0]), self._bars(), "success, with 95 % interval")
        _shares(figure.add_subplot(grid[1, 0]), self.uses)
        if rows:
            _ends(figure.add_subplot(grid[:, 1]), self.axes, self.sighted)
        figure.savefig(path, facecolor="white", format="png")

    def _successes(self) -> tuple[tuple[str, Evaluation | None], ...]:
        return (
            ("sighted", self.sighted),
            ("black images", self.black),
            ("every table another", self.randomized),
            ("a policy made without seeing", self.baseline),
        )

    def _bars(self) -> list[tuple[str, Evaluation, str]]:
        bars = [(name, e, GREEN if name == "sighted" else BLUE) for name, e in self._successes() if e is not None]
        return bars + [(f"{u.name} shuffled", u.shuffled, ORANGE) for u in self.uses]

    def _uses_text(self) -> list[str]:
        if not self.uses:
            return ["What it looks at was not probed (probe_episodes is 0)."]
        used = ", ".join(f"{u.name} {u.share:.0%}" for u in self.uses if u.share >= 0.005)
        head = f"  {'input':18}{'share':>7}{'action':>9}   success with it shuffled at every step"
        lines = [f"This policy uses: {used or 'nothing'}", head]
        for u in self.uses:
            low, high = u.shuffled.interval
            points = 100 * (u.shuffled.success - self.sighted.success)
            lines.append(
                f"  {u.name:18}{u.share:>7.0%}{np.mean(u.change):>9.3f}   {u.shuffled.wins} of {u.shuffled.n} "
                f"({low:.0%} to {high:.0%}), {points:+.0f} points"
            )
        return [
            *lines,
            "  action: mean change of the greedy action, from -1 to 1, when this input alone is of another moment",
        ]

    def _actions_text(self) -> list[str]:
        saturated = ", ".join(f"{name} {share:.0%}" for name, share in self.actions.saturated.items())
        return [f"Actions at their limits: {saturated}; the hand is told to stay: {self.actions.idle:.0%} of steps"]

    def _axes_text(self) -> list[str]:
        lines = [f"Success at the ends of each randomisation axis ({self.axes[0].evaluation.n} episodes each)"]
        weak = self.weak_ends()
        for axis in dict.fromkeys(a.axis for a in self.axes):
            ends = [a for a in self.axes if a.axis == axis]
            cells = [f"{_short(a.value)}: {a.evaluation.success:.0%}{' !' if a in weak else ''}" for a in ends]
            lines.append(f"  {axis:24}" + "  ".join(f"{cell:32}" for cell in cells).rstrip())
        return lines


def _sums(evaluation: Evaluation) -> dict[str, Any]:
    return {k: v for k, v in evaluation.to_json().items() if k not in ("episodes", "step")}


def _short(value: Any) -> str:
    """Write a number or a tuple of numbers in few characters."""
    if isinstance(value, tuple) and len(set(value)) == 1:
        return f"{value[0]:.3g} each"
    if isinstance(value, tuple):
        return "(" + " ".join(f"{v:.3g}" for v in value) + ")"
    return f"{value:.3g}"


def _dots(axes: Axes, bars: Sequence[tuple[str, Evaluation, str]], title: str) -> None:
    for row, (_, found, colour) in enumerate(bars):
        low, high = found.interval
        axes.plot([low, high], [row, row], color=colour, linewidth=2)
        axes.plot(found.success, row, "o", color=colour, ms=7)
    axes.set_yticks(range(len(bars)), [f"{name}  {found.wins}/{found.n}" for name, found, _ in bars], fontsize=9)
    _dress(axes, title)


def _shares(axes: Axes, uses: Sequence[Use]) -> None:
    axes.barh(range(len(uses)), [u.share for u in uses], color=BLUE, height=0.6)
    axes.set_yticks(range(len(uses)), [f"{u.name}  {u.share:.0%}" for u in uses], fontsize=9)
    _dress(axes, "share of the change of action when the input is another moment's")


def _ends(axes: Axes, ends: Sequence[AxisEnd], sighted: Evaluation) -> None:
    names = list(dict.fromkeys(a.axis for a in ends))
    axes.axvspan(*sighted.interval, color=GREEN, alpha=0.15, linewidth=0, label="interval at the centre")
    for end, marker, colour, shift in (("low", "<", BLUE, -0.15), ("high", ">", ORANGE, 0.15)):
        rows = [(names.index(a.axis) + shift, a.evaluation) for a in ends if a.end == end]
        for row, found in rows:
            axes.plot(found.interval, [row, row], color=colour, linewidth=1.2, alpha=0.6)
        axes.plot(
            [e.success for _, e in rows], [row for row, _ in rows], marker, color=colour, ms=6, label=f"{end} end"
        )
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.04), ncols=3)
    _dress(axes, "success with one axis at its end")


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.invert_yaxis()
    axes.tick_params(length=2, color=FAINT, labelcolor=INK)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
