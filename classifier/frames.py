"""Labelled frames from episodes, the split by episode, and the one way frames become a model's input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from data.errors import UserError
from data.schema import Episode, Outcome
from data.spec import CameraSpec, SpecMismatch

HELD_OUT_FRACTION = 0.25  # of the positive and of the negative episodes, rounded up
MIN_EPISODES_PER_CLASS = 2  # one to learn from, one to be judged on
UNSURE_FRAMES = 1  # either side of a label edge: the operator's reaction time

RECORD_MORE = "Record more with `hilserl record --purpose=classifier` (aim: 10 successes, 10 failures or near misses)."


class TooFewLabels(UserError, ValueError):
    """There are not enough labelled episodes to train on some and be judged on others."""


@dataclass(frozen=True)
class LabelledFrames:
    """The frames of all episodes, N in total, in order, with the operator's marks."""

    images: Mapping[str, np.ndarray]  # {camera: uint8 [N, H, W, 3]} RGB
    label: np.ndarray  # bool [N], the operator held the success button
    unsure: np.ndarray  # bool [N], next to a label edge: not trained on, but judged
    episode: np.ndarray  # int64 [N], index into `uuids`
    uuids: tuple[str, ...]  # of the E episodes
    skipped_aborted: int = 0  # episodes left out because they were aborted

    @staticmethod
    def from_episodes(episodes: Sequence[Episode], cameras: Sequence[CameraSpec], fingerprint: str) -> LabelledFrames:
        """Gather the frames of `cameras`; aborted episodes are left out.

        Raises:
            TooFewLabels: no episode is left.
            SpecMismatch: an episode was recorded for another task spec than `fingerprint`.
            ValueError: an episode occurs twice (it could leak across the split), or has the wrong images.
        """
        kept = [e for e in episodes if e.meta.outcome is not Outcome.ABORTED]
        if not kept:
            raise TooFewLabels(f"found {len(episodes)} episodes, all aborted or none at all. {RECORD_MORE}")
        uuids = tuple(e.meta.uuid for e in kept)
        if len(set(uuids)) != len(uuids):
            twice = sorted({u for u in uuids if uuids.count(u) > 1})
            raise ValueError(f"episodes occur twice: {', '.join(twice[:5])}. Name each recording folder once.")
        foreign = sorted({e.meta.spec_fingerprint for e in kept} - {fingerprint})
        if foreign:
            raise SpecMismatch(
                f"episodes were recorded for task spec {', '.join(foreign)}, this session has {fingerprint}. "
                "Record again with this spec: hilserl record --purpose=classifier"
            )
        for episode in kept:
            require_images(episode.images, cameras, f"episode {episode.meta.uuid}")
        return LabelledFrames(
            images={c.name: np.concatenate([e.images[c.name] for e in kept]) for c in cameras},
            label=np.concatenate([e.marked_success for e in kept]).astype(bool),
            unsure=np.concatenate([_next_to_edge(e.marked_success) for e in kept]),
            episode=np.repeat(np.arange(len(kept)), [len(e.marked_success) for e in kept]),
            uuids=uuids,
            skipped_aborted=len(episodes) - len(kept),
        )

    def rows(self, episodes: Sequence[int], *, sure_only: bool = False) -> np.ndarray:
        """Return the frame indices (int64 [n]) of these episodes."""
        return np.flatnonzero(np.isin(self.episode, list(episodes)) & ~(self.unsure & sure_only))

    def batch(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """Return the model input for these frames: {camera: uint8 [B, H, W, 3]}."""
        return image_batch({name: images[rows] for name, images in self.images.items()})


@dataclass(frozen=True)
class Split:
    """Which episodes are learned from and which are only judged on; they share none."""

    train: tuple[int, ...]
    held_out: tuple[int, ...]


def split_by_episode(frames: LabelledFrames, seed: int) -> Split:
    """Hold out whole episodes, at least a quarter; both parts get episodes with and without success.

    Adjacent frames are near copies, so a split by frame would judge the model on what it has seen
    (research/real_robot_lessons.md, lesson 90). Same frames and seed, same split.

    Raises:
        TooFewLabels: fewer than two episodes with, or without, a marked success; says what was found.
    """
    rng = np.random.default_rng(seed)
    marked = np.bincount(frames.episode, weights=frames.label, minlength=len(frames.uuids)) > 0
    groups = [np.flatnonzero(marked), np.flatnonzero(~marked)]
    if min(len(g) for g in groups) < MIN_EPISODES_PER_CLASS:
        raise TooFewLabels(
            f"found {len(groups[0])} episodes with a marked success and {len(groups[1])} without "
            f"({frames.skipped_aborted} aborted ones not counted); at least {MIN_EPISODES_PER_CLASS} of each "
            f"are needed, to train on some and judge on others. {RECORD_MORE}"
        )
    train: list[int] = []
    held_out: list[int] = []
    for group in groups:
        order = [int(i) for i in rng.permutation(group)]
        count = int(np.ceil(HELD_OUT_FRACTION * len(order)))
        held_out += order[:count]
        train += order[count:]
    return Split(tuple(sorted(train)), tuple(sorted(held_out)))


def require_images(images: Mapping[str, np.ndarray], cameras: Sequence[CameraSpec], what: str) -> None:
    """Raise ValueError unless every camera is there as uint8 [..., size_px, size_px, 3]."""
    for camera in cameras:
        if camera.name not in images:
            raise ValueError(f"{what} has no camera {camera.name!r}; it has {', '.join(images) or 'none'}")
        found, side = images[camera.name], camera.size_px
        if found.dtype != np.uint8 or found.shape[-3:] != (side, side, 3):
            raise ValueError(
                f"{what}, camera {camera.name!r}: found {found.dtype} {list(found.shape)}, accepted is "
                f"uint8 [..., {side}, {side}, 3]. Use a camera of the size that the task spec names."
            )


def image_batch(images: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Copy uint8 [B, H, W, 3] arrays to tensors, unchanged; training, calibration and detector pass here."""
    return {name: torch.from_numpy(np.array(array, np.uint8, order="C")) for name, array in images.items()}


def _next_to_edge(marks: np.ndarray) -> np.ndarray:
    """Frames within `UNSURE_FRAMES` of a change of the mark, bool [T+1]; never across episodes."""
    near = np.zeros(len(marks), bool)
    for edge in np.flatnonzero(np.diff(marks.astype(np.int8))):  # the change is between `edge` and `edge + 1`
        near[max(0, edge + 1 - UNSURE_FRAMES) : edge + 1 + UNSURE_FRAMES] = True
    return near
