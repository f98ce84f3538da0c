"""Copies of a run for TensorBoard, wandb and rerun: all of it, once, however often they are made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from data.errors import UserError
from data.schema import Outcome
from data.store.episode_store import EpisodeStore
from hilserl.commands.curves import main
from hilserl.metrics import MetricsLog
from hilserl.runs import RunDirectory
from hilserl.ui.curves import read_names


@pytest.fixture
def run(tmp_path: Path, made: ModuleType) -> RunDirectory:
    """An operated success, a failed check and an aborted episode; two rows of metrics."""
    run, task = RunDirectory(tmp_path / "lift"), made.task(1, size_px=16)
    with EpisodeStore.create_or_open(run.path / "store", task) as store:
        plan = [("online", Outcome.SUCCESS), ("check", Outcome.TIMEOUT), ("online", Outcome.ABORTED)]
        for i, (kind, outcome) in enumerate(plan):
            store.append(made.episode(task, i, kind=kind, outcome=outcome))
    write(run, 20)
    write(run, 40)
    return run


def write(run: RunDirectory, updates: int) -> None:
    with MetricsLog(run.metrics_path) as metrics:
        metrics.write({"updates": updates, "train/loss": updates / 100, "name": "no number", "none": float("nan")})


def read_tensorboard(run: RunDirectory) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    return {tag: [(e.step, pytest.approx(e.value)) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_every_number_is_copied_once(run: RunDirectory) -> None:
    assert main([str(run.path), "--to=tensorboard"]) == 0
    write(run, 60)
    assert main([str(run.path), "--to=tensorboard"]) == 0
    found = read_tensorboard(run)
    assert found["train/loss"] == [(20, 0.2), (40, 0.4), (60, 0.6)]
    assert found["episode/success"] == [(1, 1.0), (2, 0.0)]
    assert found["episode/untouched_success"] == [(2, 0.0)]
    assert set(found) == {
        "train/loss", "episode/success", "episode/untouched_success", "episode/human_share", "episode/s",
    }  # fmt: skip


def test_it_follows_until_it_is_stopped_and_then_copies_the_rest(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates = iter((60, 80))

    def time_passes(_: float) -> None:
        """The learner writes a row; while it writes the second, the run is stopped."""
        write(run, at := next(updates))
        if at == 80:
            raise KeyboardInterrupt

    monkeypatch.setattr("hilserl.commands.curves.time.sleep", time_passes)
    assert main([str(run.path), "--to=tensorboard", "--follow"]) == 0
    assert [step for step, _ in read_tensorboard(run)["train/loss"]] == [20, 40, 60, 80]


def test_a_run_without_anything_has_no_curves_yet(tmp_path: Path) -> None:
    assert main([str(tmp_path), "--to=tensorboard"]) == 0


def test_what_is_unknown_or_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="tensorboard, wandb, rerun"):
        read_names("plots")
    assert read_names(",") == []
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match="uv run --extra wandb"):
        read_names("wandb")


def test_wandb_gets_them_offline(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="needs the extra: uv run --extra wandb pytest")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    command = [sys.executable, "-m", "hilserl.cli", "curves", str(run.path), "--to=wandb"]
    subprocess.run(command, check=True, capture_output=True)  # it writes the last of it as the process ends
    (found,) = (run.path / "wandb").glob("offline-run-*/*.wandb")
    assert b"train/loss" in found.read_bytes() and b"episode/untouched_success" in found.read_bytes()


def test_rerun_gets_every_episode(run: RunDirectory) -> None:
    pytest.importorskip("rerun", reason="needs the extra: uv run --extra rerun pytest")
    assert main([str(run.path), "--to=rerun"]) == 0
    found = sorted((run.path / "rerun").iterdir())
    assert [p.name for p in found] == ["000000.rrd", "000001.rrd", "000002.rrd"]
    content = found[0].read_bytes()
    for name in (b"observation.images.camera0", b"observation.state.joints", b"action.dx", b"who"):
        assert name in content
