"""The torque guard: whatever ends the process that drives the arm, the arm ends in a stated state."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hilserl.robot.arm import ArmFault
from hilserl.robot.guard import FROZEN_TORQUE
from hilserl.robot.heartbeat import guarded

DRIVER = Path(__file__).with_name("driver_process.py")
IN_ORDER = {"SIGINT": 130, "SIGTERM": 130, "SIGHUP": 130, "error": 1, "rest": 1}
BARE = {"bare SystemExit": 3, "bare SIGTERM": -15}  # without guard and signal handling, the arm a module global
FROZEN = ("SIGKILL", "terminal", "_exit", "SIGSTOP", "hang")
TRIES = 3  # an emulated bus that is starved of its core ends a driver before its time
TORQUE_ENABLE, TORQUE_LIMIT = 40, slice(48, 50)


@pytest.fixture(scope="module")
def ended(new_bench, tmp_path_factory):
    """One arm for each ending, one after the other, after it has ended and its guard has done its work."""
    with contextlib.ExitStack() as stack:
        driver = subprocess.Popen(
            [sys.executable, str(DRIVER)],
            stdin=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # what a script's `&` leaves behind
        )
        stack.callback(driver.wait)
        stack.callback(driver.stdin.close)
        benches = {}
        for ending in (*IN_ORDER, *FROZEN, *BARE):
            for _ in range(TRIES):
                folder = tmp_path_factory.mktemp(ending)
                benches[ending] = stack.enter_context(new_bench(folder))
                print(json.dumps([str(folder), ending]), file=driver.stdin, flush=True)
                deadline_s = time.monotonic() + 60  # the first one imports the driver
                while not over(benches[ending], ending):
                    assert time.monotonic() < deadline_s, f"{ending}: {words(benches[ending])}"
                    time.sleep(0.02)
                if ending in BARE or (folder / "pid").exists():  # it came to its end
                    break
        yield benches


def over(bench, ending: str) -> bool:
    if ending in FROZEN:
        return (bench.folder / "run" / "journal.jsonl").exists()
    return (bench.folder / "code").exists()


def words(bench) -> str:
    path = bench.folder / "words"
    return path.read_text() if path.exists() else ""


def limits(bench) -> list[int]:
    return [int.from_bytes(servo.registers[TORQUE_LIMIT], "little") for servo in bench.bus.servos]


@pytest.mark.parametrize("ending, code", IN_ORDER.items())
def test_what_ends_in_order_leaves_the_arm_holding_and_the_guard_silent(ended, ending, code):
    bench = ended[ending]
    assert (bench.folder / "code").read_text() == str(code)
    assert bench.plant.torque.all() and limits(bench) == [1000] * 6
    np.testing.assert_allclose(bench.plant.goal, bench.plant.positions_rad(), atol=0.01)
    assert "torque guard" not in words(bench)
    assert not (bench.folder / "run").exists()


@pytest.mark.parametrize("ending, code", BARE.items())
def test_every_end_of_a_process_without_a_guard_leaves_the_arm_energised(ended, ending, code):
    assert (ended[ending].folder / "code").read_text() == str(code), words(ended[ending])
    assert ended[ending].plant.torque.all()


@pytest.mark.parametrize("ending", FROZEN)
def test_what_dies_or_hangs_leaves_the_arm_frozen_and_the_guard_says_so(ended, ending):
    bench = ended[ending]
    assert bench.plant.torque.all() and limits(bench) == [FROZEN_TORQUE] * 6
    np.testing.assert_allclose(bench.plant.goal, bench.plant.positions_rad(), atol=0.01)
    why = "hung for 1 s and was ended" if ending in ("SIGSTOP", "hang") else "has died"
    (line,) = (bench.folder / "run" / "journal.jsonl").read_text().splitlines()
    said = json.loads(line)
    assert said["event"] == "torque guard" and why in said["words"] and "it holds its pose" in said["words"]
    assert said["words"] in words(bench) and f"hilserl unlock --robot.port={bench.path}" in words(bench)
    pid = int((bench.folder / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists() or "zombie" in Path(f"/proc/{pid}/status").read_text()
    with bench.connect() as arm:  # the next session gets the arm with its full force, and it is not dropped for it
        arm.write(arm.read().positions_rad)
        assert limits(bench)[:5] == [1000] * 5
    assert (5, False) not in bench.plant.torque_seen[-6:]


def test_a_guard_that_does_not_start_means_no_motion(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ArmFault, match="does not start"), guarded("/nowhere", silence_s=1):
        pass


def test_a_guard_that_is_gone_means_no_motion(bench):
    with guarded(bench.path, silence_s=120) as heartbeat, bench.connect(heartbeat=heartbeat) as arm:
        arm.write(arm.read().positions_rad)
        guards = subprocess.run(["pgrep", "-f", f"guard_process {bench.path}"], capture_output=True, text=True)
        os.kill(int(guards.stdout), 9)
        with pytest.raises(ArmFault, match=r"torque guard.*has ended"):
            for _ in range(100):
                arm.write(arm.read().positions_rad)
                time.sleep(0.01)
    assert bench.plant.torque.all()


def test_a_silent_bus_is_tried_again_and_limp_motors_stay_limp(bench, tmp_path):
    with bench.connect():
        pass
    bench.bus.servos[5].write(TORQUE_ENABLE, b"\0")
    bench.bus.silence()
    command = [sys.executable, "-m", "hilserl.robot.guard_process", bench.path, "0", "1", str(tmp_path / "run")]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    guard.stdin.close()  # the process that drove the arm is gone
    time.sleep(1.0)
    assert guard.poll() is None
    bench.bus.heal()
    assert "it holds its pose" in guard.stderr.read()
    assert limits(bench) == [FROZEN_TORQUE] * 5 + [1000]
    assert bench.plant.torque.tolist() == [True] * 5 + [False]


def test_an_arm_that_another_program_has_taken_over_is_left_alone(bench, tmp_path):
    with bench.connect():
        command = [sys.executable, "-m", "hilserl.robot.guard_process", bench.path, "0", "1", ""]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert "another program drives the arm already" in done.stderr
        assert limits(bench) == [1000] * 6
