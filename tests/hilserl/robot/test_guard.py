"""Torque without the driver: from another process, with dead motors, confirmed by reading back."""

import threading
import time

import pytest

from hilserl.commands import unlock
from hilserl.robot.arm import ArmFault
from hilserl.robot.bus import claim
from hilserl.robot.guard import FROZEN_TORQUE, freeze_motors, hold_motors, release_motors
from hilserl.robot.kinematics import JOINTS
from hilserl.robot.motors import open_motors


def energise(bench) -> None:
    with bench.connect():
        pass


def released(bench, *joints):
    with open_motors(bench.path) as motors:
        return release_motors(motors, joints or JOINTS)


def test_releasing_confirms_each_joint(bench):
    energise(bench)
    report = released(bench)
    assert report.confirmed == JOINTS and report.complete and str(report) == "all six confirmed"
    assert not bench.plant.torque.any()


def test_single_motors_are_released(bench):
    energise(bench)
    report = released(bench, "gripper", "wrist_roll")
    assert report.complete and str(report) == "gripper, wrist_roll confirmed"
    assert bench.plant.torque.tolist() == [True] * 4 + [False] * 2


def test_releasing_with_a_dead_motor(bench):
    energise(bench)
    bench.bus.kill(2)
    report = released(bench)
    assert set(report.failed) == {"shoulder_lift"} and not report.complete
    assert bench.plant.torque.tolist() == [False, True, False, False, False, False]
    assert "shoulder_lift" in str(report)


def test_lost_answers_are_asked_for_again(bench):
    energise(bench)
    with open_motors(bench.path) as motors:
        bench.bus.corrupt(2)
        assert release_motors(motors).complete


def test_an_overloaded_motor_lets_go(bench):
    energise(bench)
    bench.bus.servos[4].alarm = 0x20
    assert released(bench).complete and not bench.plant.torque.any()


def test_holding_energises_where_the_arm_is(bench):
    before = bench.plant.q.copy()
    with open_motors(bench.path) as motors:
        report = hold_motors(motors)
    assert report.complete and bench.plant.torque.all()
    assert bench.plant.goal == pytest.approx(before, abs=0.002)


def test_holding_with_a_dead_motor(bench):
    bench.bus.kill(1)
    with open_motors(bench.path) as motors:
        report = hold_motors(motors)
    assert set(report.failed) == {"shoulder_pan"}
    assert bench.plant.torque.tolist() == [False, True, True, True, True, True]


def test_freezing_with_a_dead_motor(bench):
    energise(bench)
    bench.bus.kill(1)
    with open_motors(bench.path) as motors:
        assert set(freeze_motors(motors).failed) == {"shoulder_pan"}
    limits = [int.from_bytes(servo.registers[48:50], "little") for servo in bench.bus.servos]
    assert limits == [1000] + [FROZEN_TORQUE] * 5 and bench.plant.torque.all()


def test_works_while_a_dead_driver_still_has_the_port(bench):
    """The lock between our programs must not keep the guard out."""
    with bench.connect() as arm:
        assert released(bench).complete
        arm._released = True


def test_silent_bus_confirms_nothing(bench):
    bench.bus.silence()
    report = released(bench)
    assert report.confirmed == () and len(report.failed) == 6


def test_no_such_port(tmp_path):
    with pytest.raises(ArmFault, match="lerobot-find-port"), open_motors(str(tmp_path / "nothing")):
        pass


# The command


def run(bench, *flags: str) -> int:
    return unlock.main([f"--robot.port={bench.path}", *flags])


def test_unlock_asks_first(bench, monkeypatch, capsys):
    energise(bench)
    monkeypatch.setattr("builtins.input", lambda _: "no")
    assert run(bench) == 1 and bench.plant.torque.all() and "nothing was changed" in capsys.readouterr().out
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert run(bench) == 0 and not bench.plant.torque.any()
    assert capsys.readouterr().out == f"limp: {', '.join(JOINTS)}\n"


def test_unlock_of_single_joints_and_of_unknown_ones(bench, capsys):
    energise(bench)
    assert run(bench, "--yes", "--joints=elbow_flex") == 0
    assert bench.plant.torque.tolist() == [True, True, False, True, True, True]
    with pytest.raises(SystemExit):
        run(bench, "--yes", "--joints=elbow")
    assert "accepted are shoulder_pan" in capsys.readouterr().err


def test_unlock_says_which_motor_is_dead(bench, capsys):
    energise(bench)
    bench.bus.kill(3)
    assert run(bench, "--yes") == 1
    out = capsys.readouterr().out
    assert "limp: shoulder_pan, shoulder_lift, wrist_flex" in out and "not confirmed: elbow_flex: " in out
    assert bench.plant.torque.tolist() == [False, False, True, False, False, False]


def test_unlock_leaves_an_arm_alone_that_another_program_drives_unless_told_to(bench, monkeypatch):
    monkeypatch.setattr(unlock, "PATIENCE_S", 0.2)
    with bench.connect() as arm:
        with pytest.raises(ArmFault, match=r"in use by another program[\s\S]*--force"):
            run(bench, "--yes")
        assert bench.plant.torque.all()
        assert run(bench, "--yes", "--force") == 0
        assert not bench.plant.torque.any()
        arm._released = True


def test_unlock_waits_for_a_guard_that_is_freezing(bench):
    energise(bench)
    with open_motors(bench.path):
        held = claim(bench.path)
        threading.Timer(0.3, lambda: __import__("os").close(held)).start()
        before_s = time.monotonic()
        assert run(bench, "--yes") == 0
        assert time.monotonic() - before_s > 0.2 and not bench.plant.torque.any()


def test_unlock_after_a_freeze(bench):
    energise(bench)
    with open_motors(bench.path) as motors:
        freeze_motors(motors)
    assert run(bench, "--yes") == 0 and not bench.plant.torque.any()
