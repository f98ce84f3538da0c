"""Labelled frames from episodes, the split by session and episode, and the one way frames become a model's input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from data.errors import UserError
from data.schema import Episode, Outcome
from data.spec import CameraSpec, SpecMismatch

MIN_EPISODES_PER_CLASS = 2  # one to learn from, one to be judged on
UNSURE_FRAMES = 2  # either side of a label edge: reaction time, and the age of the frame
UNSURE = "unsure"
BLACK_SPREAD = 1.0  # standard deviation [grey levels] of an image that shows nothing

RECORD_MORE = "Record more with `hilserl record --purpose=classifier` (aim: 10 successes, 10 failures or near misses)."


class TooFewLabels(UserError, ValueError):
    """There are not enough labelled episodes to train on some and be judged on others."""


@dataclass(frozen=True)
class LabelledFrames:
    """The frames of all episodes, N in total, in order, with the operator's marks."""

    images: Mapping[str, np.ndarray]  # {camera: uint8 [N, H, W, 3]} RGB
    state: np.ndarray  # float32 [N, D]
    label: np.ndarray  # bool [N, outputs], what the operator marked: the stages, the last of them success; failures
    unsure: np.ndarray  # bool [N], next to a label edge, or said to be: neither trained on nor judged
    episode: np.ndarray  # int64 [N], index into `uuids`
    uuids: tuple[str, ...]  # of the E episodes
    sessions: tuple[str, ...]  # of the E episodes
    success: np.ndarray  # bool [N], that column of `label`
    skipped_aborted: int = 0  # episodes left out because they were aborted

    @staticmethod
    def from_episodes(
        episodes: Sequence[Episode],
        cameras: Sequence[CameraSpec],
        fingerprint: str,
        names: Sequence[str] = ("success",),
    ) -> LabelledFrames:
        """Gather the frames of `cameras` and the labels of these names; aborted episodes are left out.

        Raises:
            TooFewLabels: no episode is left.
            SpecMismatch: an episode was recorded for another task spec than `fingerprint`.
            UserError: a camera shows nothing in a whole episode.
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
            require_light(episode, cameras)
        return LabelledFrames(
            images={c.name: np.concatenate([e.images[c.name] for e in kept]) for c in cameras},
            state=np.concatenate([e.state for e in kept]),
            label=np.concatenate([marks(e, names) for e in kept]),
            unsure=np.concatenate([unsure(e, names) for e in kept]),
            episode=np.repeat(np.arange(len(kept)), [len(e.marked_success) for e in kept]),
            uuids=uuids,
            sessions=tuple(e.meta.session for e in kept),
            success=np.concatenate([e.marked_success for e in kept]).astype(bool),
            skipped_aborted=len(episodes) - len(kept),
        )

    def rows(self, episodes: Sequence[int], *, sure_only: bool = False) -> np.ndarray:
        """Return the frame indices (int64 [n]) of these episodes."""
        return np.flatnonzero(np.isin(self.episode, list(episodes)) & ~(self.unsure & sure_only))

    def batch(self, rows: np.ndarray) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Return the model input for these frames: {camera: uint8 [B, H, W, 3]} and the state [B, D]."""
        images = image_batch({name: images[rows] for name, images in self.images.items()})
        return images, torch.from_numpy(self.state[rows])

    def traces(self, values: np.ndarray) -> list[np.ndarray]:
        """Cut [N, ...] into the parts of the episodes."""
        return np.split(values, np.flatnonzero(np.diff(self.episode)) + 1)


def marks(episode: Episode, names: Sequence[str]) -> np.ndarray:
    """Return where each label is, bool [T+1, names]; what nobody labelled is not there."""
    nothing = np.zeros(len(episode.marked_success), bool)
    named = {**episode.labels, "success": episode.marked_success}
    return np.stack([named.get(name, nothing) for name in names], 1).astype(bool)


def unsure(episode: Episode, names: Sequence[str] = ("success",)) -> np.ndarray:
    """Return the frames that count neither way, bool [T+1]: next to an edge of a label, or labelled unsure."""
    near = [_next_to_edge(column) for column in marks(episode, names).T]
    return np.any([*near, episode.labels.get(UNSURE, near[0])], axis=0)


class Turns(NamedTuple):
    """When each output of a staged classifier is looked at."""

    after: tuple[int, ...]  # how many stages have to be passed before
    counts: np.ndarray  # bool [N, outputs], the frames that it learns from and is judged on


def turns(frames: LabelledFrames, stages: int) -> Turns:
    """Return the turns of labelled frames whose first `stages` labels are stages, and the others failures.

    A stage comes after those before it, and learns from all that it is not. A failure comes after the stages that
    were passed wherever it was labelled, and before that the same picture is none: what has fallen looks as it did
    before it was grasped, while an object that was pushed off the table may be lost at any time.
    """
    parts = [(passed(label[:, :stages]), label) for label in frames.traces(frames.label)]
    after = list(range(stages))
    for output in range(stages, frames.label.shape[1]):
        begun = [int(count[label[:, output].argmax()]) for count, label in parts if label[:, output].any()]
        after.append(min([stages - 1, *begun]))
    begins = np.where(np.arange(len(after)) < stages, 0, after)
    return Turns(tuple(after), np.concatenate([count[:, None] >= begins for count, _ in parts]))


def passed(marked: np.ndarray) -> np.ndarray:
    """Return how many stages, bool [T+1, stages], have begun by each frame, one after the other; int [T+1]."""
    return np.logical_and.accumulate(np.logical_or.accumulate(marked, 0), 1).sum(1)


@dataclass(frozen=True)
class Folds:
    """The parts that are held out in turn; no episode, and no session if possible, is in two of them."""

    held_out: tuple[tuple[int, ...], ...]  # episodes of each part
    by: str  # "session" or "episode"

    def trained_on(self, part: int) -> list[int]:
        """Return the episodes that the network of this part learns from."""
        return sorted(e for k, episodes in enumerate(self.held_out) if k != part for e in episodes)


def make_folds(frames: LabelledFrames, parts: int, seed: int) -> Folds:
    """Divide the episodes into parts, each with and without success, whole sessions where they suffice.

    Adjacent frames are near copies and a session has one light, so a split by frame would judge the model on what it
    has seen (research/real_robot_lessons.md, lesson 90). Same frames and seed, same parts.

    Raises:
        TooFewLabels: fewer than two episodes with, or without, a marked success; says what was found.
    """
    rng = np.random.default_rng(seed)
    marked = np.bincount(frames.episode, weights=frames.success, minlength=len(frames.uuids)) > 0
    groups = [np.flatnonzero(marked), np.flatnonzero(~marked)]
    if min(len(g) for g in groups) < MIN_EPISODES_PER_CLASS:
        raise TooFewLabels(
            f"found {len(groups[0])} episodes with a marked success and {len(groups[1])} without "
            f"({frames.skipped_aborted} aborted ones not counted); at least {MIN_EPISODES_PER_CLASS} of each "
            f"are needed, to train on some and judge on others. {RECORD_MORE}"
        )
    by_session = _by_session(frames, marked, parts)
    if by_session is not None:
        return Folds(by_session, "session")
    held: list[list[int]] = [[] for _ in range(min(parts, *(len(g) for g in groups)))]
    for group in groups:
        for place, episode in enumerate(rng.permutation(group)):
            held[place % len(held)].append(int(episode))
    return Folds(tuple(tuple(sorted(h)) for h in held), "episode")


def _by_session(frames: LabelledFrames, marked: np.ndarray, parts: int) -> tuple[tuple[int, ...], ...] | None:
    """Whole sessions, the largest first into the smallest part; None where a network would learn from too little."""
    members: dict[str, list[int]] = {}
    for episode, session in enumerate(frames.sessions):
        members.setdefault(session, []).append(episode)
    held: list[list[int]] = [[] for _ in range(min(parts, len(members)))]
    for episodes in sorted(members.values(), key=len, reverse=True):
        min(held, key=len).extend(episodes)
    for part in held:
        rest = np.setdiff1d(np.arange(len(marked)), part)
        if len(rest) < len(marked) / 2 or any(len(set(marked[s].tolist())) < 2 for s in (rest, np.array(part))):
            return None
    return tuple(tuple(sorted(p)) for p in held)


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


def require_light(episode: Episode, cameras: Sequence[CameraSpec]) -> None:
    """Raise UserError when a camera shows one flat colour, black for example, in a whole episode."""
    for camera in cameras:
        images = episode.images[camera.name]
        if images[:: max(1, len(images) // 8)].std(axis=(1, 2, 3)).max() < BLACK_SPREAD:
            uuid = episode.meta.uuid
            raise UserError(
                f"episode {uuid}: camera {camera.name!r} shows one flat colour throughout (mean {images.mean():.0f} of "
                "255); accepted are pictures. Is its cover on, or its exposure wrong? Leave the episode out: "
                f"hilserl data exclude RUN --episode={uuid} --why='black frames'"
            )


def image_batch(images: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Copy uint8 [B, H, W, 3] arrays to tensors, unchanged; training, calibration and detector pass here."""
    return {name: torch.from_numpy(np.array(array, np.uint8, order="C")) for name, array in images.items()}


def _next_to_edge(marked: np.ndarray) -> np.ndarray:
    """Frames within `UNSURE_FRAMES` of a change of the mark, bool [T+1]; never across episodes."""
    near = np.zeros(len(marked), bool)
    for edge in np.flatnonzero(np.diff(marked.astype(np.int8))):  # the change is between `edge` and `edge + 1`
        near[max(0, edge + 1 - UNSURE_FRAMES) : edge + 1 + UNSURE_FRAMES] = True
    return near
