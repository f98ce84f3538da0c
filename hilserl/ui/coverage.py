"""Coverage: where the object lay, how the episodes from there went, and where to put it next.

Edge positions were under-trained in the one published SO-101 run (style_ux.md B5), so places that were not tried, or
that fail, are asked for more often, in a range that widens with success.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from hilserl.loop.starts import halton
from hilserl.ui.attempts import Attempt, Place
from hilserl.ui.spot import ColourConfig, fit_table, to_table


@dataclass(frozen=True)
class CoverageConfig:
    """`--coverage...`: the map of where the object lies, and the places that are asked for."""

    low_m: tuple[float, float] = (0.18, -0.05)  # corner of the object's area, x forward and y left of the base
    high_m: tuple[float, float] = (0.28, 0.05)  # the opposite corner
    cells: tuple[int, int] = (4, 4)  # of the map, in x and y
    prompts: bool = True  # say where to put the object before each operated episode
    first_reach: float = 0.5  # share of the area, around its centre, that is asked for at the beginning
    reach_step: float = 0.25  # wider or narrower by this ...
    reach_episodes: int = 10  # ... after so many episodes,
    widen_success: float = 0.6  # wider when this share of them succeeds,
    narrow_success: float = 0.2  # narrower when less than this does
    object: ColourConfig = field(default_factory=ColourConfig)


class Target(NamedTuple):
    """A place to put the object."""

    x_m: float
    y_m: float
    why: str = ""


@dataclass(frozen=True)
class Coverage:
    """Episodes on a grid of cells."""

    of: Literal["object", "picture", "start"]  # object on the table; object in the picture; start pose of the arm
    low: Place  # corner of the grid: metres, or shares of the picture
    high: Place
    tries: np.ndarray  # int [X, Y]
    wins: np.ndarray  # int [X, Y]
    points: np.ndarray  # float [N, 2], in the same units
    won: np.ndarray  # bool [N]

    def cell_of(self, place: Place) -> tuple[int, int]:
        """Return the cell that a place is in, or the nearest one."""
        x, y = (
            int(np.clip((v - low) / (high - low) * n, 0, n - 1))
            for v, low, high, n in zip(place, self.low, self.high, self.tries.shape, strict=True)
        )
        return x, y

    def to_json(self) -> dict[str, Any]:
        """Return the counted cells as JSON values."""
        counts = {"tries": self.tries.tolist(), "wins": self.wins.tolist()}
        return {"of": self.of, "low": [*map(float, self.low)], "high": [*map(float, self.high)], **counts}

    def centre_of(self, cell: tuple[int, int]) -> Place:
        """Return the centre of a cell."""
        x, y = (
            low + (i + 0.5) * (high - low) / n
            for i, low, high, n in zip(cell, self.low, self.high, self.tries.shape, strict=True)
        )
        return x, y


def coverage(attempts: Sequence[Attempt], config: CoverageConfig, true_places: dict[str, Place]) -> Coverage:
    """Count episodes by where the object lay, as well as that is known.

    Args:
        attempts: finished episodes.
        config: area, cells and the object's colour.
        true_places: {uuid: place}, on an emulated rig; {} elsewhere.
    """
    of, points, kept = _places(attempts, true_places)
    if of == "picture" and len(points):
        low, high = points.min(0) - 0.01, points.max(0) + 0.01
    else:
        low, high = np.array(config.low_m), np.array(config.high_m)
    tries, wins = np.zeros((2, *config.cells), int)
    won = np.array([a.stripe.won for a in kept], bool)
    found = Coverage(of, (low[0], low[1]), (high[0], high[1]), tries, wins, points, won)
    for point, success in zip(points, won, strict=True):
        cell = found.cell_of((point[0], point[1]))
        tries[cell] += 1
        wins[cell] += success
    return found


def weights(found: Coverage, within: float) -> np.ndarray:
    """Return how much each cell is worth trying, float [X, Y], sum 1; 0 outside of the share `within` of the area.

    What fails counts, and what is little known: (failures + 1) / (tries + 2) + 1 / (tries + 1).
    """
    tries, failures = found.tries, found.tries - found.wins
    worth = (failures + 1) / (tries + 2) + 1 / (tries + 1)
    axes = [np.abs(2 * (np.arange(n) + 0.5) / n - 1) for n in tries.shape]  # 0 at the centre of the area, 1 at its edge
    nearest = [float(a.min()) for a in axes]  # an area of few cells has none nearer
    inside = np.logical_and.outer(*(a <= max(within, least) for a, least in zip(axes, nearest, strict=True)))
    worth = np.where(inside, worth, 0.0)
    return worth / worth.sum()


def suggest(found: Coverage, within: float, rng: np.random.Generator) -> Target:
    """Draw a place to put the object, anywhere in a cell that is drawn by `weights`, and say why."""
    shares = weights(found, within)
    x, y = divmod(int(rng.choice(shares.size, p=shares.ravel())), shares.shape[1])
    size = [(high - low) / n for low, high, n in zip(found.low, found.high, shares.shape, strict=True)]
    x_m, y_m = (c + rng.uniform(-0.4, 0.4) * s for c, s in zip(found.centre_of((x, y)), size, strict=True))
    tries, wins = int(found.tries[x, y]), int(found.wins[x, y])
    why = "" if not found.tries.any() else f"{wins} of {tries} so far" if tries else "not tried yet"
    return Target(float(x_m), float(y_m), why)


def fixed(config: CoverageConfig, number: int) -> Target:
    """Return the place of the `number`-th episode of a fixed series, which fills the area evenly."""
    low, high = np.array(config.low_m), np.array(config.high_m)
    x_m, y_m = low + halton(number, 2) * (high - low)
    return Target(float(x_m), float(y_m))


def reach(won: Sequence[bool], config: CoverageConfig) -> float:
    """Return the share of the area to ask for after these episodes, oldest first: it widens with success."""
    now, n = config.first_reach, config.reach_episodes
    for begin in range(0, len(won) - n + 1, n):
        success = sum(won[begin : begin + n]) / n
        if success >= config.widen_success:
            now = min(1.0, now + config.reach_step)
        elif success < config.narrow_success:
            now = max(config.first_reach, now - config.reach_step)
    return now


def in_words(place: Target) -> str:
    """Return a place as a person finds it on the table, and why it is asked for."""
    side = "left" if place.y_m > 0 else "right"
    off = "straight ahead" if abs(place.y_m) < 0.005 else f"{100 * abs(place.y_m):.0f} cm to its {side}"
    return f"{100 * place.x_m:.0f} cm in front of the arm's base, {off}" + (f" ({place.why})" if place.why else "")


def _places(
    attempts: Sequence[Attempt], true_places: dict[str, Place]
) -> tuple[Literal["object", "picture", "start"], np.ndarray, list[Attempt]]:
    """Return what is known best of where the object lay: [N, 2] of these episodes."""
    known = [a for a in attempts if a.uuid in true_places]
    if known:
        return "object", _rows([true_places[a.uuid] for a in known]), known
    seen = [a for a in attempts if a.spot is not None]
    if 2 * len(seen) > len(attempts):
        spots = _rows([a.spot for a in seen])
        grasped = [i for i, a in enumerate(seen) if a.stripe.won and a.closed_m is not None]
        homography = fit_table(spots[grasped], _rows([seen[i].closed_m for i in grasped]))
        return ("picture", spots, seen) if homography is None else ("object", to_table(homography, spots), seen)
    started = [a for a in attempts if a.start_m is not None]
    return "start", _rows([a.start_m for a in started]), started


def _rows(places: Sequence[Place | None]) -> np.ndarray:
    return np.array(places, float).reshape(-1, 2)
