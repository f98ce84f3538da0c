"""Numbers over time: one JSON object per line, and the interval that belongs to a success rate."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsFloat

import numpy as np

Scalar = SupportsFloat | str | None


class MetricsLog:
    """Appends to a metrics file. One writer per file; any number of readers, at any time.

    Every line is written at once and whole, so a crash can tear the last line at most. A tail that an earlier
    process left torn is cut off when the file is opened, so that the next line starts on its own.
    """

    def __init__(self, path: Path | str) -> None:
        """Open `path` for appending; it and its folder are made when absent."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_tail(self.path)
        self._file = self.path.open("ab", buffering=0)

    def write(self, values: Mapping[str, Scalar]) -> None:
        """Append one line, e.g. {"step": 400, "train/critic_loss": 0.1}, stamped with `unix_s`.

        NumPy and torch scalars are taken as numbers. NaN and infinities become null: JSON lacks them.
        """
        line = {"unix_s": round(time.time(), 3), **{name: _plain(value) for name, value in values.items()}}
        self._file.write((json.dumps(line, allow_nan=False) + "\n").encode())

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_metrics(path: Path | str) -> list[dict[str, float | int | bool | str | None]]:
    """Return every whole line of a metrics file, oldest first; a torn last line is left out.

    Raises:
        ValueError: a line before the last one is not JSON: the file was damaged by something else.
    """
    whole_lines = Path(path).read_bytes().split(b"\n")[:-1]  # what follows the last newline is empty or torn
    rows = []
    for number, line in enumerate(whole_lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error}); remove that line to go on") from error
    return rows


def newest(rows: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """Return the last row that has the value `name`, or {}."""
    return next((row for row in reversed(rows) if name in row), {})


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a success rate (Wilson 1927); z = 1.96 covers 95 %.

    Unlike mean ± z·σ it stays inside [0, 1] and keeps its width at 0 of n and n of n, which is where small
    robot evaluations end up. Without any trial it is (0, 1): nothing is known.

    Raises:
        ValueError: `successes` is not within 0..n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}: expected 0 <= successes <= n")
    if n == 0:
        return 0.0, 1.0
    rate, z2 = successes / n, z * z
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half_width = z / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half_width)  # exact at the ends, where rounding is not
    high = 1.0 if successes == n else min(1.0, centre + half_width)
    return low, high


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p-value that two policies are equally good, from paired episodes (McNemar 1947).

    Args:
        only_a: starts from which the first succeeded and the second did not.
        only_b: the other way round. Starts from which both did the same say nothing.
    """
    n, least = only_a + only_b, min(only_a, only_b)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(least + 1)) / 2**n)


def trailing(values: np.ndarray, window: int) -> np.ndarray:
    """Return the mean over the last `window` values at each place, float64 [N]; over fewer at the start."""
    sums = np.cumsum(np.insert(values.astype(float), 0, 0.0))
    stops = np.arange(1, len(values) + 1)
    starts = np.maximum(stops - window, 0)
    means: np.ndarray = (sums[stops] - sums[starts]) / (stops - starts)
    return means


def _plain(value: Scalar) -> float | int | bool | str | None:
    """Return `value` as something that JSON can hold."""
    if value is None or isinstance(value, bool | int | str):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def _cut_torn_tail(path: Path) -> None:
    """Shorten the file to its last newline."""
    if not path.exists():
        return
    text = path.read_bytes()
    whole = text.rfind(b"\n") + 1
    if whole < len(text):
        os.truncate(path, whole)
