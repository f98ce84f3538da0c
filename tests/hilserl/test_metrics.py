"""The metrics file after crashes, and the interval of a success rate."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from hilserl.metrics import MetricsLog, mcnemar, read_metrics, wilson

TRIALS = st.integers(0, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def test_lines_come_back_and_are_on_disk_at_once(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "new" / "metrics.jsonl") as log:
        log.write({"step": 1, "train/critic_loss": np.float32(0.5), "stage": "warm"})
        assert [row["train/critic_loss"] for row in read_metrics(log.path)] == [0.5]
        log.write({"step": np.int64(2), "train/critic_loss": math.nan, "done": True})
    rows = read_metrics(log.path)
    assert [row["step"] for row in rows] == [1, 2]
    assert rows[1]["train/critic_loss"] is None
    assert rows[1]["done"] is True
    assert all(isinstance(row["unix_s"], float) for row in rows)


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_torn_last_line_is_skipped_and_does_not_spoil_the_next(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        log.write({"step": 1})
        log.write({"step": 2})
    path.write_bytes(path.read_bytes()[:-cut])
    assert [row["step"] for row in read_metrics(path)] == [1]
    with MetricsLog(path) as log:
        log.write({"step": 3})
    assert [row["step"] for row in read_metrics(path)] == [1, 3]


def test_damage_in_the_middle_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"ste\n{"step": 3}\n')
    with pytest.raises(ValueError, match="line 2"):
        read_metrics(path)


def test_wilson_gives_published_values() -> None:
    """Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    table = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (successes, n), expected in table.items():
        assert wilson(successes, n) == pytest.approx(expected, abs=1e-4)


@given(TRIALS)
def test_wilson_solves_its_equation(trial: tuple[int, int]) -> None:
    """At each end p, the observed rate r is z standard deviations away: (r - p)² = z² p(1 - p)/n."""
    successes, n = trial
    low, high = wilson(successes, n)
    assert 0 <= low <= high <= 1
    for p in (low, high) if n else ():
        rate = successes / n
        assert (rate - p) ** 2 == pytest.approx(1.96**2 * p * (1 - p) / n, abs=1e-9)


@given(TRIALS)
def test_wilson_is_symmetric_in_success_and_failure(trial: tuple[int, int]) -> None:
    successes, n = trial
    low, high = wilson(successes, n)
    assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, -1)])
def test_wilson_refuses_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= successes <= n"):
        wilson(successes, n)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_paired_test_is_the_exact_binomial_one(only_a: int, only_b: int) -> None:
    expected = binomtest(only_a, only_a + only_b, 0.5).pvalue if only_a + only_b else 1.0
    assert mcnemar(only_a, only_b) == pytest.approx(expected)
    assert mcnemar(only_a, only_b) == mcnemar(only_b, only_a)
