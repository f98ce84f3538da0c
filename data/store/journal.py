"""The journal of the episode in progress: written every step, read only after a crash.

A record is `<length, crc32> <header length> <JSON header> <raw array bytes>`; the header names dtype and
shape of each array. Records reach the operating system at once, so that killing the process loses at most the
step being written; they are not fsynced, because a control tick must not wait for the disk.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import DiskRefused
from data.schema import Episode, EpisodeMeta, Observation, Outcome, Source, Transition
from data.store.episode_codec import meta_from_json, meta_to_json

_FRAME = struct.Struct("<II")  # payload length, crc32 of the payload
_HEADER = struct.Struct("<I")  # length of the JSON header


class Journal:
    """Made by `EpisodeStore.journal`. Owned by the thread that runs the episode."""

    def __init__(self, path: Path, first: Observation, meta: EpisodeMeta) -> None:
        self.path = path
        self.uuid = meta.uuid
        self._ended = False
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - open for as long as the episode runs
        self._size = 0
        try:
            self._write(_observation_arrays(first), {"meta": meta_to_json(meta)})
        except BaseException:
            self.discard()
            raise

    def add(self, transition: Transition) -> None:
        """Append one step.

        Raises:
            ValueError: the journal is closed, or its last step ended the episode.
            DiskRefused: the steps before this one are safe.
        """
        if self._ended:
            raise ValueError(f"episode {self.uuid} has ended; no step can follow")
        arrays = _observation_arrays(transition.next_observation)
        for name in ("proposed", "executed"):
            arrays[name] = np.asarray(getattr(transition, name))
        scalars = {
            name: getattr(transition, name)
            for name in ("reward", "terminated", "truncated", "p_success", "policy_version", "marked_success")
        }
        self._write(arrays | {k: np.asarray(v) for k, v in scalars.items()}, {"source": int(transition.source)})
        self._ended = bool(transition.terminated or transition.truncated)

    def discard(self) -> None:
        """Close and remove the journal: the episode was committed, or the operator threw it away."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file and leave it; the next writer of the store salvages it."""
        self._file.close()

    def _write(self, arrays: Mapping[str, np.ndarray], extra: Mapping[str, Any]) -> None:
        listing = [[name, a.dtype.str, list(a.shape)] for name, a in arrays.items()]
        header = json.dumps({"arrays": listing, **extra}).encode()
        payload = b"".join([_HEADER.pack(len(header)), header, *(a.tobytes() for a in arrays.values())])
        record = memoryview(_FRAME.pack(len(payload), zlib.crc32(payload)) + payload)
        try:
            while record:
                record = record[self._file.write(record) :]
        except OSError as error:
            os.ftruncate(self._file.fileno(), self._size)  # half a record would hide those after it
            self._file.seek(self._size)
            raise DiskRefused(self.path, error) from error
        self._size = self._file.tell()


@dataclass(frozen=True)
class Salvage:
    """What a journal holds: the steps up to the first damaged or unfinished record."""

    first: Observation
    steps: tuple[Transition, ...]
    meta: EpisodeMeta

    def episode(self) -> Episode:
        """Rebuild the episode as far as it got.

        An episode that was cut off is truncated at its last step and counts as aborted. One that had
        ended before the crash and was waiting for its commit is whole: it keeps its end and outcome.

        Raises:
            ValueError: there is no step, or the steps do not make an episode.
        """
        steps = list(self.steps)
        outcome = Outcome.ABORTED
        if steps and steps[-1].terminated:
            outcome = Outcome.SUCCESS if steps[-1].reward > 0 else Outcome.FAILURE
        elif steps and steps[-1].truncated:
            outcome = Outcome.TIMEOUT
        elif steps:
            steps[-1] = replace(steps[-1], truncated=True)
        return Episode.from_steps(self.first, steps, replace(self.meta, outcome=outcome, salvaged=True))


def read_journal(path: Path) -> Salvage | None:
    """Read a journal that a crash left behind; None when not even the first observation was written whole.

    Raises:
        ValueError: the first observation was written whole, but is damaged.
    """
    records = _records(path)
    start = next(records, None)
    if start is None:
        with open(path, "rb") as file:
            frame = file.read(_FRAME.size)
        if len(frame) == _FRAME.size and _FRAME.unpack(frame)[0] <= path.stat().st_size - _FRAME.size:
            raise ValueError("its first record is damaged")
        return None
    header, arrays = start
    steps = tuple(
        Transition(
            proposed=a["proposed"],
            executed=a["executed"],
            source=Source(h["source"]),
            next_observation=_observation(a),
            reward=a["reward"].item(),
            terminated=a["terminated"].item(),
            truncated=a["truncated"].item(),
            p_success=a["p_success"].item(),
            policy_version=a["policy_version"].item(),
            marked_success=a["marked_success"].item(),
        )
        for h, a in records
    )
    return Salvage(_observation(arrays), steps, meta_from_json(header["meta"]))


def _observation_arrays(observation: Observation) -> dict[str, np.ndarray]:
    images = {f"images/{camera}": frame for camera, frame in observation.images.items()}
    images |= {f"native/{camera}": frame for camera, frame in observation.native.items()}
    return images | {"state": observation.state, "stamp_s": np.asarray(observation.stamp_s)}


def _observation(arrays: Mapping[str, np.ndarray]) -> Observation:
    def below(kind: str) -> dict[str, np.ndarray]:
        return {n.removeprefix(kind): a for n, a in arrays.items() if n.startswith(kind)}

    return Observation(below("images/"), arrays["state"], arrays["stamp_s"].item(), native=below("native/"))


def _records(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    with open(path, "rb") as file:
        while len(frame := file.read(_FRAME.size)) == _FRAME.size:
            length, crc = _FRAME.unpack(frame)
            payload = file.read(length)
            if len(payload) < length or zlib.crc32(payload) != crc:
                return
            header_end = _HEADER.size + _HEADER.unpack_from(payload)[0]
            header = json.loads(payload[_HEADER.size : header_end])
            arrays, offset = {}, header_end
            for name, dtype, shape in header["arrays"]:
                array = np.frombuffer(payload, dtype, int(np.prod(shape)), offset).reshape(shape)
                arrays[name], offset = array, offset + array.nbytes
            yield header, arrays
