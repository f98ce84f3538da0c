"""What actor and learner tell each other besides episodes: weights one way, status both ways.

Files in the run directory, each replaced whole: the newest value is always readable, nothing queues, and either
process may die and come back. Episodes travel through the store.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from hilserl.runs import write_json

STALE_S = 20.0  # a learner that is busy with a large episode still writes its status well within this


@dataclass(frozen=True)
class LearnerStatus:
    """Where the learner stands."""

    phase: str  # "resuming", "waiting", "critics", "training"
    updates: int
    debt: int  # updates it still owes for the steps it has seen
    episodes: int  # episodes it has ingested
    version: int  # of the newest published weights
    unix_s: float = 0.0


class Link:
    """The files of one run."""

    def __init__(self, run: Path) -> None:
        self._folder = Path(run) / "link"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._weights = self._folder / "actor.safetensors"
        self._status = self._folder / "learner.json"
        self._seen: tuple[int, int] | None = None  # inode and time of the weights that were read last
        self._opened_unix_s = time.time()

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
        from safetensors import safe_open

        try:
            found = self._weights.stat()
        except FileNotFoundError:
            return None
        newest = found.st_ino, found.st_mtime_ns  # time alone is too coarse for quick writes
        if newest == self._seen:
            return None
        self._seen = newest
        with safe_open(self._weights, "pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, int(file.metadata()["version"])  # noqa: SIM118

    def report(self, status: LearnerStatus) -> None:
        """Overwrite the learner's status."""
        write_json(self._status, {**asdict(status), "unix_s": time.time()})

    def learner(self) -> LearnerStatus | None:
        """Return the learner's status, or None before it has ever reported."""
        try:
            return LearnerStatus(**json.loads(self._status.read_text()))
        except FileNotFoundError:
            return None

    def live_learner(self) -> LearnerStatus | None:
        """Return the status only if it was reported since this link was opened, not in an earlier life."""
        status = self.learner()
        return status if status is not None and status.unix_s >= self._opened_unix_s else None

    def learner_is_silent(self) -> bool:
        """Whether a learner that has reported stopped; one that restarts with us gets time to come up."""
        status = self.learner()
        return status is not None and time.time() - max(status.unix_s, self._opened_unix_s) > STALE_S
