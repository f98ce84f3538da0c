"""Model images of another crop or size, made from the native frames of an episode and kept for the next time.

    <store>/derived/<hash of the camera spec>/<uuid>.npz

A cache: the native frames are the truth, and the folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid as uuid_module
import zipfile
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
    path = store.path / "derived" / key(camera) / f"{commit.uuid}.npz"
    shape = (commit.steps + 1, camera.size_px, camera.size_px, 3)
    kept = _read(path)
    if kept is not None and kept.shape == shape and kept.dtype == np.uint8:
        return kept
    native = store.read(commit, native=True).native
    if camera.name not in native:
        raise UserError(
            f"episode {commit.index} of {store.path} has native frames of {', '.join(native) or 'no camera'}, not of "
            f"{camera.name!r}; another crop or size needs them. Record with: hilserl record --keep_native=true"
        )
    images = np.stack([preprocess(frame, camera) for frame in native[camera.name]])
    _keep(path, images)
    return images


def key(camera: CameraSpec) -> str:
    """Return the name of the folder for this crop and size: 16 hex digits of a SHA-256."""
    return hashlib.sha256(json.dumps(asdict(camera), sort_keys=True).encode()).hexdigest()[:16]


def _read(path: Path) -> np.ndarray | None:
    """Return what is kept; None when there is nothing, or nothing whole (a zip has a checksum of its own)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            images: np.ndarray = file["images"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return images


def _keep(path: Path, images: np.ndarray) -> None:
    """Write the file whole or not at all; a store that cannot be written goes without a cache."""
    temporary = path.with_name(f".{uuid_module.uuid4().hex}.tmp.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(temporary, images=images)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
