"""Names inside of a run that commands accept, the journal, and the pointer to the best checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from data.errors import UserError
from hilserl.metrics import newest
from hilserl.runs import RunDirectory, find_checkpoint, load_info, save_checkpoint


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "lift")
    for n in (1, 2, 3):
        run.save_checkpoint({"w": torch.full((2,), float(n))}, {"n": n}, best=n == 2)
    return run


@pytest.mark.parametrize(("name", "n"), [("best", 2), ("last", 3), ("latest", 3), ("000001", 1)])
def test_a_checkpoint_is_named_by_run_and_name(run: RunDirectory, name: str, n: int) -> None:
    assert load_info(run.path / name) == load_info(run.path, name) == {"n": n}
    assert find_checkpoint(run.path / name) == run.checkpoints / f"{n:06d}"


def test_what_lies_beside_the_checkpoints_is_found_before_any_name(run: RunDirectory) -> None:
    save_checkpoint(run.path / "best", {"w": torch.zeros(1)}, {"n": 77})
    assert load_info(run.path / "best") == {"n": 77}


def test_a_name_that_is_none_says_what_there_is(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no checkpoint `worst` in .*lift: it has 000001, 000002, 000003"):
        find_checkpoint(run.path / "worst")
    with pytest.raises(UserError, match="no such folder"):
        find_checkpoint(tmp_path / "typo")


def test_best_points_where_it_is_told_and_says_whether_that_is_new(run: RunDirectory) -> None:
    first, second = run.checkpoints / "000001", run.checkpoints / "000002"
    assert not run.mark_best(second)
    assert run.mark_best(first) and not run.mark_best(first)
    for n in range(4, 8):
        run.save_checkpoint({"w": torch.zeros(1)}, {"n": n}, keep=2)
    assert find_checkpoint(run.path, "best") == first and not second.exists()


def test_the_journal_has_one_line_per_event_in_order(run: RunDirectory) -> None:
    run.journal("started", command="hilserl train")
    RunDirectory(run.path).journal("changed flags", flags={"learner.utd": [3.0, 1.5]})
    lines = [json.loads(line) for line in (run.path / "journal.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["started", "changed flags"]
    assert lines[1]["flags"] == {"learner.utd": [3.0, 1.5]} and lines[0]["unix_s"] <= lines[1]["unix_s"]


def test_the_newest_row_with_a_value(run: RunDirectory) -> None:
    rows = [{"a": 1}, {"a": 2, "b": None}, {"c": 3}]
    assert newest(rows, "a") == newest(rows, "b") == rows[1]
    assert newest(rows, "d") == newest([], "a") == {}
