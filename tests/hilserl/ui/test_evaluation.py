"""Evaluations: counts by judge, disagreements, two policies from the same starts, and what is worth watching."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from hilserl.metrics import mcnemar
from hilserl.ui.evaluation import Evaluated, Trial, agreement, compare, table, to_json, worst_first

VERDICTS = st.dictionaries(st.sampled_from(("simulator", "person", "classifier")), st.booleans(), max_size=3)


def side(*verdicts: Mapping[str, bool], policy: str = "runs/lift") -> Evaluated:
    return Evaluated(policy, tuple(Trial(i, 100 + i, 4.0 + i, v) for i, v in enumerate(verdicts)))


@settings(deadline=None)
@given(st.lists(VERDICTS, max_size=20))
def test_each_judge_counts_what_it_judged(verdicts: list[Mapping[str, bool]]) -> None:
    found = side(*verdicts)
    assert found.judges == [j for j in ("simulator", "person", "classifier") if any(j in v for v in verdicts)]
    for judge in found.judges:
        wins, n = found.count(judge)
        assert (wins, n) == (sum(v.get(judge, False) for v in verdicts), sum(judge in v for v in verdicts))
        own = agreement(found, judge, judge)
        assert (own.n, own.false_successes, own.missed) == (n, 0, 0)


@settings(deadline=None)
@given(st.lists(VERDICTS, max_size=20), st.lists(VERDICTS, max_size=20))
def test_only_starts_that_both_were_judged_from_are_compared(
    first: list[Mapping[str, bool]], second: list[Mapping[str, bool]]
) -> None:
    found = compare(side(*first), side(*second))
    starts = list(zip(first, second, strict=False))
    assert (found is None) == (not any(a.keys() & b.keys() for a, b in starts))
    if found is not None:
        pairs = [(a[found.judge], b[found.judge]) for a, b in starts if found.judge in a.keys() & b.keys()]
        assert found.both + found.only_first + found.only_second + found.neither == len(pairs) > 0
        assert found.only_first - found.only_second == sum(a for a, _ in pairs) - sum(b for _, b in pairs)
        assert found.p == mcnemar(found.only_first, found.only_second)


def test_the_table_says_who_judged_what_they_disagree_about_and_which_is_better() -> None:
    won, lost = {"simulator": True, "classifier": True}, {"simulator": False, "classifier": False}
    first = side(*[won] * 17, *[lost] * 2, {"simulator": False, "classifier": True}, policy="runs/a")
    second = side(*[won] * 8, *[lost] * 12, policy="runs/b")
    lines = table([first, second]).splitlines()
    assert lines[1].split() == ["A", "runs/a", "simulator", "17", "of", "20", "64", "to", "95", "%", "13.5"]
    assert lines[2].split()[:4] == ["classifier", "18", "of", "20"]
    assert "A: the classifier agrees with the simulator in 19 of 20; 1 false successes, 0 missed" in lines
    assert "both succeed in 8, only A in 9, only B in 0, neither in 3." in lines[-2]
    assert lines[-1] == "Exact McNemar test: p = 0.0039; A is better."
    assert "may be chance" in table([side(won, won, lost), side(won, lost, lost)])
    assert "McNemar" not in table([first])


def test_what_is_kept_can_be_read_back() -> None:
    kept = json.loads(json.dumps(to_json([side({"person": True}), side({"person": False})])))
    assert kept["comparison"] == {
        "judge": "person",
        "both": 0,
        "only_first": 1,
        "only_second": 0,
        "neither": 0,
        "p": 1.0,
    }
    assert kept["policies"][0]["trials"][0]["verdicts"] == {"person": True}
    assert to_json([side()])["comparison"] is None


def test_disagreements_are_watched_first_then_failures_then_slow_successes() -> None:
    agree, odd, lost = {"person": True, "classifier": True}, {"person": True, "classifier": False}, {"person": False}
    assert [t.number for t in worst_first(side(agree, lost, agree, odd))] == [3, 1, 2, 0]


def test_nobody_who_judged_both_compares_nothing() -> None:
    assert compare(side({"person": True}), side({"classifier": True})) is None
