"""A run directory: what a run was, where it stands, what it can go on from. Made to be looked at with `ls`.

    runs/lift/train.json             the flags it was started with
    runs/lift/journal.jsonl          what was decided: starts, changed flags, best checkpoints, roll-backs
    runs/lift/metrics.jsonl          numbers over time
    runs/lift/checkpoints/000003/    tensors.safetensors, info.json and, for people, README.md
    runs/lift/checkpoints/latest     the name of the newest whole checkpoint
    runs/lift/checkpoints/best       the name of the one to roll back to, when one was marked

A command that takes a policy takes `runs/lift`, which means its newest checkpoint, `runs/lift/best`, `runs/lift/last`,
`runs/lift/000003`, or a checkpoint folder.

Everything appears by a rename after it is on disk, so whatever has its final name is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

TENSORS, INFO = "tensors.safetensors", "info.json"


@dataclass(frozen=True)
class RunDirectory:
    """The folder of one run, made when absent. One process at a time saves checkpoints into it."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        self.checkpoints.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoints(self) -> Path:
        """Folder of the numbered checkpoints and of the pointers `latest` and `best`."""
        return self.path / "checkpoints"

    @property
    def metrics_path(self) -> Path:
        """File for `metrics.MetricsLog`."""
        return self.path / "metrics.jsonl"

    def write_json(self, name: str, value: Any) -> Path:
        """Write `value` to the file `name` in this run, whole or not at all."""
        return write_json(self.path / name, value)

    def journal(self, event: str, **details: Any) -> None:
        """Append one line to `journal.jsonl`, stamped with `unix_s`; details are JSON. Several processes may."""
        journal(self.path, event, **details)

    def mark_best(self, folder: Path) -> bool:
        """Point `best` at one of this run's checkpoints; return whether it pointed elsewhere before."""
        if _pointed_at(self.checkpoints, "best") == folder:
            return False
        write_text(self.checkpoints / "best", f"{folder.name}\n")
        return True

    def save_checkpoint(
        self, tensors: Mapping[str, Tensor], info: Mapping[str, Any], keep: int = 3, best: bool = False
    ) -> Path:
        """Save the next numbered checkpoint, point `latest` (and `best`) at it, and drop old ones.

        Args:
            tensors: dotted name to tensor, e.g. "actor.trunk.0.weight".
            info: everything else that a resume needs; JSON.
            keep: how many of the newest stay; the one that `best` points at stays in any case.
            best: whether this is the one to roll back to from now on.

        Returns:
            The folder of the new checkpoint.
        """
        if keep < 1:
            raise ValueError(f"keep={keep}: at least 1 checkpoint has to stay")
        numbers = [int(folder.name) for folder in numbered(self.checkpoints)]
        folder = save_checkpoint(self.checkpoints / f"{max(numbers, default=0) + 1:06d}", tensors, info)
        for pointer in ("latest", "best") if best else ("latest",):
            write_text(self.checkpoints / pointer, f"{folder.name}\n")
        kept = {_pointed_at(self.checkpoints, "best"), *numbered(self.checkpoints)[-keep:]}
        for old in set(numbered(self.checkpoints)) - kept:
            old.rename(old.with_name(f".{old.name}.dropped"))  # half deleted, it must not keep its name
        for dropped in self.checkpoints.glob(".*.dropped"):
            shutil.rmtree(dropped)
        return folder


def journal(run: Path, event: str, **details: Any) -> None:
    """Append one line to the `journal.jsonl` of a run, as `RunDirectory.journal` does."""
    line = json.dumps({"unix_s": round(time.time(), 3), "event": event, **details}) + "\n"
    with (run / "journal.jsonl").open("ab", buffering=0) as file:
        file.write(line.encode())


def find_checkpoint(path: Path | str, which: str = "latest") -> Path:
    """Return the checkpoint folder that `path` means: a checkpoint itself, a run that has one, or RUN/best.

    Reads only; `which` ("latest" or "last", "best" or a number) chooses inside a run.

    Raises:
        UserError: nothing to load from there; the message says what was found and how to go on.
    """
    path = Path(path)
    if not path.exists() and not _previous(path).exists() and (path.parent / "checkpoints").is_dir():
        path, which = path.parent, path.name
    which = "latest" if which == "last" else which
    checkpoints = path / "checkpoints"
    chosen = _pointed_at(checkpoints, which) or checkpoints / which
    if which == "latest" and not chosen.exists():  # the first save was killed just before it wrote the pointer
        chosen = next(reversed(numbered(checkpoints)), chosen)
    for folder in (path, chosen):
        for whole in (folder, _previous(folder)):
            if (whole / TENSORS).is_file() and (whole / INFO).is_file():
                return whole
    raise UserError(_nothing_to_load(path, which))


def save_checkpoint(folder: Path | str, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> Path:
    """Write a checkpoint that is either whole under its name or not there at all; return its folder.

    Tensors may live on any device and may share memory. An existing checkpoint of that name is replaced.

    Raises:
        TypeError: `info` holds something that JSON cannot.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dict(info), indent=1)
    temporary, previous = folder.with_name(f".{folder.name}.tmp"), _previous(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    # safetensors refuses tensors that share memory or have gaps, and both are common in state dicts
    alone = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    save_file(alone, temporary / TENSORS)
    (temporary / INFO).write_text(text)
    for written in (temporary / TENSORS, temporary / INFO, temporary):
        _sync(written)
    if folder.exists():  # a folder cannot be renamed over another: until the second rename, `previous` is the one
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    temporary.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(previous, ignore_errors=True)
    return folder


def load_checkpoint(path: Path | str, which: str = "latest") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors (on the CPU) and the info of a checkpoint folder, or of a run's `which` checkpoint.

    Raises:
        UserError: nothing to load from there, or damaged; the message says what was found and how to go on.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = find_checkpoint(path, which)
    try:
        return load_file(folder / TENSORS), json.loads((folder / INFO).read_text())
    except (SafetensorError, ValueError) as error:
        raise UserError(
            f"{folder} is damaged: {error}. Accepted: a whole {TENSORS} and {INFO}. Remove the folder to go on "
            "from the one before it, or make a policy with `hilserl pretrain`."
        ) from error


def load_info(path: Path | str, which: str = "latest") -> dict[str, Any]:
    """Return the info alone, which is small, of the checkpoint that `find_checkpoint` finds.

    Raises:
        UserError: nothing to load from there.
    """
    info: dict[str, Any] = json.loads((find_checkpoint(path, which) / INFO).read_text())
    return info


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under `prefix.name`, so that several state dicts fit in one checkpoint."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose name starts with `prefix.`, without it: the inverse of `prefixed`."""
    return {n.removeprefix(f"{prefix}."): t for n, t in tensors.items() if n.startswith(f"{prefix}.")}


def numbered(checkpoints: Path) -> list[Path]:
    """Return the whole numbered checkpoints in a folder, oldest first."""
    found = [p for p in checkpoints.iterdir() if p.name.isdecimal()] if checkpoints.is_dir() else []
    return sorted(found, key=lambda p: int(p.name))


def write_json(path: Path | str, value: Any) -> Path:
    """Write `value` as JSON, whole or not at all, also across a power cut; return the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> Path:
    """Write a file, whole or not at all, also across a power cut; return the path."""
    _write_atomically(path, text.encode())
    return path


def _write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    _sync(temporary)
    temporary.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _previous(folder: Path) -> Path:
    """Where a checkpoint waits for the moment in which its successor takes its name."""
    return folder.with_name(f".{folder.name}.previous")


def _pointed_at(checkpoints: Path, pointer: str) -> Path | None:
    file = checkpoints / pointer
    return checkpoints / file.read_text().strip() if file.is_file() else None


def _nothing_to_load(path: Path, which: str) -> str:
    """Say what is in the place of the wanted checkpoint, and the next command."""
    have = [p.name for p in numbered(path / "checkpoints")]
    if not path.exists():
        found = "no such folder"
    elif have:
        found = f"it has {', '.join(have)}"
    else:
        names = sorted(p.name for p in path.iterdir()) if path.is_dir() else ["a file"]
        found = f"found {', '.join(names[:8]) or 'an empty folder'}"
    siblings = sorted(p.parent.name for p in path.absolute().parent.glob("*/checkpoints") if numbered(p))
    elsewhere = f" Runs beside it that have one: {', '.join(siblings)}." if siblings else ""
    return (
        f"no checkpoint `{which}` in {path}: {found}. Accepted: a run with checkpoints/{which}, or a folder "
        f"with {TENSORS} and {INFO}.{elsewhere} `hilserl status` shows what a run can resume from; "
        "`hilserl pretrain` makes a first policy."
    )
