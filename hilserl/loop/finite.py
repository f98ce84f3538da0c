"""Learning that has gone wrong is stopped before anybody acts on it or saves it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from data.errors import UserError
from hilserl.runs import numbered


class NotFinite(UserError):
    """Learning has made NaN or infinity; nothing of it was saved or published."""


def require_finite(tensors: Mapping[str, Tensor], updates: int, checkpoints: Path, what: str = "") -> None:
    """Check all floating-point tensors; a millisecond for a million numbers.

    Args:
        tensors: by name.
        updates: how many were made, for the message.
        checkpoints: folder of the run's checkpoints, for the message.
        what: a number that is already known to be wrong.

    Raises:
        NotFinite: one of them, or `what`, is not finite; the message names them and what is left to go on from.
    """
    bad = [name for name, t in tensors.items() if t.is_floating_point() and not bool(t.isfinite().all())]
    if not bad and not what:
        return
    newest = [folder.name for folder in numbered(checkpoints)]
    kept = f"Checkpoint {newest[-1]} is from before that and stays" if newest else "There is no checkpoint yet"
    raise NotFinite(
        f"after {updates} updates {what or 'there is NaN or infinity'}; tensors that are not finite: "
        f"{_in_short(bad) or 'none'}.\n{kept}; every episode is on disk. Go on with --resume; if it "
        "happens again, start another run with smaller learning rates."
    )


def _in_short(names: list[str]) -> str:
    """Name the first tensor of each network, and how many others of it."""
    networks: dict[str, list[str]] = {}
    for name in names:
        networks.setdefault(name.split(".", 1)[0], []).append(name)
    return ", ".join(
        first + (f" (and {len(others)} more of {network})" if others else "")
        for network, (first, *others) in networks.items()
    )
