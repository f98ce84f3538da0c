"""The one object that says "success": the actor, evaluation and preview all use it, debounce included."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import draccus
import numpy as np
import torch
from safetensors.torch import load, save

from classifier.calibrate import Calibration
from classifier.frames import require_images
from classifier.model import ClassifierSpec, SuccessModel
from data.errors import UserError
from data.schema import Observation
from data.spec import TaskSpec

RECORD, WEIGHTS, REPORT, PLOT = "detector.json", "weights.safetensors", "report.json", "report.png"


@dataclass(frozen=True)
class Verdict:
    """What the detector says about one frame."""

    probability: float  # of success, of this frame alone
    success: bool  # enough of the last frames reach the threshold, and every stage before was passed
    reached: bool = False  # this frame alone reaches the threshold
    stage: int = 0  # how many stages were passed; never falls within an episode
    failure: str = ""  # the failure it sees, e.g. fell
    drift: float = float("nan")  # how unlike the training frames this one is; 1: as the most unlike twentieth of them
    brightness: float = float("nan")  # of this frame over that of the training frames


class SuccessDetector:
    """Model and, for each of its outputs, threshold and hold count.

    Call `reset` when an episode begins and `step` once per frame. Stages are latched: the second counts from the frame
    after the first was passed, and success is to have passed them all.
    """

    def __init__(self, model: SuccessModel, *calibrations: Calibration) -> None:
        """Wrap a trained model; its weights must not change afterwards."""
        self.model = model.eval()
        self.calibrations = calibrations
        self.calibration = calibrations[len(model.spec.stages) - 1]  # of success
        self.version = _version(model, calibrations)
        self.reset()

    def at(self, threshold: float) -> SuccessDetector:
        """Return this detector with another threshold of success, which makes it another version."""
        moved = [replace(c, threshold=threshold) if c is self.calibration else c for c in self.calibrations]
        return SuccessDetector(self.model, *moved)

    def reset(self) -> None:
        """Forget the frames seen so far."""
        self._recent = [deque[bool](maxlen=c.frames) for c in self.calibrations]
        self._stage = 0

    def step(self, observation: Observation) -> Verdict:
        """Judge the newest frame; raises ValueError when a camera is missing or has another size."""
        cameras = self.model.spec.cameras
        require_images(observation.images, cameras, "the observation")
        one, state = {c.name: observation.images[c.name][None] for c in cameras}, observation.state[None]
        logits, embedding = self.model.look(one, state)
        verdict = self.judge(self.calibrated(logits.mean(0), state)[0])
        drift, brightness = self.model.drift(one, embedding)
        return replace(verdict, drift=float(drift[0]), brightness=float(brightness[0]))

    def probabilities(self, images: Mapping[str, np.ndarray], state: np.ndarray) -> np.ndarray:
        """Return the calibrated probability of every output, float64 [N, outputs], frame by frame."""
        return self.calibrated(self.model.logits(images, state).mean(0), state)

    def calibrated(self, logits: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Return probabilities [N, outputs] for logits [N, outputs] and states [N, D]."""
        return np.stack([c.probability(logits[:, i], state) for i, c in enumerate(self.calibrations)], 1)

    def judge(self, probabilities: Sequence[float] | np.ndarray) -> Verdict:
        """Apply thresholds and hold counts to the next frame's probability of each output; NaN counts as none."""
        stages, failure = len(self.model.spec.stages), ""
        begun = self._stage
        for i, (p, rule) in enumerate(zip(probabilities, self.calibrations, strict=True)):
            if begun < rule.after:
                continue  # not its turn
            self._recent[i].append(bool(p >= rule.threshold))
            fired = sum(self._recent[i]) >= rule.hold
            if i == begun and i < stages and fired and self._stage < stages - 1:
                self._stage += 1
            if i >= stages and fired:
                failure = failure or self.model.spec.failures[i - stages]
        last = stages - 1
        success = begun >= last and sum(self._recent[last]) >= self.calibrations[last].hold
        reached = bool(probabilities[last] >= self.calibrations[last].threshold)
        return Verdict(float(probabilities[last]), success, reached, stages if success else self._stage, failure)

    def save(
        self,
        path: Path,
        extra: Mapping[str, str] | None = None,
        drawn: Mapping[str, Callable[[Path], None]] | None = None,
    ) -> None:
        """Write a detector folder, complete or not at all; an earlier detector there is moved aside.

        Args:
            path: the folder, e.g. `runs/classifier`.
            extra: further text files, {name: content}.
            drawn: further files, {name: what writes it}.

        Raises:
            UserError: the folder exists, is not empty, and is not a detector.
        """
        path = Path(path)
        if path.is_dir() and any(path.iterdir()) and not (path / RECORD).exists():
            raise UserError(f"{path} exists and is not a detector; move it away, or choose another --output_dir")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            record = {
                "spec": draccus.encode(self.model.spec),
                "calibrations": [draccus.encode(c) for c in self.calibrations],
                "version": self.version,
            }
            (temporary / WEIGHTS).write_bytes(save(_weights(self.model)))
            (temporary / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True))
            for name, text in (extra or {}).items():
                (temporary / name).write_text(text)
            for name, draw in (drawn or {}).items():
                draw(temporary / name)
            if (path / RECORD).exists():
                os.rename(path, _free_name(path))
            os.rename(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    @staticmethod
    def load(path: Path, task: TaskSpec) -> SuccessDetector:
        """Read a detector folder for use on this task.

        Raises:
            UserError: there is no detector, or weights and record do not belong together; says how to make one.
            SpecMismatch: the task shows one of its cameras with another crop or size; lists the differences.
        """
        path = Path(path)
        train = f"hilserl classifier train --output_dir={path.parent}"
        if not (path / RECORD).exists():
            raise UserError(f"no detector in {path}; make one with: {train}")
        record = json.loads((path / RECORD).read_text())
        if "calibrations" not in record:
            raise UserError(f"{path} was made by an older version; train again: {train}")
        spec = ClassifierSpec.from_json(json.dumps(record["spec"]))
        spec.require_cameras(task, f"the detector {path}")
        model = SuccessModel(spec)
        model.load_state_dict(load((path / WEIGHTS).read_bytes()))
        detector = SuccessDetector(model, *(draccus.decode(Calibration, c) for c in record["calibrations"]))
        if detector.version != record["version"]:
            raise UserError(
                f"{path} is not what its {RECORD} was written for (version {detector.version}, recorded "
                f"{record['version']}): its weights were exchanged, or an older version made it. Train again: {train}"
            )
        return detector


def _weights(model: SuccessModel) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def _version(model: SuccessModel, calibrations: Sequence[Calibration]) -> str:
    """First 16 hex digits of a hash over everything that changes a verdict."""
    digest = hashlib.sha256(json.dumps([draccus.encode(c) for c in calibrations], sort_keys=True).encode())
    # decoded once, so that a crop typed as 0 and the 0.0 read back from disk are the same crop
    digest.update(ClassifierSpec.from_json(model.spec.to_json()).to_json().encode())
    for name, tensor in sorted(_weights(model).items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def _free_name(path: Path) -> Path:
    """`NAME.old-1`, or the next number that is free."""
    number = 1
    while (free := path.with_name(f"{path.name}.old-{number}")).exists():
        number += 1
    return free
