"""The folder of an episode store: its writer lock and its store.json."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from data.errors import UserError
from data.schema import SCHEMA_VERSION
from data.spec import TaskSpec
from data.store.episode_codec import fsync_path


class StoreLocked(UserError):
    """Another process writes to this store."""


def lock_folder(path: Path) -> IO[str]:
    """Take the writer lock; it is held until the returned file is closed or the process ends.

    Raises:
        StoreLocked: another process holds it; the message names its pid.
    """
    file = open(path / "writer.lock", "a+")  # noqa: SIM115 - held until close
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise StoreLocked(
            f"{path} is being written by the process with pid {holder}; a store has one writer at a time.\n"
            f"Stop that process (`hilserl status` shows what runs), or open the store for reading only."
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def refuse_foreign_folder(path: Path) -> None:
    """Raise `UserError` when a new store would be made in a folder that holds something else."""
    if (path / "store.json").exists():
        return
    others = sorted(p.name for p in path.iterdir() if p.name != "writer.lock" and not p.name.startswith("."))
    if others:
        raise UserError(
            f"{path} is no episode store (store.json is missing) and is not empty: it holds "
            f"{', '.join(others[:5])}.\nName a folder that is new or empty."
        )


def write_store_json(path: Path, spec: TaskSpec) -> None:
    """Make `path` a store: write store.json whole or not at all."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    _write_whole(path, {"schema_version": SCHEMA_VERSION, "created": created, "spec": json.loads(spec.to_json())})


def read_store_json(path: Path) -> TaskSpec:
    """Return the task spec that a store was made for; the store may be of any version up to ours.

    Raises:
        UserError: there is no store at `path`, its store.json is damaged, or a newer program wrote it.
    """
    try:
        content = json.loads((path / "store.json").read_text())
        version, spec = content["schema_version"], content["spec"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path / 'store.json'} is damaged ({type(error).__name__}: {error}); accepted is the JSON that this "
            "program wrote.\nThe episodes are intact: copy store.json from another store of the same task."
        ) from None
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"there is no episode store at {path} (store.json is missing). "
            "Name the folder of a store, or make one with `hilserl record`."
        ) from None
    if not 1 <= version <= SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {version}, this program reads versions 1 to "
            f"{SCHEMA_VERSION}.\nUse the program version that wrote it, or a newer one."
        )
    return TaskSpec.from_json(json.dumps(spec))


def migrate(path: Path) -> None:
    """Bring a store of an older version to ours, for its writer. Episodes are never rewritten.

    Version 1 to 2 added what may be absent: native frames, and the session of an episode. Readers fill in that
    there is none, so only the number changes, which keeps programs of version 1 from writing beside us.
    """
    content = json.loads((path / "store.json").read_text())
    if content["schema_version"] < SCHEMA_VERSION:
        _write_whole(path, content | {"schema_version": SCHEMA_VERSION})


def _write_whole(path: Path, content: dict[str, Any]) -> None:
    temporary = path / ".store.json.tmp"
    temporary.write_text(json.dumps(content, indent=1))
    fsync_path(temporary)
    temporary.rename(path / "store.json")
    fsync_path(path)
