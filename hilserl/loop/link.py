"""What actor and learner tell each other besides episodes: weights one way, status both ways.

Files in the run directory, each replaced whole: the newest value is always readable, nothing queues, and either
process may die and come back. Episodes travel through the store. On two machines `remote/` keeps two such folders
alike. No decision here depends on the time of day: clocks are set while people work.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hilserl.runs import write_json

if TYPE_CHECKING:
    from torch import Tensor

STALE_S = 20.0  # a learner that is busy with a large episode still writes its status well within this


@dataclass(frozen=True)
class LearnerStatus:
    """Where the learner stands."""

    phase: str  # "resuming", "waiting", "critics", "training"
    updates: int
    debt: int  # updates it still owes for the steps it has seen
    episodes: int  # episodes it has ingested
    version: int  # of the newest published weights
    unix_s: float = 0.0  # when it was written: for people, as the time of day may be set
    monotonic_s: float = 0.0  # the same by the clock that only runs; every process of a machine shares it


class Link:
    """The files of one run."""

    def __init__(self, run: Path) -> None:
        self._folder = Path(run) / "link"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._weights = self._folder / "actor.safetensors"
        self._status = self._folder / "learner.json"
        self._weights_seen: tuple[int, int] | None = None
        self._status_before = _edition(self._status)
        self._opened_s = time.monotonic()

    @staticmethod
    def peek(run: Path) -> LearnerStatus | None:
        """Return the last status of a run's learner without making any file."""
        return Link(run).learner() if (Path(run) / "link").exists() else None

    def publish_weights(self, actor: dict[str, Tensor], version: int) -> None:
        """Make these actor weights the newest."""
        from safetensors.torch import save_file

        temporary = self._weights.with_suffix(".tmp")
        save_file({k: v.detach().cpu().contiguous() for k, v in actor.items()}, temporary, {"version": str(version)})
        temporary.replace(self._weights)

    def newer_weights(self) -> tuple[dict[str, Tensor], int] | None:
        """Return (actor weights, version) when they changed since the last call, else None. Costs one stat."""
        from safetensors.torch import load

        if not self._weights_changed():
            return None
        content = self._weights.read_bytes()  # once: `safe_open` opens it by name again for the tensors
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return load(content), int(header["__metadata__"]["version"])

    def newer_weights_file(self) -> bytes | None:
        """Return the file that `newer_weights` reads, whole, when it changed since the last call of either."""
        return self._weights.read_bytes() if self._weights_changed() else None

    def put_weights_file(self, content: bytes) -> None:
        """Make what `newer_weights_file` returned elsewhere the newest weights here."""
        temporary = self._weights.with_suffix(".tmp")
        temporary.write_bytes(content)
        temporary.replace(self._weights)

    def report(self, status: LearnerStatus) -> None:
        """Overwrite the learner's status."""
        write_json(self._status, {**asdict(status), "unix_s": time.time(), "monotonic_s": time.monotonic()})

    def learner(self) -> LearnerStatus | None:
        """Return the learner's status, or None before it has ever reported."""
        try:
            return LearnerStatus(**json.loads(self._status.read_text()))
        except FileNotFoundError:
            return None

    def live_learner(self) -> LearnerStatus | None:
        """Return the status only if it was reported since this link was opened, not in an earlier life."""
        return None if _edition(self._status) == self._status_before else self.learner()

    def silent_s(self) -> float:
        """Return how long ago the learner reported, or this link was opened if that is later; 0 before the first."""
        status, now_s = self.learner(), time.monotonic()
        if status is None:
            return 0.0
        before_a_reboot = status.monotonic_s > now_s
        return now_s - max(self._opened_s, 0.0 if before_a_reboot else status.monotonic_s)

    def learner_is_silent(self) -> bool:
        """Whether a learner that has reported stopped; one that restarts with us gets time to come up."""
        return self.silent_s() > STALE_S

    def _weights_changed(self) -> bool:
        before, self._weights_seen = self._weights_seen, _edition(self._weights)
        return self._weights_seen not in (None, before)


def _edition(file: Path) -> tuple[int, int] | None:
    """Tell two contents of a file apart: every one is a new inode, and time alone is too coarse for quick writes."""
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
