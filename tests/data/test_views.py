"""Views partition the data, and hold it by index."""

from __future__ import annotations

import runpy
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.schema import Episode, Outcome, Source
from data.store.commit_log import Commit
from data.views import Role, roles, select

_made = runpy.run_path(str(Path(__file__).parents[1] / "data" / "made_episodes.py"))
SOURCES = st.lists(st.sampled_from(list(Source)), min_size=1, max_size=12)


def _episode(sources: list[Source], kind: str, outcome: Outcome) -> Episode:
    return _made["blank"](len(sources), outcome, kind, source=np.array(sources, np.uint8))


@settings(deadline=None)
@given(SOURCES, st.sampled_from(["demo", "baseline", "online", "labels", "eval-before"]), st.sampled_from(Outcome))
def test_views_partition_the_data(sources: list[Source], kind: str, outcome: Outcome) -> None:
    found = roles(_episode(sources, kind, outcome))
    assert (found.dtype, found.shape) == (np.uint8, (len(sources),))
    views = [set(np.flatnonzero(found == role)) for role in Role]
    assert sum(map(len, views)) == len(set.union(*views)) == len(sources)
    human = {t for t, s in enumerate(sources) if s is Source.HUMAN}
    assert human <= views[Role.DEMO] | views[Role.INTERVENTION]
    if kind == "demo":
        assert len(views[Role.DEMO]) == len(sources)
    else:
        assert views[Role.INTERVENTION] == human
        shown = kind == "baseline" and outcome is Outcome.SUCCESS and not human
        assert len(views[Role.DEMO]) == (len(sources) if shown else 0)


def _commit(index: int, **fields: object) -> Commit:
    start = Commit(index, f"ep_{index:06d}", f"u{index}", 5, "online", Outcome.SUCCESS, 0, "", False, 0.0, 0)
    return replace(start, **fields)  # type: ignore[arg-type]


def test_select_filters_by_every_field() -> None:
    choices = {
        "kind": ["online", "demo"],
        "session": ["", "a"],
        "outcome": [Outcome.SUCCESS, Outcome.TIMEOUT],
        "detector_version": ["", "v1"],
        "human_steps": [0, 3],
        "salvaged": [False, True],
    }
    commits = [
        _commit(i, **dict(zip(choices, values, strict=True))) for i, values in enumerate(product(*choices.values()))
    ]
    assert select(commits) == commits
    names = {"detector_version": "detector", "human_steps": "human"}
    for field, values in choices.items():
        argument = names.get(field, field)
        parts = [select(commits, **{argument: bool(v) if argument == "human" else v}) for v in values]
        assert [len(p) for p in parts] == [len(commits) // 2] * 2
        assert sorted(c.index for p in parts for c in p) == [c.index for c in commits]
        for value, part in zip(values, parts, strict=True):
            assert all(getattr(c, field) == value for c in part)
    assert select(commits, kind=("online", "demo")) == commits
    assert len(select(commits, kind="demo", session="a", human=False)) == len(commits) // 8


@pytest.mark.parametrize("kind", ["dem", "onlin", ""])
def test_a_kind_is_not_matched_by_its_letters(kind: str) -> None:
    assert select([_commit(0)], kind=kind) == []
