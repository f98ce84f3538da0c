"""The main job, as a new user starts it, in its smallest form."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import draccus
import pytest

from data.errors import UserError
from data.schema import Source
from data.store.episode_store import EpisodeStore
from hilserl.commands.status import main as status
from hilserl.ui.attempts import read_truth
from sim_pretrain.demo import QUICK, DemoArgs, world_of
from sim_pretrain.world.profile import HardWorld, RealWorld, WorldProfile, read_profile


@pytest.fixture
def run() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="demo"))  # short: a socket's path has 107 characters at most
    yield folder / "run"
    shutil.rmtree(folder)


def test_a_profile_flag_or_file_changes_one_field_and_keeps_the_gap(tmp_path: Path) -> None:
    flagged = draccus.parse(DemoArgs, args=["--profile.brightness=0.5", "--profile.cube_rgb=[0, 0, 1]"])
    assert flagged.profile == replace(RealWorld(), brightness=0.5, cube_rgb=(0.0, 0.0, 1.0))
    file = tmp_path / "profile.json"
    file.write_text('{"servo_gain": 30}')
    assert read_profile(file, RealWorld) == replace(RealWorld(), servo_gain=30.0)
    file.write_text('{"servo_gains": 30}')
    with pytest.raises(UserError, match="servo_gain, "):
        read_profile(file, RealWorld)
    with pytest.raises(UserError, match="absent"):
        read_profile(tmp_path / "absent.json", RealWorld)


def test_the_hard_table_keeps_every_change_that_was_asked_for(tmp_path: Path) -> None:
    args = DemoArgs(output_dir=tmp_path, hard=True, profile=replace(RealWorld(), brightness=0.5))
    assert world_of(args) == replace(HardWorld(), brightness=0.5)
    assert world_of(replace(args, hard=False)) == args.profile
    assert world_of(DemoArgs(output_dir=tmp_path, gap=False)) == WorldProfile()
    with pytest.raises(UserError, match="--hard"):
        world_of(DemoArgs(output_dir=tmp_path, gap=False, hard=True))


def test_quick_demo_runs_every_stage(run: Path, capsys) -> None:
    command = [sys.executable, "-m", "hilserl.cli", "demo", f"--output_dir={run}"]
    done = subprocess.run(
        [*command, "--quick", "--time_scale=4", "--profile.camera_fps=15"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for number in range(1, 6):
        assert f"[{number}/5]" in done.stdout
    for words in ("before", "after", "95 % interval", "minutes", "classifier agreed"):
        assert words in done.stdout

    store = EpisodeStore.reader(run / "store")
    assert store.verify() == []
    stages = {"eval-before": "evaluations", "labels": "labels", "baseline": "baseline", "online": "episodes"}
    for kind, size in {**stages, "eval-after": "evaluations"}.items():
        made = len(store.commits(kind))
        if kind == "labels":  # when the classifier says that they do not suffice, the operator records more
            assert made in (QUICK[size], QUICK[size] * 3 // 2, QUICK[size] * 2)
        else:
            assert made == QUICK[size], kind
    assert {c.uuid for c in store.commits()} == set(read_truth(run / "rig" / "truth.jsonl"))
    for kind in ("eval-before", "baseline", "eval-after"):
        assert all(c.human_steps == 0 for c in store.commits(kind)), "untouched means untouched"
    online = [store.read(c) for c in store.commits("online")]
    assert any((e.source == Source.HUMAN).any() for e in online), "the operator never helped"
    assert max(e.policy_version.max() for e in online) > 0, "the learner's weights never reached the actor"
    assert all(c.detector_version for c in store.commits("online"))

    report = json.loads((run / "report.json").read_text())
    assert [row["n"] for row in report["rows"]] == [4, 3, 5, 4]
    assert cv2.imread(str(run / "progress.png")).std() > 10

    assert status([str(run)]) == 0
    assert "eval-after" in capsys.readouterr().out

    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 1
    assert "--resume" in again.stderr
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert len(EpisodeStore.reader(run / "store").commits()) == len(store.commits()), (
        "a finished demo has nothing to do"
    )
