"""A classifier and the labelled episodes as they are now: what other thresholds do, and which one is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from classifier.calibrate import Calibration, calibrate, leave_one_out, moved, with_rule
from classifier.detector import PLOT, REPORT, SuccessDetector
from classifier.events import EventScores, Trace
from classifier.report import DetectorReport, Mistake, curve, plot, worst_mistakes
from classifier.view import ClassifierView
from data.schema import Outcome
from data.store.annotations import Verdict
from data.store.reader import AnnotatedReader

SHOWN = (0.05, 0.2, 0.5, 0.8, 0.95)


class CalibrationSet:
    """The held-out traces of every labelled episode; each is judged by a network that has not learned from it."""

    def __init__(self, reader: AnnotatedReader, view: ClassifierView, path: Path) -> None:
        """Judge every labelled episode of a store.

        Args:
            reader: the store.
            view: the classifier.
            path: its folder, where a new calibration is kept.
        """
        self._reader, self._view, self._path = reader, view, path
        self.chosen = view.detector.calibration
        self.refresh()

    @property
    def report(self) -> DetectorReport:
        """What the classifier's folder says of it."""
        return self._view.report

    def refresh(self) -> None:
        """Take in the labels as they are now."""
        verdicts = self._reader.annotations.verdicts()
        commits = [
            c
            for c in self._reader.commits()
            if (c.kind == "labels" or verdicts.get(c.uuid, Verdict()).labels) and c.outcome is not Outcome.ABORTED
        ]
        episodes = {c.uuid: self._reader.read(c) for c in commits}
        self.traces: dict[str, Trace] = {u: self._view.trace(self._reader.path, e) for u, e in episodes.items()}
        self.sessions = {c.uuid: c.session for c in commits}

    def scores(self, chosen: Calibration | None = None) -> EventScores:
        """Return what a rule does in all episodes."""
        return with_rule(list(self.traces.values()), chosen or self.chosen)

    def mistakes(self) -> tuple[Mistake, ...]:
        """Return the frames on which it is surest of what the person denies."""
        return worst_mistakes(list(self.traces), list(self.traces.values()), self.chosen.threshold)

    def curve(self) -> dict[str, list[float]]:
        """Return what other thresholds would do; see `classifier.report.curve`."""
        return curve(list(self.traces.values()), self.chosen)

    def moved(self, threshold: float | None, hold: int | None, window: int | None) -> Calibration:
        """Return the rule with these changes; UserError when they make no sense."""
        return moved(self.chosen, threshold, hold, window)

    def choose(self) -> None:
        """Keep the lowest threshold without a false success; raises as `calibrate`."""
        best = calibrate(list(self.traces.values()))
        chosen = self.chosen
        self._keep(replace(best, temperature=chosen.temperature, gates=chosen.gates, after=chosen.after))

    def keep(self, threshold: float | None, hold: int | None, window: int | None) -> None:
        """Save the classifier with this rule: a new version; the one before is moved aside."""
        self._keep(self.moved(threshold, hold, window))

    def _keep(self, chosen: Calibration) -> None:
        if chosen == self.chosen:
            return
        old = self._view.detector
        at = len(old.model.spec.stages) - 1
        detector = SuccessDetector(old.model, *(chosen if i == at else c for i, c in enumerate(old.calibrations)))
        traces = list(self.traces.values())
        by_session = {
            s: with_rule([t for u, t in self.traces.items() if self.sessions[u] == s], chosen)
            for s in dict.fromkeys(self.sessions.values())
        }
        report = replace(
            self._view.report,
            version=detector.version,
            calibration=chosen,
            scores=with_rule(traces, chosen),
            left_out=leave_one_out(traces),
            by_session=by_session,
            mistakes=worst_mistakes(list(self.traces), traces, chosen.threshold),
        )
        detector.save(self._path, {REPORT: report.to_json()}, {PLOT: lambda path: plot(path, report, traces)})
        self.chosen = chosen
        self._view.detector, self._view.report = detector, report

    def table(self) -> str:
        """Return the table that the terminal shows."""
        c, rate = self.chosen, self.report.rate_hz
        version, rule = self._view.detector.version, f"{c.hold} of {c.frames} frames"
        head = f"classifier {version}, {len(self.traces)} held-out episodes, {rule}"
        lines = [head, "  threshold   false successes   missed         median delay"]
        for threshold in sorted({*SHOWN, c.threshold}):
            s = self.scores(self.moved(threshold, c.hold, c.frames))
            delay = sorted(s.delays_frames)[len(s.delays_frames) // 2] / rate if s.delays_frames else float("nan")
            mark = "→" if threshold == c.threshold else " "
            lines.append(
                f"{mark} {threshold:<11.3f} {s.false_successes:<17} {s.missed:>3} of {s.successes:<7} {delay:.1f} s"
            )
        lines += [
            f"  surest mistake: episode {m.uuid[:8]}, frame {m.frame}: p {m.probability:.3f}, "
            f"{'marked' if m.marked else 'not marked'}"
            for m in self.mistakes()[:5]
        ]
        return "\n".join(lines)
