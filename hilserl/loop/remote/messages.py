"""Episodes and weights as messages, and back. Reading checks everything: what comes in may be anything.

An episode travels as its meta, its number of steps, and the bytes of its arrays. Their names, types and shapes are
not sent: they follow from the task spec, which both sides have compared. So the reader knows every size before the
first byte, no name or type from the network is ever looked up, and the store's own checksum covers the whole way.
Whole camera frames (`native`) stay where they were recorded; no learner reads them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numcodecs.zstd import Zstd

from data.schema import Episode, EpisodeMeta, Outcome
from data.spec import TaskSpec
from data.store.episode_codec import arrays_of, checksum, layout, meta_from_json, meta_to_json, require_valid_meta
from hilserl.loop.link import LearnerStatus
from hilserl.loop.remote.wire_pb2 import EpisodeHeader, EpisodePart, NewsPart, Status, Weights

PART_BYTES = 1 << 20  # gRPC takes messages of up to 4 MiB
MAX_BYTES = 1 << 30  # of one episode or of one file of weights: 10,000 steps of two cameras


class Incomplete(ValueError):
    """Something is missing or was changed on the way; sent again, it may arrive."""


def episode_parts(episode: Episode, learner: str) -> Iterator[EpisodePart]:
    """Yield an episode as messages for the learner with this id."""
    arrays = arrays_of(episode)
    yield EpisodePart(
        header=EpisodeHeader(
            learner=learner,
            meta_json=json.dumps(meta_to_json(episode.meta)),
            steps=len(episode),
            crc32=checksum(arrays),
        )
    )
    content = b"".join(array.tobytes() for array in arrays.values())
    for start in range(0, len(content), PART_BYTES):
        yield EpisodePart(zstd=bytes(Zstd(level=1).encode(content[start : start + PART_BYTES])))


def read_episode(header: EpisodeHeader, parts: Iterable[EpisodePart], spec: TaskSpec) -> Episode:
    """Put an episode of `spec` together from its header and the parts after it.

    Raises:
        SpecMismatch, ValueError: it is none of this spec.
        Incomplete: parts are missing, too many or damaged.
    """
    meta = _read_meta(header.meta_json)
    require_valid_meta(meta, spec)
    wanted = layout(spec, header.steps)
    sizes = {name: np.dtype(dtype).itemsize * math.prod(shape) for name, (dtype, shape) in wanted.items()}
    total = sum(sizes.values())
    if header.steps == 0 or total > MAX_BYTES:
        raise ValueError(
            f"episode {meta.uuid} has {header.steps} steps; accepted are 1 or more, up to {MAX_BYTES} bytes"
        )
    content, filled = bytearray(total), 0
    for part in parts:
        target = memoryview(content)[filled : filled + PART_BYTES]
        try:
            Zstd().decode(part.zstd, target)  # never writes beyond its target, whatever a part claims to hold
        except (ValueError, RuntimeError) as error:
            raise Incomplete(f"episode {meta.uuid}: a part is damaged: {error}") from error
        filled += len(target)
    if filled < total:
        raise Incomplete(f"episode {meta.uuid}: {filled} of {total} bytes came")
    arrays: dict[str, Any] = {}
    start = 0
    for name, (dtype, shape) in wanted.items():
        arrays[name] = np.frombuffer(content, dtype, math.prod(shape), start).reshape(shape)
        start += sizes[name]
    if checksum(arrays) != header.crc32:
        raise Incomplete(f"episode {meta.uuid} is not what was sent: its checksum differs")
    images = {name: arrays.pop(name) for name in [*arrays] if name.startswith("images/")}
    return Episode(images={n.removeprefix("images/"): a for n, a in images.items()}, meta=meta, **arrays)


def weights_parts(content: bytes, sha256: str) -> Iterator[NewsPart]:
    """Yield a file of weights as messages."""
    for start in range(0, len(content), PART_BYTES):
        first = Weights(sha256=sha256, size=len(content)) if start == 0 else None
        yield NewsPart(weights=first, content=content[start : start + PART_BYTES])


class WeightsFile:
    """A file of weights that comes in part by part."""

    def __init__(self, announced: Weights) -> None:
        if announced.size > MAX_BYTES:
            raise Incomplete(f"weights of {announced.size} bytes; accepted are up to {MAX_BYTES}")
        self.sha256, self._size = announced.sha256, announced.size
        self._content, self._digest = bytearray(), hashlib.sha256()

    def add(self, content: bytes) -> bytes | None:
        """Take in the next part; return the whole file with the last one.

        Raises:
            Incomplete: it is not what was announced.
        """
        self._content += content
        self._digest.update(content)
        if len(self._content) < self._size:
            return None
        if len(self._content) > self._size or self._digest.hexdigest() != self.sha256:
            raise Incomplete("the weights are not what was sent: their hash differs")
        return bytes(self._content)


def to_status(status: LearnerStatus) -> Status:
    """Return a status as a message."""
    return Status(**{name: value for name, value in vars(status).items() if name != "unix_s"})


def from_status(status: Status) -> LearnerStatus:
    """Read back what `to_status` returned; who reports it here stamps it anew."""
    return LearnerStatus(status.phase, status.updates, status.debt, status.episodes, status.version)


def _read_meta(text: str) -> EpisodeMeta:
    """Read an episode's meta; JSON of another shape or type is a ValueError."""
    example = meta_to_json(EpisodeMeta(Outcome.ABORTED, kind="", spec_fingerprint=""))
    try:
        fields = json.loads(text)
        wrong = [n for n, v in example.items() if not isinstance(fields[n], (float, int) if v == 0.0 else type(v))]
        if wrong or fields.keys() != example.keys():
            raise ValueError(f"wrong fields: {wrong or sorted(fields.keys() ^ example.keys())}")
        return meta_from_json(fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"this is no meta of an episode: {error}") from error
