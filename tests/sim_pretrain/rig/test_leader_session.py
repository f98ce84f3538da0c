"""A person with a leader and a gamepad at the rig, as the commands say it: real processes, drivers and SDL."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hilserl.cli import main
from hilserl.commands import enter
from hilserl.robot import checkup
from sim_pretrain.rig.client import RigClient, arm_flags, teleop_flags
from sim_pretrain.servo_fit import read_traces

HILSERL = [sys.executable, "-m", "hilserl.cli"]


def until(condition: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s, f"waited in vain until {what}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def rig() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="rig"))  # short: a socket's path has 107 characters at most
    with (directory / "log").open("w") as log:
        command = [
            *HILSERL,
            "rig",
            "--leader",
            "--gamepad",
            f"--directory={directory}",
            "--time_scale=3",
            "--profile.camera_fps=15",
        ]
        process = subprocess.Popen(command, stderr=log)
    try:
        until((directory / "rig.json").exists, "the rig is ready")
        yield directory
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(directory)


@pytest.fixture
def teleop(rig: Path, tmp_path: Path) -> Iterator[subprocess.Popen]:
    """`hilserl teleop` with the flags that the rig prints; what it says goes to `log`."""
    flags = arm_flags(rig) + teleop_flags(rig)
    until(lambda: shlex.join(flags) in (rig / "log").read_text(), "the rig has printed the flags")
    with (tmp_path / "log").open("w") as file:
        process = subprocess.Popen([*HILSERL, "teleop", *flags], stderr=file)
    yield process
    process.kill()
    process.wait()


def test_practice_with_the_leader(rig: Path, teleop: subprocess.Popen, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def says(words: str) -> bool:
        """Whether the newest line has these words."""
        return words in re.split(r"\r|\n", log.read_text())[-1]

    def ee() -> np.ndarray:
        return np.array(person.truth()["ee_m"])

    with RigClient(rig) as person:
        until(lambda: "put the object back" in log.read_text(), "the arm is at the start pose")
        until(lambda: says("the leader follows"), "the leader is aligned")
        assert all(person.leader()["torque"])
        person.pad("tap", "start")
        person.hand(0.5, shoulder_pan=0.3)
        until(lambda: says("you lead"), "the grab is felt")
        before = ee()

        def led() -> bool:
            """Move the hand on; on a busy machine it may have rested for so long that it had handed back."""
            person.hand(0.5 + 0.5 * (int(time.monotonic()) % 2), shoulder_pan=0.3)
            return bool(np.linalg.norm(ee() - before) > 0.03)

        until(led, "the arm follows the leader")
        assert not any(person.leader()["torque"])
        person.let_go()
        until(lambda: says("the leader follows"), "rest hands back")

        before = ee()
        person.fault("unplug", bus="leader")
        until(lambda: says("GONE"), "the loss is seen")
        time.sleep(0.3)
        assert np.linalg.norm(ee() - before) < 0.01, "the arm holds"
        person.fault("heal")
        until(lambda: says("the leader follows"), "it is back")

        person.pad("press", "rightshoulder")
        until(lambda: says("DRIVES"), "the gamepad's deadman takes over, too")
        teleop.send_signal(signal.SIGINT)
        assert teleop.wait(30) == 130
        assert not any(person.leader()["torque"]), "the leader is left limp"
        before = ee()
        time.sleep(0.3)
        assert np.linalg.norm(ee() - before) < 0.005, "the arm is left holding"
    assert "Traceback" not in log.read_text()
    assert not list(Path().glob("store")), "nothing was recorded"


def test_doctor_finds_everything_in_order_and_tries_it(
    rig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkup, "LOOK_S", 0.3)
    monkeypatch.setattr(enter, "pressed", lambda: False)
    monkeypatch.setattr("builtins.input", lambda question: "no")
    command = ["doctor", f"--rig={rig}", f"--output_dir={tmp_path}", "--move"]
    assert main(command) == 1
    assert "nothing was moved" in capsys.readouterr().out
    assert main([*command, "--yes"]) == 0
    said = capsys.readouterr().out
    for looked_at in ("names", "motors", "calibration", "camera wrist", "leader", "device", "reach", "+z, up"):
        assert f"ok    {looked_at}" in said, said
    assert len(read_traces(tmp_path / "servos.json")) == 5


def test_a_person_can_ask_the_rig_from_the_command_line(rig: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["rig", "ask", f"--directory={rig}"]

    def elbow_rad() -> float:
        capsys.readouterr()
        assert main([*ask, "op=leader"]) == 0
        return json.loads(capsys.readouterr().out)["joints_rad"][2]

    by_rad = -0.2 if (before := elbow_rad()) > 0 else 0.2
    assert main([*ask, "op=hand", f"elbow_flex={by_rad}", "seconds=0.1"]) == 0
    until(lambda: abs(elbow_rad() - before) > 0.15, "the hand has moved the leader")
    assert main([*ask, "op=pad", "act=tap", "control=start"]) == 0
    assert json.loads((rig / "pad.events").read_text().splitlines()[-1])["control"] == "start"
    for wrong, accepted in (
        (["op=dance"], "hand, pad"),
        (["op=pad", "act=press", "control=z"], "rightshoulder"),
        (["op=hand", "elbow=1"], "elbow_flex"),
        (["op=fault", "kind=silence", "bus=tram"], "leader"),
    ):
        assert main([*ask, *wrong]) == 1
        assert accepted in capsys.readouterr().err
    assert main(["rig", "ask", f"--directory={rig / 'none'}", "op=truth"]) == 1
    assert "hilserl rig --directory" in capsys.readouterr().err
