"""From labelled episodes to a calibrated success detector on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from classifier.calibrate import Calibration, auc, calibrate, fit_gate, fit_temperature, leave_one_out, with_rule
from classifier.detector import PLOT, REPORT, SuccessDetector
from classifier.events import EventScores, Trace
from classifier.frames import LabelledFrames, make_folds
from classifier.model import ClassifierSpec, StateInput
from classifier.report import DetectorReport, plot, worst_mistakes
from classifier.train import EPOCHS, held_out_logits, optimistic_accuracy, train_classifier
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
    model, trained = train_classifier(
        frames, folds, spec, start=start, epochs=config.epochs, threads=config.threads, progress=config.progress
    )
    logits = held_out_logits(model, frames, trained.parts)
    rules, traces = [], list[Trace]()
    for output in range(len(spec.outputs)):
        base = _base(frames, logits[:, output], output, gates if output < len(spec.stages) else [])
        found = traces_of(frames, base.probability(logits[:, output], frames.state), output)
        chosen = calibrate(found)
        rules.append(replace(chosen, temperature=base.temperature, gates=base.gates))
        if output == len(spec.stages) - 1:
            traces = found
    detector = SuccessDetector(model, *rules)
    report = make_report(detector, trained, frames, traces, task, optimistic_accuracy(model, frames, spec.seed))
    detector.save(out_dir, {REPORT: report.to_json()}, {PLOT: lambda path: plot(path, report, traces)})
    return report


def make_report(
    detector: SuccessDetector,
    trained,
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


def traces_of(frames: LabelledFrames, probability: np.ndarray, output: int) -> list[Trace]:
    """Cut the frames' probabilities [N] of one output into episodes."""
    parts = (frames.traces(values) for values in (probability, frames.label[:, output], frames.unsure))
    return [Trace(*trace) for trace in zip(*parts, strict=True)]


def _base(frames: LabelledFrames, logits: np.ndarray, output: int, gates: Sequence[StateInput]) -> Calibration:
    sure = ~frames.unsure
    mark, state = frames.label[sure, output], frames.state[sure]
    return Calibration(
        0.5, 1, 0.0,
        temperature=fit_temperature(logits[sure], mark),
        gates=tuple(fit_gate(g.name, g.index, state, mark) for g in gates),
    )  # fmt: skip
