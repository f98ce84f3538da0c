"""The rig as a process, with LeRobot's driver, its cameras and the side channel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sim_pretrain.rig.camera import EmulatedCameraConfig
from sim_pretrain.rig.client import RigClient

ROOT = Path(__file__).parents[3]


def wait_for(condition: Callable[[], object], process: subprocess.Popen, what: str) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.stdout.read()  # type: ignore[union-attr]
        assert time.monotonic() < deadline_s, f"waited a minute for {what}"
        time.sleep(0.02)


def start(directory: Path) -> subprocess.Popen:
    profile = directory.parent / "profile.json"
    profile.write_text(json.dumps({"camera_latency_s": 0.02, "action_latency_s": 0.02}))
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "sim_pretrain.rig.rig",
            f"--directory={directory}",
            f"--profile_json={profile}",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def rig(tmp_path: Path):
    process = start(tmp_path)
    try:
        wait_for((tmp_path / "rig.json").exists, process, "rig.json")
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_whole_session_with_the_real_driver(rig: subprocess.Popen, tmp_path: Path, connected) -> None:
    announced = json.loads((tmp_path / "rig.json").read_text())
    assert announced["pid"] == rig.pid and announced["profile"]["camera_latency_s"] == 0.02
    size = {
        "width": announced["profile"]["native_width_px"],
        "height": announced["profile"]["native_height_px"],
    }
    cameras = {name: EmulatedCameraConfig(path=path, fps=30, **size) for name, path in announced["cameras"].items()}
    robot = connected(cameras=cameras)
    assert robot.is_calibrated

    first = robot.get_observation()
    assert {first[name].shape for name in cameras} == {(size["height"], size["width"], 3)}
    assert min(first[name].std() for name in cameras) > 5  # a scene, not a blank
    target = {key: value for key, value in first.items() if key.endswith(".pos")}
    target["shoulder_pan.pos"] += 20.0
    robot.send_action(target)
    wait_for(
        lambda: abs(robot.get_observation()["shoulder_pan.pos"] - target["shoulder_pan.pos"]) < 1,
        rig,
        "motion",
    )
    later = robot.get_observation()
    assert np.abs(later["front"].astype(int) - first["front"]).max() > 50  # the camera saw it

    with RigClient(tmp_path) as person:
        person.begin("episode-1")
        person.place(0.21, 0.05, 0.3)
        assert person.truth()["cube_m"][:2] == pytest.approx([0.21, 0.05], abs=1e-3)
        assert person.end("episode-1")["success"] is False
        with pytest.raises(ValueError, match="finite"):
            person.place(float("nan"), 0.0)
        with pytest.raises(ValueError, match="silence, corrupt"):
            person.fault("gremlins")

        person.fault("freeze_camera", camera="wrist")
        time.sleep(0.1)
        with pytest.raises(TimeoutError):
            robot.cameras["wrist"].read_latest(max_age_ms=50)
        robot.cameras["front"].read_latest()
        person.fault("dead_motor", motor="gripper")
        with pytest.raises(ConnectionError):
            robot.get_observation()
        person.fault("unplug")
        wait_for(lambda: not (tmp_path / "follower").is_symlink(), rig, "unplug")
        person.fault("heal")
        assert (tmp_path / "follower").is_symlink()
        robot.cameras["wrist"].read()
    assert json.loads((tmp_path / "truth.jsonl").read_text())["tag"] == "episode-1"

    second = start(tmp_path)  # the same directory
    output, _ = second.communicate(timeout=60)
    assert second.returncode != 0 and "already running" in output

    rig.send_signal(signal.SIGTERM)
    assert rig.wait(timeout=20) == 0
    assert {path.name for path in tmp_path.iterdir()} <= {"calibration", "rig.lock", "truth.jsonl"}
    with pytest.raises(ConnectionError):
        RigClient(tmp_path)


def test_a_killed_rig_does_not_block_the_next(rig: subprocess.Popen, tmp_path: Path) -> None:
    rig.kill()
    rig.wait()
    assert (tmp_path / "rig.json").exists()
    successor = start(tmp_path)
    try:
        wait_for(
            lambda: (
                os.path.exists(tmp_path / "rig.json")
                and json.loads((tmp_path / "rig.json").read_text())["pid"] == successor.pid
            ),
            successor,
            "the next rig",
        )
        with RigClient(tmp_path) as person:
            person.stop()
        assert successor.wait(timeout=20) == 0
    finally:
        successor.kill()
        successor.communicate()
