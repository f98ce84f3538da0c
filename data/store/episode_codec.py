"""One episode as one zarr group: what is written, how it is checked, and how it is made durable."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from data.schema import SCHEMA_VERSION, Episode, EpisodeMeta, Outcome
from data.spec import SpecMismatch, TaskSpec
from data.store.array_file import read_array

FRAMES_PER_CHUNK = 64
FSYNC_THREADS = 4  # fsyncs that overlap share one disk flush: 11 ms instead of 136 for the 43 of an episode

# zarr's defaults are a pool of CPU+4 threads and ten requests in flight; the control loop needs those cores
ZARR_SETTINGS = {"threading.max_workers": 2, "async.concurrency": 2, "json_indent": None}

OBSERVATION_DTYPES = {"state": "float32", "stamp_s": "float64", "marked_success": "bool"}  # T+1 rows
STEP_DTYPES = {  # T rows
    "proposed": "float32",
    "executed": "float32",
    "source": "uint8",
    "reward": "float32",
    "terminated": "bool",
    "truncated": "bool",
    "p_success": "float32",
    "policy_version": "int64",
}
_UUID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class CorruptEpisode(RuntimeError):
    """The bytes of an episode are not those that were committed."""


def arrays_of(episode: Episode) -> dict[str, np.ndarray]:
    """Return {name in the group: array} without native frames, always in the same order."""
    images = {f"images/{camera}": episode.images[camera] for camera in sorted(episode.images)}
    return images | {name: getattr(episode, name) for name in (*OBSERVATION_DTYPES, *STEP_DTYPES)}


def checksum(arrays: Mapping[str, np.ndarray]) -> int:
    """CRC-32 over name, dtype, shape and bytes of every array, in the order given."""
    crc = 0
    for name, array in arrays.items():
        crc = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8), crc)
    return crc


def layout(spec: TaskSpec, steps: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return {name in the group: (dtype, shape)} of an episode of `spec`, in the order of `arrays_of`."""
    rows = steps + 1
    cameras = sorted(spec.observation.cameras, key=lambda c: c.name)
    found: dict[str, tuple[str, tuple[int, ...]]] = {
        f"images/{c.name}": ("uint8", (rows, c.size_px, c.size_px, 3)) for c in cameras
    }
    for name, dtype in OBSERVATION_DTYPES.items():
        found[name] = (dtype, (rows, spec.observation.state_dim) if name == "state" else (rows,))
    for name, dtype in STEP_DTYPES.items():
        found[name] = (dtype, (steps, len(spec.action.names)) if name in ("proposed", "executed") else (steps,))
    return found


def require_valid_meta(meta: EpisodeMeta, spec: TaskSpec) -> None:
    """Refuse an episode of another spec, or one whose uuid could not be a file name.

    Raises:
        SpecMismatch: the episode was recorded for another spec.
        ValueError: the uuid holds other characters than letters, digits, "-" and "_", or too many.
    """
    if meta.spec_fingerprint != spec.fingerprint:
        raise SpecMismatch(
            f"episode {meta.uuid} was recorded for the task spec {meta.spec_fingerprint or '(none)'}, "
            f"this store holds {spec.name} {spec.fingerprint}.\nSet EpisodeMeta.spec_fingerprint to "
            "spec.fingerprint when the episode begins, or write it to the store of its own spec."
        )
    if not _UUID.fullmatch(meta.uuid):
        raise ValueError(f"episode uuid {meta.uuid!r} is not 1-64 letters, digits, '-' or '_'")


def require_valid(episode: Episode, spec: TaskSpec) -> None:
    """Refuse an episode that does not have the cameras, shapes and dtypes of `spec`.

    Raises:
        SpecMismatch, ValueError: see `require_valid_meta`; a ValueError lists every array that differs.
    """
    require_valid_meta(episode.meta, spec)
    steps = len(episode)
    expected = layout(spec, steps)
    found = {name: (str(a.dtype), a.shape) for name, a in arrays_of(episode).items()}
    for camera, frames in episode.native.items():  # any size, but one to each observation
        found[f"native/{camera}"] = (str(frames.dtype), frames.shape)
        if camera in episode.images and frames.ndim == 4 and frames.shape[3] == 3:
            expected[f"native/{camera}"] = ("uint8", (steps + 1, *frames.shape[1:]))
    wrong = [
        f"  {name}: has {_describe(found.get(name))}, the spec says {_describe(expected.get(name))}"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]
    if steps == 0 or wrong:
        raise ValueError(
            f"episode {episode.meta.uuid} of {steps} steps does not fit its task spec:\n"
            + ("\n".join(wrong) or "  an episode needs at least one step")
        )


def meta_to_json(meta: EpisodeMeta) -> dict[str, Any]:
    """Return the meta as plain JSON types; a note that is not JSON is a TypeError here, not later."""
    return json.loads(json.dumps(vars(meta) | {"notes": dict(meta.notes)}))


def meta_from_json(fields: Mapping[str, Any]) -> EpisodeMeta:
    """Read back what `meta_to_json` returned."""
    return EpisodeMeta(**{**fields, "outcome": Outcome(fields["outcome"])})


def write_group(path: Path, episode: Episode) -> int:
    """Write the episode as a new zarr v3 group and make it durable; return its checksum.

    Raises:
        OSError: `path` exists, or the disk refuses.
    """
    arrays = arrays_of(episode)
    crc = checksum(arrays)
    native = {f"native/{camera}": frames for camera, frames in sorted(episode.native.items())}
    attributes = {
        "schema_version": SCHEMA_VERSION,
        "cameras": sorted(episode.images),
        "native": {name: checksum({name: frames}) for name, frames in native.items()},
        "crc32": crc,
        "meta": meta_to_json(episode.meta),
    }
    path.mkdir()
    with zarr.config.set(ZARR_SETTINGS):
        group = zarr.create_group(store=path, attributes=attributes)
        for name, array in (arrays | native).items():
            group.create_array(
                name,
                data=np.ascontiguousarray(array),
                chunks=(
                    min(FRAMES_PER_CHUNK, len(array)) if array.ndim == 4 else len(array),
                    *array.shape[1:],
                ),
                compressors=[ZstdCodec(level=1)] if array.ndim == 4 else None,
                chunk_key_encoding={"name": "v2", "separator": "."},  # flat keys: fewer folders to fsync
            )
    fsync_tree(path)
    return crc


def read_group(path: Path, native: bool = False) -> tuple[Episode, int]:
    """Read and check one episode group; return it, with the native frames if asked to, and its checksum.

    Raises:
        CorruptEpisode: something is missing, unreadable, or does not match the checksum.
    """
    try:
        attributes: dict[str, Any] = json.loads((path / "zarr.json").read_bytes())["attributes"]
        names = [*(f"images/{c}" for c in attributes["cameras"]), *OBSERVATION_DTYPES, *STEP_DTYPES]
        arrays = {name: read_array(path / name) for name in names}
        kept = attributes.get("native", {}) if native else {}  # version 1 kept none
        whole = {name: read_array(path / name) for name in kept}
        crc, meta = checksum(arrays), meta_from_json(attributes["meta"])
    except Exception as error:  # whatever a damaged file makes zarr or its codec raise
        raise CorruptEpisode(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    if crc != attributes["crc32"]:
        raise CorruptEpisode(f"{path} has CRC {crc:08x}, it was written with {attributes['crc32']:08x}")
    if kept != {name: checksum({name: frames}) for name, frames in whole.items()}:
        raise CorruptEpisode(f"{path}: the native frames are not those that were committed")
    images = {camera: arrays.pop(f"images/{camera}") for camera in attributes["cameras"]}
    frames = {name.removeprefix("native/"): array for name, array in whole.items()}
    return Episode(images=images, meta=meta, native=frames, labels={}, **arrays), crc


def fsync_tree(path: Path) -> None:
    """Make every file and folder below and including `path` durable."""
    files = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    folders = [Path(folder) for folder, _, _ in os.walk(path)]
    with ThreadPoolExecutor(FSYNC_THREADS) as pool:
        list(pool.map(fsync_path, files))
        list(pool.map(fsync_path, folders))


def fsync_path(path: Path) -> None:
    """Make one file, or the entries of one folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _describe(array: tuple[str, tuple[int, ...]] | None) -> str:
    return "nothing" if array is None else f"{array[0]} {list(array[1])}"
