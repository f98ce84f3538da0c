"""What coach, map and report keep of each finished episode, read from the store or taken as it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.schema import Episode, Outcome
from data.spec import TaskSpec
from data.store.array_file import read_array
from data.store.commit_log import Commit
from data.store.reader import AnnotatedReader
from hilserl.loop.checks import CHECK
from hilserl.ui.coach import Stripe, make_stripe
from hilserl.ui.spot import ColourConfig, find_spot

UNTOUCHED = ("baseline", CHECK)  # kinds in which nobody may help
KINDS = (*UNTOUCHED, "online")
OPEN = 0.0  # gripper command; below, it closes

type Place = tuple[float, float]


@dataclass(frozen=True)
class Attempt:
    """One finished episode."""

    uuid: str
    kind: str
    session: str
    started_unix_s: float
    stripe: Stripe
    p_success: np.ndarray  # float32 [T]; NaN without a detector
    start_m: Place | None  # end effector at the start, x forward and y left of the base; None: not in the state
    closed_m: Place | None  # end effector where the gripper closed last; None: it did not
    spot: Place | None  # the object in the first picture, as shares of it; None: not seen


def take(episode: Episode, number: int, spec: TaskSpec, colour: ColourConfig) -> Attempt:
    """Return what to keep of an episode that has just ended; `number` is its index in the store."""
    columns = {name: getattr(episode, name) for name in ("source", "executed", "p_success", "state")}
    first = episode.images[colour.camera][0] if colour.camera in episode.images else None
    meta = episode.meta
    return _attempt(meta, meta.outcome, columns, first, number, spec, colour)


def read_attempts(
    reader: AnnotatedReader, commits: Sequence[Commit], colour: ColourConfig, progress: Callable[[int], Any]
) -> list[Attempt]:
    """Return the finished ones among `commits`; what cannot be read is left out.

    Reads what it needs and no more, without comparing checksums: a map may err, training may not.
    """
    finished = [c for c in commits if c.outcome != Outcome.ABORTED]
    cameras = [c.name for c in reader.spec.observation.cameras]

    def read(commit: Commit) -> Attempt | None:
        group = reader.location(commit)
        try:
            columns = {name: read_array(group / name) for name in ("source", "executed", "p_success", "state")}
            first = read_array(group / "images" / colour.camera)[0] if colour.camera in cameras else None
        except Exception:  # whatever a damaged file leads to; `hilserl data verify` says what it is
            return None
        finally:
            progress(1)
        return _attempt(commit, commit.outcome, columns, first, commit.index, reader.spec, colour)

    with ThreadPoolExecutor(2) as pool:
        return [found for found in pool.map(read, finished) if found is not None]


def _attempt(
    about: Any,
    outcome: Outcome,
    columns: Mapping[str, np.ndarray],
    first: np.ndarray | None,
    number: int,
    spec: TaskSpec,
    colour: ColourConfig,
) -> Attempt:
    """`about` is a `Commit` or an `EpisodeMeta`."""
    executed, hand = columns["executed"], _columns_of(spec, "ee_in_base")
    stripe = make_stripe(number, about.kind == "online", outcome is Outcome.SUCCESS, columns["source"], executed)
    at = None if hand is None else columns["state"][:, hand][:, :2]
    closing = np.flatnonzero((executed[1:, -1] < OPEN) & (executed[:-1, -1] >= OPEN)) + 1
    return Attempt(
        about.uuid,
        about.kind,
        about.session,
        about.started_unix_s,
        stripe,
        columns["p_success"],
        start_m=None if at is None else _place(at[0]),
        closed_m=None if at is None or not len(closing) else _place(at[closing[-1] + 1]),
        spot=None if first is None else find_spot(first, colour),
    )


def _columns_of(spec: TaskSpec, name: str) -> slice | None:
    """Return where a field lies in the state, or None."""
    begin = 0
    for field in spec.observation.state:
        if field.name == name:
            return slice(begin, begin + field.size)
        begin += field.size
    return None


def _place(xy: np.ndarray) -> Place:
    return round(float(xy[0]), 4), round(float(xy[1]), 4)


def read_true_places(path: Path) -> dict[str, Place]:
    """Return {episode uuid: where the object lay} as an emulated rig knows it; {} without such a record."""
    return {e["tag"]: (e["start_m"][0], e["start_m"][1]) for e in _entries(path) if "start_m" in e}


def read_truth(path: Path) -> dict[str, bool]:
    """Return {episode uuid: the simulator saw success} as an emulated rig knows it; {} without such a record."""
    return {e["tag"]: bool(e["success"]) for e in _entries(path)}


def _entries(path: Path) -> list[dict[str, Any]]:
    whole = path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []  # a kill may tear the last line
    return [json.loads(line) for line in whole]
