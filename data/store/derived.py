"""What follows from a stored episode and costs time: images of another crop or size, p(success) by another classifier.

    <store>/derived/<hash of the camera spec, or name of the classifier>/<uuid>.npz

A cache: the episode is the truth, and the folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid as uuid_module
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from data.errors import UserError
from data.images import preprocess
from data.spec import CameraSpec
from data.store.commit_log import Commit
from data.store.episode_store import EpisodeStore


def derived_images(store: EpisodeStore, commit: Commit, camera: CameraSpec) -> np.ndarray:
    """Return the frames of one camera as `camera` wants them, uint8 [T+1, size_px, size_px, 3] RGB.

    Raises:
        UserError: the episode was recorded without native frames of this camera.
        CorruptEpisode: the native frames are not those that were committed.
    """
    shape = (commit.steps + 1, camera.size_px, camera.size_px, 3)

    def make() -> np.ndarray:
        native = store.read(commit, native=True).native
        if camera.name not in native:
            raise UserError(
                f"episode {commit.index} of {store.path} has native frames of {', '.join(native) or 'no camera'}, not "
                f"of {camera.name!r}; another crop or size needs them. Record with: hilserl record --keep_native=true"
            )
        return np.stack([preprocess(frame, camera) for frame in native[camera.name]])

    return derived(store.path, key(camera), commit.uuid, shape, make)


def derived(folder: Path, name: str, uuid: str, shape: tuple[int, ...], make: Callable[[], np.ndarray]) -> np.ndarray:
    """Return the array [shape] that is kept under this name for an episode, or make and keep it.

    Args:
        folder: of the store or merge.
        name: what the array follows from, besides the episode: a version, a hash.
        uuid: of the episode.
        shape: of the array; what is kept and has another one is made anew.
        make: makes it.
    """
    path = folder / "derived" / name / f"{uuid}.npz"
    kept = _read(path)
    if kept is None or kept.shape != shape:
        kept = make()
        _keep(path, kept)
    return kept


def key(camera: CameraSpec) -> str:
    """Return the name of the folder for this crop and size: 16 hex digits of a SHA-256."""
    return hashlib.sha256(json.dumps(asdict(camera), sort_keys=True).encode()).hexdigest()[:16]


def _read(path: Path) -> np.ndarray | None:
    """Return what is kept; None when there is nothing, or nothing whole (a zip has a checksum of its own)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            array: np.ndarray = file["array"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return array


def _keep(path: Path, array: np.ndarray) -> None:
    """Write the file whole or not at all; a store that cannot be written goes without a cache."""
    temporary = path.with_name(f".{uuid_module.uuid4().hex}.tmp.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(temporary, array=array)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
