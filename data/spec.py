"""The contract between simulation, arm, store, classifier and policy, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import draccus

from data.errors import UserError

RESET_TOLERANCE_M = 0.005  # a reset ends this near to its start pose, by measurement


class SpecMismatch(UserError, ValueError):
    """Two artefacts that meet were made for different specs; the message lists the keys that differ."""


@dataclass(frozen=True)
class CameraSpec:
    """How a native camera frame becomes a model image."""

    name: str
    crop: tuple[float, float, float, float]  # top, left, height, width as fractions of the native frame
    size_px: int  # the crop is resized to size_px × size_px


@dataclass(frozen=True)
class StateField:
    """A named slice of the state vector. Only measured or commanded quantities have a field."""

    name: str
    size: int
    unit: str
    low: float  # physical range, used for fixed normalisation to [-1, 1]
    high: float


@dataclass(frozen=True)
class ObservationSpec:
    """What an observation holds; this list is the allow-list."""

    cameras: tuple[CameraSpec, ...]  # recorded; the classifier may use all of them
    policy_cameras: tuple[str, ...]  # the subset that the policy and the critics see
    state: tuple[StateField, ...]

    @property
    def state_dim(self) -> int:
        """Length D of the state vector."""
        return sum(f.size for f in self.state)


@dataclass(frozen=True)
class ActionSpec:
    """End-effector deltas x, y, z and an absolute gripper command, each in [-1, 1]."""

    names: tuple[str, ...] = ("dx", "dy", "dz", "gripper")
    step_m: float = 0.01  # commanded end-effector motion per unit and step
    leash_m: float = 0.04  # the commanded position leads the measured one by at most this
    gripper_closed_rad: float = -0.17
    gripper_open_rad: float = 0.65


@dataclass(frozen=True)
class TaskSpec:
    """Everything that has to be equal for a policy to mean the same thing on two arms."""

    name: str
    observation: ObservationSpec
    action: ActionSpec = field(default_factory=ActionSpec)
    rate_hz: float = 10.0
    inner_steps: int = 5  # goal positions written per step, interpolated linearly
    time_limit_steps: int = 80
    start_low_m: tuple[float, float, float] = (0.19, -0.05, 0.09)  # box of start positions, ee in base
    start_high_m: tuple[float, float, float] = (0.27, 0.05, 0.13)
    workspace_low_m: tuple[float, float, float] = (0.16, -0.14, 0.008)  # commanded ee in base
    workspace_high_m: tuple[float, float, float] = (0.31, 0.14, 0.20)
    wrist_roll_rad: float = 1.5707963  # locked; the fingers close along y

    def __post_init__(self) -> None:
        """Raise UserError when the start box is so narrow that the reset's error decides where an episode starts."""
        for axis, low, high in zip("xyz", self.start_low_m, self.start_high_m, strict=True):
            if low != high and high - low < 3 * RESET_TOLERANCE_M:
                raise UserError(
                    f"task {self.name}: start positions span {1e3 * (high - low):.1f} mm in {axis}; a reset is exact "
                    f"to {1e3 * RESET_TOLERANCE_M:g} mm, so accepted are at least {3e3 * RESET_TOLERANCE_M:g} mm, or "
                    "one and the same value. Change start_low_m and start_high_m in the task's spec"
                )

    def to_json(self) -> str:
        """Return the canonical JSON text of this spec."""
        return json.dumps(draccus.encode(self), sort_keys=True, indent=1)

    @staticmethod
    def from_json(text: str) -> TaskSpec:
        """Read back what `to_json` wrote; an unknown or missing key is an error."""
        return draccus.decode(TaskSpec, json.loads(text))

    @staticmethod
    def load(path: Path) -> TaskSpec:
        """Read a spec file."""
        return TaskSpec.from_json(Path(path).read_text())

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


def require_same(expected: TaskSpec, found: TaskSpec, what: str) -> None:
    """Raise `SpecMismatch` with a key-by-key diff unless both specs are equal."""
    if expected.fingerprint == found.fingerprint:
        return
    lines = difference(json.loads(expected.to_json()), json.loads(found.to_json()), "this session", what)
    raise SpecMismatch(
        f"{what} was made for another task spec:\n" + "\n".join(lines) + "\nUse one that was "
        "made for this spec, or make it again: hilserl pretrain, hilserl record, hilserl classifier train."
    )


def difference(ours: object, theirs: object, we: str, they: str) -> list[str]:
    """Return one line for each key in which two JSON values differ; [] when they are equal."""
    mine, other = _flat(ours), _flat(theirs)
    return [
        f"  {k}: {we} has {mine.get(k, '(absent)')}, {they} has {other.get(k, '(absent)')}"
        for k in sorted(mine.keys() | other.keys())
        if mine.get(k) != other.get(k)
    ]


def _flat(tree: object, prefix: str = "") -> dict[str, object]:
    """Flatten nested JSON to {"a.b.0": leaf}."""
    if isinstance(tree, dict):
        items = list(tree.items())
    elif isinstance(tree, list):
        items = list(enumerate(tree))
    else:
        return {prefix.rstrip("."): tree}
    return {k: v for key, sub in items for k, v in _flat(sub, f"{prefix}{key}.").items()}
