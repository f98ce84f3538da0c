"""`hilserl eval` before and between its episodes: whose turn it is, what is asked for, whose name is taken."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import UserError
from data.schema import Outcome
from data.store.episode_store import EpisodeStore
from data.store.reader import open_reader
from hilserl.commands.eval import Side, evaluated, require_free_name, turns, with_place
from hilserl.loop.witness import ASK
from hilserl.ui.coverage import CoverageConfig
from teleop.inputs import Prompt

A, B = (Side(name, Path(f"runs/{name}"), None, f"weights of {name}") for name in ("eval", "eval-against"))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Rigged:
    """What `evaluated` asks of a device on an emulated rig."""

    rig: Path


@dataclass(frozen=True)
class Flags:
    """What is needed of `EvalArgs`."""

    output_dir: Path
    name: str = "eval"
    episodes: int = 3
    verdict: bool = False
    coverage: CoverageConfig = field(default_factory=CoverageConfig)
    teleop: Any = None


@settings(deadline=None)
@given(st.integers(0, 40))
def test_two_policies_take_turns_and_neither_always_begins(episodes: int) -> None:
    found = list(turns([A, B], episodes))
    assert Counter((n, s.name) for n, s in found) == Counter((n, s.name) for n in range(episodes) for s in (A, B))
    assert [n for n, _ in found] == sorted(n for n, _ in found)
    begins = [found[2 * n][1].name for n in range(episodes)]
    assert all(a != b for a, b in pairwise(begins))
    assert [s.name for _, s in turns([A], episodes)] == ["eval"] * episodes


def test_the_place_is_the_same_for_both_policies_and_the_verdict_is_asked_for(tmp_path: Path) -> None:
    said: list[str] = []
    flags = Flags(tmp_path)
    for _ in (A, B):
        with_place(said.append, 2, flags)(Prompt.PLACE_OBJECT)  # type: ignore[arg-type]
    assert said[0] == said[1] and "in front of the arm's base" in said[0] and ASK not in said[0]
    asks = Flags(tmp_path, verdict=True)
    for number in (0, 1):  # before the first there is nothing to judge
        with_place(said.append, number, asks)(Prompt.PLACE_OBJECT)  # type: ignore[arg-type]
    assert ASK not in said[2] and said[3].startswith(ASK)
    words = json.loads((tmp_path / "guide.json").read_text())["place"]["words"]  # what the page shows
    assert words.startswith(ASK) and words.endswith(said[3].split(", ", 2)[2])


@pytest.fixture
def run(tmp_path: Path, made: ModuleType) -> Path:
    """Two evaluated episodes and an aborted one; the rig and a person saw the second succeed."""
    task = made.task(cameras=0)
    with EpisodeStore.create_or_open(tmp_path / "store", task) as store:
        for i, outcome in enumerate((Outcome.ABORTED, Outcome.TIMEOUT, Outcome.SUCCESS)):
            notes = {"policy": A.driver, "index": max(0, i - 1)}
            meta = {"kind": "eval", "outcome": outcome, "notes": notes, "detector_version": "v1"}
            store.append(made.episode(task, i, **meta))
    (tmp_path / "truth.jsonl").write_text(
        '{"tag": "episode-1", "success": false}\n{"tag": "episode-2", "success": true}\n'
    )
    (tmp_path / "verdicts.jsonl").write_text('{"uuid": "episode-2", "success": true}\n')
    return tmp_path


def test_every_judge_is_heard_and_aborted_episodes_are_not_counted(run: Path) -> None:
    found = evaluated(open_reader(run), A, Flags(run, teleop=Rigged(run)), run)  # type: ignore[arg-type]
    assert [(t.number, t.episode) for t in found.trials] == [(0, 1), (1, 2)]
    assert [t.verdicts for t in found.trials] == [
        {"classifier": False, "simulator": False},
        {"classifier": True, "simulator": True, "person": True},
    ]
    alone = evaluated(open_reader(run), A, Flags(run), run / "elsewhere")  # type: ignore[arg-type]
    assert [t.verdicts for t in alone.trials] == [{"classifier": False}, {"classifier": True}]


def test_a_name_that_means_something_else_is_refused(run: Path) -> None:
    require_free_name(Flags(run), A)  # type: ignore[arg-type]
    other = Side("eval", Path(), None, "other weights")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="--name=eval-2"):
        require_free_name(Flags(run), other)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="is taken"):
        require_free_name(Flags(run, name="online"), Side("online", Path(), None, ""))  # type: ignore[arg-type]
