"""From labelled episodes to a calibrated success detector on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from classifier.calibrate import Calibration, Gate, auc, calibrate, fit_gate, fit_temperature, leave_one_out, with_rule
from classifier.detector import PLOT, REPORT, SuccessDetector
from classifier.events import EventScores, Trace
from classifier.frames import Folds, LabelledFrames, make_folds, turns
from classifier.model import ClassifierSpec, StateInput
from classifier.report import DetectorReport, plot, worst_mistakes
from classifier.train import EPOCHS, TrainReport, held_out_logits, optimistic_accuracy, train_classifier
from data.errors import UserError
from data.schema import Episode
from data.spec import TaskSpec


@dataclass(frozen=True)
class FitConfig:
    """How a detector is made."""

    gate: tuple[str, ...] = ("joint_position.5", "ee_in_base.2")  # state whose range in the marked frames is required
    epochs: int = EPOCHS
    threads: int = 1  # networks that are trained at once
    progress: bool = True


def fit_detector(
    episodes: Sequence[Episode],
    task: TaskSpec,
    spec: ClassifierSpec,
    out_dir: Path,
    config: FitConfig | None = None,
    start: Callable[[str], nn.Module] | None = None,
) -> DetectorReport:
    """Split, train, calibrate and save `out_dir` (detector.json, weights.safetensors, report.json, report.png).

    Every episode is judged by the one network that has not learned from it; the detector averages all of them.

    Args:
        episodes: labelled.
        task: what they show.
        spec: what the model looks at.
        out_dir: the detector's folder.
        config: how.
        start: returns the encoder to start from for a camera; None for random weights.

    Raises:
        TooFewLabels, CannotCalibrate, SpecMismatch, NoGradient, UserError: nothing is written.
    """
    config = config or FitConfig()
    gates = [StateInput.parse(name, task.observation) for name in config.gate]
    frames = LabelledFrames.from_episodes(episodes, spec.cameras, task.fingerprint, spec.outputs)
    folds = make_folds(frames, spec.members, spec.seed)
    if missing := [n for n, found in zip(spec.outputs, frames.label.T, strict=True) if not found.any()]:
        raise UserError(
            f"no frame is labelled {', '.join(missing)}. Label some: hilserl label --stages=[{','.join(missing)}] ..."
        )
    model, trained = train_classifier(
        frames, folds, spec, start=start, epochs=config.epochs, threads=config.threads, progress=config.progress
    )
    logits = held_out_logits(model, frames, trained.parts)
    rules, traces, stages = [], list[Trace](), len(spec.stages)
    after, counts = turns(frames, stages)
    for output in range(len(spec.outputs)):
        sure = frames.rows(range(len(frames.uuids)), sure_only=True)
        sure = sure[counts[sure, output]]
        temperature = fit_temperature(logits[sure, output], frames.label[sure, output])
        gated = gates if output < stages else []
        p = _held_out(frames, folds, logits[:, output] / temperature, output, gated)
        found = traces_of(frames, p, output, counts[:, output])
        fitted = _fit_gates(frames, sure, output, gated)
        rules.append(replace(calibrate(found), temperature=temperature, gates=fitted, after=after[output]))
        if output == stages - 1:
            traces = found
    detector = SuccessDetector(model, *rules)
    report = make_report(detector, trained, frames, traces, task, optimistic_accuracy(model, frames, spec.seed))
    detector.save(out_dir, {REPORT: report.to_json()}, {PLOT: lambda path: plot(path, report, traces)})
    return report


def make_report(
    detector: SuccessDetector,
    trained: TrainReport,
    frames: LabelledFrames,
    traces: Sequence[Trace],
    task: TaskSpec,
    optimistic: float,
) -> DetectorReport:
    """Say how a detector does in held-out episodes."""
    chosen = detector.calibration
    p, mark = (np.concatenate([getattr(t, k)[~t.unsure] for t in traces]) for k in ("probability", "mark"))
    sessions: dict[str, EventScores] = {}
    for name in dict.fromkeys(frames.sessions):
        sessions[name] = with_rule([t for t, s in zip(traces, frames.sessions, strict=True) if s == name], chosen)
    return DetectorReport(
        version=detector.version,
        train=trained,
        calibration=chosen,
        scores=with_rule(traces, chosen),
        left_out=leave_one_out(traces),
        by_session=sessions,
        auc=auc(p, mark),
        accuracy=float(((p >= chosen.threshold) == mark).mean()),
        optimistic_accuracy=optimistic,
        mistakes=worst_mistakes(frames.uuids, traces, chosen.threshold),
        rate_hz=task.rate_hz,
        skipped_aborted=frames.skipped_aborted,
    )


def traces_of(frames: LabelledFrames, probability: np.ndarray, output: int, counts: np.ndarray) -> list[Trace]:
    """Cut the frames' probabilities [N] of one output into episodes; where it does not count [N], it never fires."""
    said = np.where(counts, probability, 0.0)
    parts = (frames.traces(values) for values in (said, frames.label[:, output], frames.unsure))
    return [Trace(*trace) for trace in zip(*parts, strict=True)]


def _held_out(
    frames: LabelledFrames, folds: Folds, logits: np.ndarray, output: int, gates: Sequence[StateInput]
) -> np.ndarray:
    """Return the probability [N] of each frame, with gates from the episodes that its network learned from."""
    out = np.empty(len(logits))
    for k, part in enumerate(folds.held_out):
        rows, known = frames.rows(part), frames.rows(folds.trained_on(k), sure_only=True)
        rule = Calibration(0.5, 1, 0.0, gates=_fit_gates(frames, known, output, gates))
        out[rows] = rule.probability(logits[rows], frames.state[rows])
    return out


def _fit_gates(frames: LabelledFrames, rows: np.ndarray, output: int, gates: Sequence[StateInput]) -> tuple[Gate, ...]:
    return tuple(fit_gate(g.name, g.index, frames.state[rows], frames.label[rows, output]) for g in gates)
