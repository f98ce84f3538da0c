"""Keeps the best policy: what a check found goes to the pointer `best`, the cards, the journal and the metrics."""

from __future__ import annotations

import logging
from pathlib import Path

from hilserl.loop.card import write_card
from hilserl.loop.checks import START, Check, Checks
from hilserl.metrics import Scalar
from hilserl.runs import RunDirectory, load_info, numbered

_log = logging.getLogger(__name__)


class Keeper:
    """Judges the checks of one run as they come in."""

    def __init__(self, run: RunDirectory, critic_updates: int) -> None:
        """`critic_updates` are those before the actor changes; until then a checkpoint acts like the start policy."""
        self._run, self._critic_updates = run, critic_updates
        self._judged: Check | None = None

    def judge(self, checks: Checks) -> dict[str, Scalar]:
        """Point `best` at the best checked policy, and say whether the newest one is worse by more than chance.

        Returns:
            A row of metrics when another block of checks is whole, else {}.
        """
        newest, best = checks.newest, checks.best
        if newest is None or best is None or newest == self._judged:
            return {}
        self._judged = newest
        for check in {newest, best}:
            if folder := self._checkpoint_of(check.version):
                write_card(folder, check)
                if check == best and self._run.mark_best(folder):
                    self._run.journal("best", checkpoint=folder.name, version=best.version, found=str(best))
                    _log.info("best so far: checkpoint %s, %s", folder.name, best)
        if alarm := checks.alarm():
            _log.warning("%s; `hilserl status` says what to do", alarm)
        row: dict[str, Scalar] = {"version": newest.version, "wins": newest.wins, "n": newest.n}
        row |= {"low": newest.interval[0], "high": newest.interval[1]}
        row |= {"best": best.version, "best_found": str(best), "alarm": alarm}
        return {f"check/{name}": value for name, value in row.items()}

    def _checkpoint_of(self, version: int) -> Path | None:
        """Return the newest checkpoint that acts like this version, or None."""
        for folder in reversed(numbered(self._run.checkpoints)):
            updates = load_info(folder)["updates"]
            if updates == version or (version == START and updates <= self._critic_updates):
                return folder
        return None
