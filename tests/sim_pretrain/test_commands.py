"""The commands on a running rig, as real processes: bad input, sudden death, and going on afterwards."""

from __future__ import annotations

import json
import os
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

from data.schema import Outcome
from data.store.episode_store import EpisodeStore
from hilserl.cli import main
from sim_pretrain.demo import CHECKPOINT
from sim_pretrain.rig.client import RigClient, arm_flags

HILSERL = [sys.executable, "-m", "hilserl.cli"]


def until(condition: Callable[[], object], what: str, timeout_s: float = 180.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited in vain until {what}"
        time.sleep(0.02)


def start_rig(directory: Path) -> subprocess.Popen:
    command = [*HILSERL, "rig", f"--directory={directory}", "--time_scale=6", "--profile.camera_fps=15"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until((directory / "rig.json").exists, "the rig is ready")
    return process


@pytest.fixture
def rig() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="rig"))  # short: a socket's path has 107 characters at most
    process = start_rig(directory)
    yield directory
    if process.poll() is None:
        process.terminate()
        process.wait(20)
    shutil.rmtree(directory)


def scripted(rig: Path, run: Path) -> list[str]:
    return [
        *arm_flags(rig),
        f"--output_dir={run}",
        "--teleop.type=scripted",
        f"--teleop.rig={rig}",
        "--ui.enabled=false",
    ]


def replaced(flags: list[str], name: str, value: object) -> list[str]:
    return [f for f in flags if not f.startswith(f"--{name}=")] + [f"--{name}={value}"]


def test_bad_input_gives_a_clear_error_and_loses_nothing(rig: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    flags = [*scripted(rig, run), "--teleop.plays=watch", f"--policy.path={CHECKPOINT}", "--episodes=1"]

    def fails(arguments: list[str], *says: str) -> None:
        assert main(["eval", *arguments]) == 1
        error = capsys.readouterr().err
        assert "Traceback" not in error, error
        for words in says:
            assert words in error, f"{words!r} is not in: {error}"

    fails(replaced(flags, "robot.port", tmp_path / "absent"), "absent", "lerobot-find-port")

    wrong = tmp_path / "calibration"
    wrong.mkdir()
    calibration = json.loads((rig / "calibration" / "arm.json").read_text())
    calibration["elbow_flex"]["homing_offset"] += 200
    (wrong / "arm.json").write_text(json.dumps(calibration))
    fails(replaced(flags, "robot.calibration_dir", wrong), "elbow_flex", "lerobot-calibrate")

    fails(replaced(flags, "robot.calibration_dir", tmp_path / "nowhere"), "lerobot-calibrate")

    with RigClient(rig) as people:
        people.fault("freeze_camera", camera="wrist")
        time.sleep(2.5)
        fails(flags, "wrist", "lerobot-find-cameras")
        people.fault("heal")

    other = tmp_path / "other_policy"
    shutil.copytree(CHECKPOINT, other)
    info = json.loads((other / "info.json").read_text())
    info["spec"]["action"]["step_m"] = 0.02
    (other / "info.json").write_text(json.dumps(info))
    fails(replaced(flags, "policy.path", other), "action.step_m", "0.02")
    fails(replaced(flags, "policy.path", tmp_path / "no_policy"), "no_policy")
    with pytest.raises(SystemExit) as refused:
        main(["eval", *flags, "--episode=3"])
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert "--episode=3" in error
    assert "--episodes" in error

    assert main(["eval", *flags, f"--against.path={CHECKPOINT}", "--films=1"]) == 0  # and after all that, it works
    printed = capsys.readouterr().out
    assert "simulator" in printed and "A and B from the same 1 starts" in printed
    result = json.loads((run / "evaluations" / "eval" / "result.json").read_text())
    assert [t["verdicts"].keys() for p in result["policies"] for t in p["trials"]] == [{"button", "simulator"}] * 2
    films = sorted(p.name for p in (run / "evaluations" / "eval").glob("*.mp4"))
    assert films == ["eval-against-start-000.mp4", "eval-start-000.mp4"]
    first, second = EpisodeStore.reader(run / "store").commits()
    assert first.notes["start_x_m"] == pytest.approx(second.notes["start_x_m"], abs=0.005)
    assert EpisodeStore.reader(run / "store").verify() == []


def test_sudden_death_of_any_process_loses_no_episode_and_leaves_the_arm_still(rig: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [
        *HILSERL, "train", *scripted(rig, run), f"--policy.path={CHECKPOINT}", "--teleop.presses_success=true",
        "--learner.baseline_episodes=1", "--learner.critic_updates=20", "--learner.checkpoint_every=1",
        "--give_up_s=10", "--learner.utd=0.5",
    ]  # fmt: skip
    kept: list[str] = []

    def commits() -> list[str]:
        try:
            return [c.uuid for c in EpisodeStore.reader(run / "store").commits()]
        except Exception:  # not there yet
            return []

    def train(resume: bool) -> subprocess.Popen:
        return subprocess.Popen([*command, "--episodes=50", f"--resume={resume}"], stderr=subprocess.PIPE)

    def child(parent: subprocess.Popen, name: str) -> int:
        found = subprocess.run(["pgrep", "-P", str(parent.pid), "-f", f"cli {name}"], capture_output=True, text=True)
        return int(found.stdout.split()[0]) if found.stdout else 0

    def check_kept() -> None:
        assert commits()[: len(kept)] == kept, "an episode that was committed is gone"
        assert EpisodeStore.reader(run / "store").verify() == []
        kept[:] = commits()

    def killed(name: str, training: subprocess.Popen) -> str:
        """Kill one of the halves in the middle of an episode; return what the other says of it, as the arm rests."""
        until(lambda: len(commits()) > len(kept), "one more episode is committed")
        until(lambda: list(run.glob("store/journal-*.bin")), "an episode is running")
        kept[:] = commits()
        os.kill(child(training, name), signal.SIGKILL)
        error = training.communicate(timeout=180)[1].decode()
        assert training.returncode == 1
        with RigClient(rig) as people:
            until_still(people)
        check_kept()
        return error

    assert "--resume" in killed("actor", train(resume=False))

    training = train(resume=True)
    until(lambda: len(commits()) > len(kept), "one more episode is committed")
    kept[:] = commits()
    os.kill(json.loads((rig / "rig.json").read_text())["pid"], signal.SIGKILL)
    error = training.communicate(timeout=180)[1].decode()
    assert training.returncode == 1
    assert "Traceback" not in error, error
    check_kept()

    process = start_rig(rig)
    assert "--resume" in killed("learner", train(resume=True))
    indices = [c.index for c in EpisodeStore.reader(run / "store").commits()]
    assert indices == sorted(set(indices))
    process.terminate()
    process.wait(20)


def test_hardware_that_falls_silent_is_waited_for_and_the_session_goes_on(rig: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    flags = [*scripted(rig, run), "--teleop.plays=watch", f"--policy.path={CHECKPOINT}", "--episodes=4"]
    faults = (("silence", {}), ("unplug", {}), ("freeze_camera", {"camera": "front"}))

    def aborted() -> list:
        return [c for c in EpisodeStore.reader(run / "store").commits() if c.outcome == Outcome.ABORTED]

    def begun() -> set[str]:  # an episode that has a few steps already
        return {p.name for p in run.glob("store/journal-*.bin") if p.stat().st_size > 200_000}

    session = subprocess.Popen([*HILSERL, "eval", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    with RigClient(rig) as people:
        for count, (kind, details) in enumerate(faults, 1):
            before = begun()
            until(lambda seen=before: begun() - seen, "an episode is running")
            people.fault(kind, **details)
            until(lambda n=count: len(aborted()) == n, f"{kind} has cut an episode short")
            until_still(people)
            people.fault("heal")
    assert session.wait(timeout=120) == 0, session.communicate()[1].decode()
    commits = EpisodeStore.reader(run / "store").commits()
    assert sorted(c.notes["index"] for c in commits if c.outcome != Outcome.ABORTED) == [0, 1, 2, 3]
    assert len(aborted()) == 3 and EpisodeStore.reader(run / "store").verify() == []


def until_still(people: RigClient) -> None:
    """Wait until the hand rests, and require that it then stays there."""
    time.sleep(0.5)
    before = np.array(people.truth()["ee_m"])
    time.sleep(0.5)
    assert np.linalg.norm(np.array(people.truth()["ee_m"]) - before) < 0.002
