"""A small network that looks at one frame per camera and says how likely it is a success."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import draccus
import numpy as np
import torch
from torch import Tensor, nn

from classifier.frames import image_batch
from data.spec import CameraSpec, SpecMismatch, TaskSpec


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network; a strided stack per camera, whose small feature map is flattened."""

    channels: tuple[int, ...] = (16, 32, 32)  # per convolution; kernel 5 stride 4, then kernel 3 stride 2
    feature: int = 64  # per camera, after the flattened map
    hidden: int = 64  # of the head that sees all cameras


@dataclass(frozen=True)
class Augmentation:
    """What training does to a frame, and nothing else does."""

    shift_px: int = 4  # random shift, border pixels repeated
    brightness: float = 0.25  # ± of the full range, added to the whole image
    contrast: float = 0.25  # ± around the image's mean
    colour: float = 0.2  # ± gain of each colour channel
    noise: float = 0.01  # standard deviation, of the full range


@dataclass(frozen=True)
class ClassifierSpec:
    """What the weights were made for and how; saved beside them."""

    cameras: tuple[CameraSpec, ...]
    task_fingerprint: str
    architecture: Architecture = field(default_factory=Architecture)
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0

    @staticmethod
    def for_task(task: TaskSpec, seed: int = 0) -> ClassifierSpec:
        """A spec that looks through every camera of the task."""
        return ClassifierSpec(task.observation.cameras, task.fingerprint, seed=seed)

    def to_json(self) -> str:
        """Return the canonical JSON text of this spec."""
        return json.dumps(draccus.encode(self), sort_keys=True, indent=1)

    @staticmethod
    def from_json(text: str) -> ClassifierSpec:
        """Read back what `to_json` wrote; an unknown or missing key is an error."""
        return draccus.decode(ClassifierSpec, json.loads(text))

    def require_cameras(self, task: TaskSpec, what: str) -> None:
        """Raise `SpecMismatch` with a key-by-key diff unless the task shows these cameras the same way.

        Only the cameras that the classifier looks through are compared: a task may have more.
        """
        theirs = {c.name: c for c in task.observation.cameras}
        lines = []
        for ours in self.cameras:
            other = theirs.get(ours.name)
            for key in ("crop", "size_px"):
                session = getattr(other, key) if other else "(no such camera)"
                if session != getattr(ours, key):
                    lines.append(
                        f"  cameras.{ours.name}.{key}: this session has {session}, {what} has {getattr(ours, key)}"
                    )
        if lines:
            raise SpecMismatch(
                f"{what} was trained on other images:\n" + "\n".join(lines) + "\nStart this session with that "
                "crop and size, or train again with `hilserl classifier train`."
            )


class SuccessModel(nn.Module):
    """Convolutions per camera → flattened map (keeps where things are) → head → one logit."""

    def __init__(self, spec: ClassifierSpec) -> None:
        """Build with random weights drawn from `spec.seed`; the global generator is left as it was."""
        super().__init__()
        self.spec = spec
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            arch = spec.architecture
            self.encoders = nn.ModuleDict({c.name: _encoder(c.size_px, arch) for c in spec.cameras})
            self.head = nn.Sequential(
                nn.Linear(arch.feature * len(spec.cameras), arch.hidden), nn.SiLU(), nn.Linear(arch.hidden, 1)
            )

    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        """Return logits, float32 [B], for {camera: uint8 [B, H, W, 3]}."""
        features = []
        for name, encoder in self.encoders.items():
            planes = images[name].permute(0, 3, 1, 2).contiguous()  # twice as fast as strided, measured
            features.append(encoder(planes.to(torch.float32).div_(255.0).sub_(0.5)))
        return self.head(torch.cat(features, dim=-1)).squeeze(-1)

    @torch.inference_mode()
    def probabilities(self, images: Mapping[str, np.ndarray], chunk: int = 128) -> np.ndarray:
        """Return p(success), float64 [N], for {camera: uint8 [N, H, W, 3]}; no augmentation, no debounce."""
        count = len(next(iter(images.values())))
        logits = [
            self(image_batch({c.name: images[c.name][i : i + chunk] for c in self.spec.cameras}))
            for i in range(0, count, chunk)
        ]
        # float64, because float32 rounds every confident logit above 17 to exactly 1
        return torch.cat(logits).double().sigmoid().numpy()


def _encoder(size_px: int, arch: Architecture) -> nn.Sequential:
    """Image → feature vector, with GroupNorm: a frame scores the same alone and in a batch."""
    layers: list[nn.Module] = []
    side, before = size_px, 3
    for i, channels in enumerate(arch.channels):
        kernel, stride = (5, 4) if i == 0 else (3, 2)
        layers += [
            nn.Conv2d(before, channels, kernel, stride, kernel // 2),
            nn.GroupNorm(4, channels),
            nn.SiLU(),
        ]
        side, before = (side - 1) // stride + 1, channels
    layers += [
        nn.Flatten(),
        nn.Linear(before * side * side, arch.feature),
        nn.LayerNorm(arch.feature),
        nn.SiLU(),
    ]
    return nn.Sequential(*layers)
