"""What a person needs to know before the detector may hand out rewards: numbers, words and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import draccus
import numpy as np

from classifier.calibrate import Calibration, with_rule
from classifier.events import EventScores, Trace, fires, runs
from classifier.frames import RECORD_MORE
from classifier.train import TrainReport

ADVISED_POSITIVE_FRAMES = 200


@dataclass(frozen=True)
class Mistake:
    """A frame on which model and person disagree."""

    uuid: str
    frame: int
    probability: float  # of success, by a network that has not learned from this episode
    marked: bool  # what the person said


@dataclass(frozen=True)
class DetectorReport:
    """How the detector was made and how it does on what its networks have not learned from. All JSON."""

    version: str
    train: TrainReport
    calibration: Calibration  # of success
    scores: EventScores  # held-out episodes, with the threshold chosen on them
    left_out: EventScores | None  # the same, each episode judged by a threshold chosen without it
    by_session: Mapping[str, EventScores]
    auc: float  # held-out frames
    accuracy: float  # held-out frames, p against the threshold
    optimistic_accuracy: float  # what a split by frame would have claimed
    mistakes: tuple[Mistake, ...]  # the worst first
    rate_hz: float
    skipped_aborted: int

    def to_json(self) -> str:
        """Return the JSON text."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @staticmethod
    def read(path: Path) -> DetectorReport:
        """Read back what `to_json` wrote to a file."""
        return draccus.decode(DetectorReport, json.loads(path.read_text()))

    def table(self) -> str:
        """Return the table that the terminal shows."""
        t, s, c, out = self.train, self.scores, self.calibration, self.left_out
        seconds = np.array(s.delays_frames) / self.rate_hz
        delay = f"{np.median(seconds):.1f} s median, {seconds.max():.1f} s longest" if len(seconds) else "none caught"
        honest = (
            f"{out.false_per_episode:.2f} false per episode, {out.missed} of {out.successes} missed"
            if out
            else "needs two held-out success episodes"
        )
        aborted = f", {self.skipped_aborted} aborted left out" if self.skipped_aborted else ""
        gates = ", ".join(f"{g.name} in [{g.low:.3g}, {g.high:.3g}]" for g in c.gates) or "none"
        rows = [
            ("episodes", f"{len(t.uuids)} in {t.sessions} sessions, each held out once{aborted}"),
            ("frames trained on", f"{t.frames}, {t.positive_frames} positive"),
            ("networks", f"{len(t.members)}, best after {_list(m.best_epoch for m in t.members)} epochs"),
            ("false successes", f"{s.false_successes} in {s.episodes} held-out episodes (chosen to be 0)"),
            ("missed successes", f"{s.missed} of {s.successes}"),
            ("threshold left-out", honest),
            ("detection delay", delay),
            (
                "threshold, hold",
                f"{c.threshold:.3f}, {c.hold} of {c.frames} frames, margin {c.margin_logit:.1f} logits",
            ),
            ("temperature, gate", f"{c.temperature:.2f}, {gates}"),
            (
                "held-out frames",
                f"AUC {self.auc:.4f}, accuracy {self.accuracy:.4f} (split by frame it would be "
                f"{self.optimistic_accuracy:.4f}: optimistic)",
            ),
            ("trained in", f"{t.duration_s:.0f} s"),
        ]
        if len(self.by_session) > 1:
            rows += [
                (f"session {name}", f"{e.false_successes} false in {e.episodes}, {e.missed} of {e.successes} missed")
                for name, e in self.by_session.items()
            ]
        lines = [f"success detector {self.version}", *(f"  {name:<20}{value}" for name, value in rows)]
        lines += [f"  warning: {w}" for w in self.warnings()]
        return "\n".join(lines)

    def warnings(self) -> list[str]:
        """Return what makes these numbers doubtful, in words."""
        t = self.train
        found = []
        if t.sessions < 2:
            found.append(
                "all episodes are of one session, with one light: the numbers above are optimistic. Record some more "
                "at another time of day."
            )
        elif t.split_by != "session":
            found.append("the sessions are too few or too unequal to hold one out whole: the numbers are optimistic.")
        if self.scores.missed > self.scores.successes / 2:
            found.append(
                "most successes are missed: one episode without success looks like one. Look at the worst mistakes: "
                "hilserl classifier calibrate"
            )
        if t.positive_frames < ADVISED_POSITIVE_FRAMES:
            found.append(f"few positive frames (advised: {ADVISED_POSITIVE_FRAMES} or more). {RECORD_MORE}")
        return found


def worst_mistakes(
    uuids: Sequence[str], traces: Sequence[Trace], threshold: float, count: int = 24
) -> tuple[Mistake, ...]:
    """Return frames on which the model is surest of what the person denies, one per run of them; the worst first."""
    found = []
    for uuid, trace in zip(uuids, traces, strict=True):
        said = trace.probability >= threshold
        for start, end in runs((said != trace.mark) & ~trace.unsure):
            off = np.abs(trace.probability[start:end] - trace.mark[start:end])
            frame = start + int(off.argmax())
            mistake = Mistake(uuid, frame, float(trace.probability[frame]), bool(trace.mark[frame]))
            found.append((float(off.max()), mistake))
    return tuple(m for _, m in sorted(found, key=lambda pair: -pair[0])[:count])


def curve(traces: Sequence[Trace], chosen: Calibration, points: int = 61) -> dict[str, list[float]]:
    """Return what other thresholds would do: `threshold`, `false`, `missed` [events], `precision`, `recall`.

    Precision and recall are those of single frames, without hold.
    """
    p = np.concatenate([t.probability[~t.unsure] for t in traces])
    mark = np.concatenate([t.mark[~t.unsure] for t in traces])
    logits = np.linspace(-6.0, 9.0, points)
    out: dict[str, list[float]] = {k: [] for k in ("threshold", "false", "missed", "precision", "recall")}
    for threshold in 1.0 / (1.0 + np.exp(-logits)):
        scores = with_rule(traces, Calibration(float(threshold), chosen.hold, 0.0, chosen.frames))
        said = p >= threshold
        hits = float((said & mark).sum())
        row = (
            threshold,
            scores.false_successes,
            scores.missed,
            hits / said.sum() if said.any() else 1.0,
            hits / max(1, mark.sum()),
        )
        for key, value in zip(out, row, strict=True):
            out[key].append(float(value))
    return out


def plot(path: Path, report: DetectorReport, traces: Sequence[Trace]) -> None:
    """Draw the held-out episodes: what every threshold would do, precision and recall, delays, and all traces (PNG)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    blue, orange, grey = "#0072b2", "#d55e00", "#8a8a8a"
    c, curves = report.calibration, curve(traces, report.calibration)
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.2), layout="constrained")
    ((events, pr), (delays, strip)) = axes
    logit = np.log(np.array(curves["threshold"]) / (1 - np.array(curves["threshold"])))
    events.step(logit, curves["false"], color=orange, lw=2, label="false successes")
    events.step(logit, curves["missed"], color=blue, lw=2, label=f"missed of {report.scores.successes}")
    ticks = np.array([0.01, 0.1, 0.5, 0.9, 0.99, 0.999])
    events.set_xticks(np.log(ticks / (1 - ticks)), [f"{t:g}" for t in ticks])
    chosen = float(np.clip(c.threshold, 1e-6, 1 - 1e-6))
    events.axvline(np.log(chosen / (1 - chosen)), color="k", ls="--", lw=1, label=f"chosen: {c.threshold:.3f}")
    title = f"{report.scores.episodes} held-out episodes, {c.hold} of {c.frames} frames"
    events.set(title=title, xlabel="threshold", ylabel="events", ylim=(-0.3, None))
    events.legend(frameon=False)
    pr.plot(curves["recall"], curves["precision"], color=blue, lw=2)
    pr.set(
        title="Single frames",
        xlabel="recall",
        ylabel="precision",
        xlim=(0, 1.02),
        ylim=(min(0.9, *curves["precision"]), 1.005),
    )
    seconds = np.array(report.scores.delays_frames) / report.rate_hz
    if len(seconds):
        delays.hist(seconds, bins=np.arange(-0.35, max(1.0, seconds.max()) + 0.15, 0.1), color=blue, rwidth=0.9)
        delays.axvline(float(np.median(seconds)), color="k", ls="--", lw=1, label=f"median {np.median(seconds):.1f} s")
        delays.legend(frameon=False)
    delays.set(title="From the mark to the detection", xlabel="delay [s]", ylabel="successes")
    order = sorted(range(len(traces)), key=lambda i: (not traces[i].mark.any(), int(traces[i].mark.argmax())))
    longest = max(len(t.mark) for t in traces)
    picture = np.full((len(traces), longest), np.nan)
    for row, i in enumerate(order):
        picture[row, : len(traces[i].mark)] = traces[i].probability
        for start, end in runs(traces[i].mark):
            strip.plot([start / report.rate_hz, end / report.rate_hz], [row - 0.42] * 2, color="k", lw=1.2)
        fired = np.flatnonzero(fires(traces[i].probability, c.threshold, c.hold, c.frames))
        if len(fired):
            strip.plot(fired[0] / report.rate_hz, row, marker="|", color=orange, ms=9, mew=2.5)
    strip.imshow(
        picture, aspect="auto", cmap="Blues", vmin=0, vmax=1.2, interpolation="none",
        extent=(0, longest / report.rate_hz, len(traces) - 0.5, -0.5),
    )  # fmt: skip
    strip.set(title="Blue: p(success); black: marked; orange: detected", xlabel="time [s]", yticks=[])
    for axis in (events, pr, delays):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    strip.set_ylabel(f"{len(traces)} episodes", color=grey)
    figure.suptitle(f"Success detector {report.version}: what it does in episodes that its networks have not seen")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _list(numbers: object) -> str:
    return ", ".join(map(str, numbers))  # type: ignore[call-overload]
