"""The manifest of a merge: a list of folders, `merged.json`. Nothing is copied, nothing is changed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from data.errors import DiskRefused, UserError
from data.spec import TaskSpec

MANIFEST = "merged.json"
VERSION = 1


@dataclass(frozen=True)
class Manifest:
    """What `merged.json` says."""

    spec_fingerprint: str  # of every store in it
    stores: dict[str, Path]  # {path as written: folder}


def write_manifest(folder: Path, sources: Sequence[Path], spec: TaskSpec) -> Path:
    """Make `folder` a merge of these stores; their paths are kept relative to it. Returns the manifest.

    Raises:
        UserError: `folder` exists already and is not empty.
        DiskRefused: nobody may write there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(f"{folder} is not empty; name a folder that is new: a merge is never changed")
        content = {
            "version": VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "spec_fingerprint": spec.fingerprint,
            "stores": [os.path.relpath(source.resolve(), folder.resolve()) for source in sources],
        }
        temporary = folder / f".{MANIFEST}.tmp"
        temporary.write_text(json.dumps(content, indent=1) + "\n")
        return temporary.rename(folder / MANIFEST)
    except OSError as error:
        raise DiskRefused(folder, error) from error


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a merge and look whether its stores are there.

    Raises:
        UserError: it is no manifest, a newer program wrote it, or a store is not where it says.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text())
        version, stores = int(content["version"]), [str(s) for s in content["stores"]]
        fingerprint = str(content["spec_fingerprint"])
        if not stores:
            raise ValueError("it names no store")
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is no list of stores ({error}).\nMake it again: hilserl data merge RUN RUN --output_dir=NEW"
        ) from None
    if version > VERSION:
        raise UserError(f"{path} has version {version}, this program reads version {VERSION}: use a newer program")
    sources = {name: folder / name for name in stores}  # an absolute name stays absolute
    missing = [name for name, source in sources.items() if not (source / "store.json").exists()]
    if missing:
        raise UserError(
            f"{path} names {len(stores)} stores, and there is none at {', '.join(missing)} (seen from {folder}).\n"
            f"Put {'it' if len(missing) == 1 else 'them'} back, change the path in {MANIFEST}, or make the merge "
            "again without: hilserl data merge RUN RUN --output_dir=NEW"
        )
    return Manifest(fingerprint, sources)
