"""The one object that says "success": the actor, evaluation and preview all use it, debounce included."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import draccus
import torch
from safetensors.torch import load, save

from classifier.calibrate import Calibration
from classifier.frames import require_images
from classifier.model import ClassifierSpec, SuccessModel
from data.errors import UserError
from data.schema import Observation
from data.spec import TaskSpec

RECORD, WEIGHTS, REPORT = "detector.json", "weights.safetensors", "report.json"


@dataclass(frozen=True)
class Verdict:
    """What the detector says about one frame."""

    probability: float  # of this frame alone
    success: bool  # this and the frames held before it reach the threshold


class SuccessDetector:
    """Model, threshold and hold count. Call `reset` when an episode begins and `step` once per frame."""

    def __init__(self, model: SuccessModel, calibration: Calibration) -> None:
        """Wrap a trained model; its weights must not change afterwards."""
        self.model = model.eval()
        self.calibration = calibration
        self.version = _version(model, calibration)
        self._held = 0

    def reset(self) -> None:
        """Forget the frames held so far."""
        self._held = 0

    def step(self, observation: Observation) -> Verdict:
        """Judge the newest frame; raises ValueError when a camera is missing or has another size."""
        cameras = self.model.spec.cameras
        require_images(observation.images, cameras, "the observation")
        one = {c.name: observation.images[c.name][None] for c in cameras}
        return self.judge(float(self.model.probabilities(one)[0]))

    def judge(self, probability: float) -> Verdict:
        """Apply threshold and hold count to the next frame's probability; NaN counts as no success."""
        self._held = self._held + 1 if probability >= self.calibration.threshold else 0
        return Verdict(probability, self._held >= self.calibration.hold)

    def save(self, path: Path, extra: Mapping[str, str] | None = None) -> None:
        """Write a detector folder, complete or not at all; an earlier detector there is moved aside.

        Args:
            path: the folder, e.g. `runs/classifier`.
            extra: further text files, {name: content}.

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
                "calibration": draccus.encode(self.calibration),
                "version": self.version,
            }
            (temporary / WEIGHTS).write_bytes(save(_weights(self.model)))
            (temporary / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True))
            for name, text in (extra or {}).items():
                (temporary / name).write_text(text)
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
            UserError: there is no detector; says how to make one.
            SpecMismatch: the task shows one of its cameras with another crop or size; lists the differences.
            ValueError: weights and record do not belong together.
        """
        path = Path(path)
        if not (path / RECORD).exists():
            raise UserError(
                f"no detector in {path}; make one with: hilserl classifier train --output_dir={path.parent}"
            )
        record = json.loads((path / RECORD).read_text())
        spec = ClassifierSpec.from_json(json.dumps(record["spec"]))
        spec.require_cameras(task, f"the detector {path}")
        model = SuccessModel(spec)
        model.load_state_dict(load((path / WEIGHTS).read_bytes()))
        detector = SuccessDetector(model, draccus.decode(Calibration, record["calibration"]))
        if detector.version != record["version"]:
            raise ValueError(
                f"the weights in {path} are not those its {RECORD} was written for (version "
                f"{detector.version}, recorded {record['version']}); train again with "
                "`hilserl classifier train`"
            )
        return detector


def _weights(model: SuccessModel) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def _version(model: SuccessModel, calibration: Calibration) -> str:
    """First 16 hex digits of a hash over everything that changes a verdict."""
    digest = hashlib.sha256(json.dumps(draccus.encode(calibration), sort_keys=True).encode())
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
