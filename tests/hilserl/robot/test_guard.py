"""Torque without the driver: from another process, with dead motors, confirmed by reading back."""

import pytest

from hilserl.robot import guard
from hilserl.robot.arm import ArmFault
from hilserl.robot.guard import release_all
from hilserl.robot.kinematics import JOINTS


def energise(bench) -> None:
    with bench.connect():
        pass


def test_release_all_confirms_each_joint(bench):
    energise(bench)
    report = release_all(bench.path)
    assert report.confirmed == JOINTS and report.complete
    assert not bench.plant.torque.any()


def test_release_all_with_a_dead_motor(bench):
    energise(bench)
    bench.bus.kill(2)
    report = release_all(bench.path)
    assert set(report.failed) == {"shoulder_lift"} and not report.complete
    assert bench.plant.torque.tolist() == [False, True, False, False, False, False]
    assert "shoulder_lift" in str(report)


def test_hold_motors_energises_where_the_arm_is(bench):
    before = bench.plant.q.copy()
    with guard._open(bench.path) as bus:
        report = guard.hold_motors(bus)
    assert report.complete and bench.plant.torque.all()
    assert bench.plant.goal == pytest.approx(before, abs=0.002)


def test_hold_motors_with_a_dead_motor(bench):
    bench.bus.kill(1)
    with guard._open(bench.path) as bus:
        report = guard.hold_motors(bus)
    assert set(report.failed) == {"shoulder_pan"}
    assert bench.plant.torque.tolist() == [False, True, True, True, True, True]


def test_works_while_a_dead_driver_still_has_the_port(bench):
    """The lock between our programs must not keep the guard out."""
    with bench.connect() as arm:
        assert release_all(bench.path).complete
        arm._released = True


def test_silent_bus_confirms_nothing(bench):
    bench.bus.silence()
    report = release_all(bench.path)
    assert report.confirmed == () and len(report.failed) == 6


def test_no_such_port(tmp_path):
    with pytest.raises(ArmFault, match="lerobot-find-port"):
        release_all(str(tmp_path / "nothing"))
