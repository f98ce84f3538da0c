"""The records that flow through the project: observation, transition, episode. Frozen, with shapes and units."""

from __future__ import annotations

import uuid as uuid_module
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

import numpy as np

SCHEMA_VERSION = 2


class Source(IntEnum):
    """Who chose the executed action of a step."""

    POLICY = 0
    HUMAN = 1
    EXPERT = 2
    HOLD = 3  # nobody: the arm held its pose


class Outcome(StrEnum):
    """How an episode ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    TIMEOUT = "timeout"
    ABORTED = "aborted"  # operator stop, a fault or a crash: kept, never counted


@dataclass(frozen=True)
class Observation:
    """What the policy may know at one instant: one bus read and one frame per camera."""

    images: Mapping[str, np.ndarray]  # {camera: uint8 [H, W, 3]} RGB, cropped and resized
    state: np.ndarray  # float32 [D], fields of `ObservationSpec.state`
    stamp_s: float  # monotonic clock of the bus read
    native: Mapping[str, np.ndarray] = field(default_factory=dict)  # {camera: uint8 [H', W', 3]} as the camera gave it


@dataclass(frozen=True)
class Transition:
    """One control step, as executed after safety, and the observation it led to."""

    proposed: np.ndarray  # float32 [A] in [-1, 1]; what the source asked for
    executed: np.ndarray  # float32 [A] in [-1, 1]; what the arm was told, in the same space
    source: Source
    next_observation: Observation
    reward: float  # 1.0 exactly once, on success
    terminated: bool  # success or failure: do not bootstrap
    truncated: bool  # time limit or operator stop: bootstrap from the true last frame
    p_success: float  # detector's probability on `next_observation`; NaN without a detector
    policy_version: int  # version of the weights that proposed; -1 when no policy did
    marked_success: bool = False  # the operator held the success button on `next_observation`


@dataclass(frozen=True)
class EpisodeMeta:
    """What is true of an episode as a whole. Everything here is JSON."""

    outcome: Outcome
    kind: str  # the stage it was recorded for: "baseline", "online", "eval-before", "labels", ...
    spec_fingerprint: str
    uuid: str = field(default_factory=lambda: uuid_module.uuid4().hex)
    session: str = ""  # one stretch of work by one process: what a split by session keeps apart
    detector_version: str = ""  # empty: success came from the operator's button
    salvaged: bool = False  # rebuilt from the journal after a crash
    started_unix_s: float = 0.0
    notes: Mapping[str, str | float | int | bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Episode:
    """One whole contiguous episode: T transitions over T+1 observations.

    The next observation of step t is row t+1 of the same episode; it is never stored twice.
    """

    images: Mapping[str, np.ndarray]  # {camera: uint8 [T+1, H, W, 3]}
    state: np.ndarray  # float32 [T+1, D]
    stamp_s: np.ndarray  # float64 [T+1]
    marked_success: np.ndarray  # bool [T+1]
    proposed: np.ndarray  # float32 [T, A]
    executed: np.ndarray  # float32 [T, A]
    source: np.ndarray  # uint8 [T], values of `Source`
    reward: np.ndarray  # float32 [T]
    terminated: np.ndarray  # bool [T]
    truncated: np.ndarray  # bool [T]
    p_success: np.ndarray  # float32 [T]
    policy_version: np.ndarray  # int64 [T]
    meta: EpisodeMeta
    native: Mapping[str, np.ndarray] = field(
        default_factory=dict
    )  # {camera: uint8 [T+1, H', W', 3]}, when kept and asked for
    labels: Mapping[str, np.ndarray] = field(
        default_factory=dict
    )  # {name: bool [T+1]}, what was labelled later, e.g. unsure or a stage of the task; kept in the annotations

    def __len__(self) -> int:
        """Number of transitions T."""
        return len(self.executed)

    @staticmethod
    def from_steps(first: Observation, steps: Sequence[Transition], meta: EpisodeMeta) -> Episode:
        """Stack a first observation and the transitions that followed it.

        Raises:
            ValueError: there is no step, or a step before the last one ends the episode.
        """
        if not steps:
            raise ValueError("an episode needs at least one transition; discard it instead")
        if any(s.terminated or s.truncated for s in steps[:-1]):
            raise ValueError("only the last transition of an episode may terminate or truncate it")
        observations = [first, *(s.next_observation for s in steps)]
        return Episode(
            images={c: np.stack([o.images[c] for o in observations]) for c in first.images},
            native={c: np.stack([o.native[c] for o in observations]) for c in first.native},
            state=np.stack([o.state for o in observations]).astype(np.float32),
            stamp_s=np.array([o.stamp_s for o in observations]),
            marked_success=np.array([False, *(s.marked_success for s in steps)]),
            proposed=np.stack([s.proposed for s in steps]).astype(np.float32),
            executed=np.stack([s.executed for s in steps]).astype(np.float32),
            source=np.array([s.source for s in steps], np.uint8),
            reward=np.array([s.reward for s in steps], np.float32),
            terminated=np.array([s.terminated for s in steps]),
            truncated=np.array([s.truncated for s in steps]),
            p_success=np.array([s.p_success for s in steps], np.float32),
            policy_version=np.array([s.policy_version for s in steps], np.int64),
            meta=meta,
        )
