"""The labels of a run as the label page sees and changes them. Everything that changes is an entry in the sidecar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from classifier.report import worst_mistakes
from classifier.view import ClassifierView
from data.errors import UserError
from data.labels import from_mask, normalised, to_mask
from data.schema import Episode, Outcome
from data.store.annotations import SUCCESS, UNSURE, Verdict
from data.store.commit_log import Commit
from data.store.reader import AnnotatedReader

COLUMNS = 10  # frames in a row of a film
WHY = "label page"
QUALITY = 88


class LabelSet:
    """The labelled episodes of one store, and what a classifier thinks of them."""

    def __init__(
        self, reader: AnnotatedReader, stages: tuple[str, ...] = (), view: ClassifierView | None = None
    ) -> None:
        self._reader, self._view = reader, view
        self.names = tuple(dict.fromkeys([*stages, SUCCESS, UNSURE]))
        self._made: list[list[int]] = []  # numbers of the entries of each change, the newest last
        self.episode = lru_cache(maxsize=4)(self._read)

    def commits(self) -> list[Commit]:
        """Return the episodes that are shown: those recorded for labels, those labelled since; dropped ones, too."""
        verdicts = self._reader.annotations.verdicts()
        return [
            c
            for c in self._reader.source.commits()
            if c.outcome != Outcome.ABORTED and (c.kind == "labels" or verdicts.get(c.uuid, Verdict()).labels)
        ]

    def overview(self) -> dict[str, Any]:
        """Return everything that the page shows but the frames; JSON."""
        rule = self._view.detector.calibration if self._view else None
        return {
            "names": self.names,
            "cameras": [c.name for c in self._reader.spec.observation.cameras],
            "size_px": {c.name: c.size_px for c in self._reader.spec.observation.cameras},
            "columns": COLUMNS,
            "rate_hz": self._reader.spec.rate_hz,
            "threshold": rule.threshold if rule else None,
            "classifier": self.version or None,
            "episodes": [self.describe(c) for c in self.commits()],
            "can_undo": bool(self._made),
        }

    def describe(self, commit: Commit) -> dict[str, Any]:
        """Return one episode: its labels as half-open intervals, and p(success) where there is a classifier."""
        verdict = self._reader.annotations.verdicts().get(commit.uuid, Verdict())
        episode = verdict.apply(self.episode(commit.uuid))
        labels = {**{n: from_mask(m) for n, m in episode.labels.items()}, SUCCESS: from_mask(episode.marked_success)}
        trace = self._view.trace(self._reader.path, episode) if self._view else None
        wrong = []
        if trace and self._view:
            threshold = self._view.detector.calibration.threshold
            wrong = [m.frame for m in worst_mistakes([commit.uuid], [trace], threshold)]
        return {
            "uuid": commit.uuid,
            "index": commit.index,
            "frames": commit.steps + 1,
            "session": commit.session,
            "shows": commit.notes.get("shows", ""),
            "labels": {n: labels.get(n, ()) for n in self.names},
            "edited": bool(verdict.labels),
            "dropped": verdict.excluded is not None,
            "p": None if trace is None else np.round(trace.probability, 3).tolist(),
            "disagree": wrong,
        }

    @property
    def version(self) -> str:
        """Version of the classifier whose opinion is shown; "" without one."""
        return self._view.detector.version if self._view else ""

    def find(self, uuid: str) -> dict[str, Any]:
        """Return one episode as `describe` does."""
        return self.describe(self._reader.find(uuid))

    def film(self, uuid: str, camera: str) -> bytes:
        """Return all frames of a camera as one JPEG, `COLUMNS` a row, in the model's own size."""
        frames = self.episode(uuid).images[camera]
        rows, side = -(-len(frames) // COLUMNS), frames.shape[1]
        sheet = np.zeros((rows * side, COLUMNS * side, 3), np.uint8)
        for k, frame in enumerate(frames):
            y, x = divmod(k, COLUMNS)
            sheet[y * side : (y + 1) * side, x * side : (x + 1) * side] = frame
        return cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()

    def change(self, uuid: str, label: str, intervals: Iterable[Sequence[int]]) -> dict[str, Any]:
        """Put a label on these frames and no others.

        Raises:
            UserError: an unknown label, or intervals that leave the episode.
        """
        commit = self._reader.find(uuid)
        if label not in self.names:
            raise UserError(f"there is no label {label!r}; accepted are {', '.join(self.names)}")
        try:
            tidy = normalised((int(a), int(b)) for a, b in intervals)
            to_mask(tidy, commit.steps + 1)
        except (ValueError, TypeError) as error:
            raise UserError(f"these are no frames of episode {commit.index}: {error}") from error
        self._note(self._reader.annotations.relabel(uuid, tidy, WHY, label).number)
        return self.describe(commit)

    def drop(self, uuid: str) -> dict[str, Any]:
        """Leave an episode out, or take it in again."""
        commit = self._reader.find(uuid)
        excluded = self._reader.annotations.verdicts().get(uuid, Verdict()).excluded
        notes = self._reader.annotations
        self._note((notes.undo(excluded.number, WHY) if excluded else notes.exclude(uuid, WHY)).number)
        return self.describe(commit)

    def undo(self) -> dict[str, Any]:
        """Take the newest change of this page back.

        Raises:
            UserError: there is none.
        """
        if not self._made:
            raise UserError("there is nothing to undo: this page has changed nothing")
        numbers = self._made.pop()
        for number in numbers:
            entry = self._reader.annotations.undo(number, WHY)
        return self.describe(self._reader.find(entry.uuid))

    def _note(self, *numbers: int) -> None:
        self._made.append(list(numbers))

    def _read(self, uuid: str) -> Episode:
        return self._reader.source.read(self._reader.find(uuid))
