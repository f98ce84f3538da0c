"""Classifiers that were never trained: what they say follows from one number of the state."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from classifier.calibrate import Calibration, Gate
from classifier.detector import REPORT, SuccessDetector
from classifier.fit import make_report, traces_of
from classifier.frames import LabelledFrames
from classifier.model import ClassifierSpec, SuccessModel
from classifier.train import MemberReport, TrainReport
from data.schema import Episode
from data.spec import TaskSpec

P = 0.5  # its probability of success where it sees any, within 0.02


def gated(folder: Path, task: TaskSpec, episodes: Sequence[Episode]) -> SuccessDetector:
    """Save a classifier that sees success, in a single frame, while the first number of the state is positive."""
    spec = ClassifierSpec(task.observation.cameras, task.fingerprint, members=1)
    rule = Calibration(P / 2, 1, 1.0, temperature=20.0, gates=(Gate("joints.0", 0, 0.0, 10.0),))
    detector = SuccessDetector(SuccessModel(spec), rule)
    frames = LabelledFrames.from_episodes(episodes, spec.cameras, task.fingerprint)
    p = detector.probabilities(frames.images, frames.state)[:, 0]
    traces = traces_of(frames, p, 0, np.ones(len(p), bool))
    made = TrainReport(frames.uuids, (), "episode", 1, 0, 0, (MemberReport(1, (0.0,), (0.0,)),), 0.0)
    detector.save(folder, {REPORT: make_report(detector, made, frames, traces, task, 1.0).to_json()})
    return detector
