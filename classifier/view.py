"""What a classifier says of stored episodes: a view beside what they hold, kept per version."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from classifier.detector import REPORT, SuccessDetector
from classifier.events import Trace
from classifier.frames import marks, unsure
from classifier.report import DetectorReport
from data.schema import Episode
from data.spec import TaskSpec
from data.store.derived import derived


class ClassifierView:
    """A detector and the episodes that each of its networks has not learned from."""

    def __init__(self, path: Path, task: TaskSpec) -> None:
        """Read a detector folder; raises as `SuccessDetector.load`."""
        self.detector = SuccessDetector.load(path, task)
        self.report = DetectorReport.read(path / REPORT)
        self._part = {uuid: k for k, part in enumerate(self.report.train.parts) for uuid in part}

    def probabilities(self, folder: Path, episode: Episode) -> np.ndarray:
        """Return the calibrated probability of every output in every frame, float64 [T+1, outputs].

        In an episode that was trained on, by the one network that has not learned from it.

        Args:
            folder: of the store or merge; what was computed is kept there.
            episode: of that store.
        """
        detector, uuid = self.detector, episode.meta.uuid
        cameras = [c.name for c in detector.model.spec.cameras]

        def make() -> np.ndarray:
            every = detector.model.logits({c: episode.images[c] for c in cameras}, episode.state)
            logits = every[self._part[uuid]] if uuid in self._part else every.mean(0)
            return detector.calibrated(logits, episode.state)

        shape = len(episode) + 1, len(detector.calibrations)
        return derived(folder, f"classifier-{detector.version}", uuid, shape, make)

    def trace(self, folder: Path, episode: Episode) -> Trace:
        """Return what it says of success in an episode, beside what the person said."""
        names = self.detector.model.spec.outputs
        at = names.index("success")
        probability = self.probabilities(folder, episode)[:, at]
        return Trace(probability, marks(episode, names)[:, at], unsure(episode, names))

    def fires_at(self, folder: Path, episode: Episode) -> int:
        """Return the first step (from 1) after which the detector says success; 0 when it never does."""
        self.detector.reset()
        for step, p in enumerate(
            self.probabilities(folder, episode)[1:], 1
        ):  # as in the actor: the first frame is not judged
            if self.detector.judge(p).success:
                return step
        return 0
