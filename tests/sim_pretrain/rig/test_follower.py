"""LeRobot's unmodified SO101Follower on the emulated bus: it works, and it fails as a real one does."""

from __future__ import annotations

import termios
import time

import numpy as np
import pytest

from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD, JOINTS

TICK_DEG = 360 / 4096


def angles(observation: dict) -> list[float]:
    return [observation[f"{joint}.pos"] for joint in JOINTS]


def goal(**changed: float) -> dict[str, float]:
    return {f"{joint}.pos": changed.get(joint, 0.0) for joint in JOINTS}


def test_connects_reads_moves_and_lets_go(port, bus, plant, connected) -> None:
    before = plant.angles_rad.copy()
    robot = connected()
    assert robot.is_calibrated
    assert plant.torque.all()
    assert plant.gains[:5] == [16] * 5
    np.testing.assert_allclose(plant.angles_rad, before, atol=np.radians(TICK_DEG))  # it did not jump
    measured = angles(robot.get_observation())
    np.testing.assert_allclose(measured[:5], np.degrees(before[:5]), atol=TICK_DEG)
    fraction = (before[5] - JOINT_LOW_RAD[5]) / (JOINT_HIGH_RAD[5] - JOINT_LOW_RAD[5])
    assert measured[5] == pytest.approx(100 * fraction, abs=0.1)

    robot.send_action(goal(shoulder_pan=30.0, wrist_roll=-90.0, gripper=50.0))
    time.sleep(0.05)  # goals are not acknowledged
    np.testing.assert_allclose(np.degrees(plant.angles_rad[[0, 1, 4]]), [30, 0, -90], atol=1.5 * TICK_DEG)
    assert angles(robot.get_observation())[5] == pytest.approx(50, abs=0.1)

    robot.disconnect()
    assert not plant.torque.any()
    assert [servo.registers[40] for servo in bus.servos] == [0] * 6
    assert [servo.registers[55] for servo in bus.servos] == [0] * 6  # lock
    assert [servo.registers[18] & 0x10 for servo in bus.servos] == [0] * 6  # phase, cleared by the driver


@pytest.mark.parametrize("joint", JOINTS[:5])
def test_round_trip_is_exact_to_a_tick(port, plant, connected, joint: str) -> None:
    robot = connected()
    index = JOINTS.index(joint)
    for degrees in (-80.0, -33.3, 0.0, 12.5, 80.0):
        robot.send_action(goal(**{joint: degrees}))
        assert robot.get_observation()[f"{joint}.pos"] == pytest.approx(degrees, abs=TICK_DEG)
        assert np.degrees(plant.angles_rad[index]) == pytest.approx(degrees, abs=1.5 * TICK_DEG)


def test_gripper_percent_spans_the_joint(port, plant, connected) -> None:
    robot = connected()
    for percent, angle_rad in ((0.0, JOINT_LOW_RAD[5]), (100.0, JOINT_HIGH_RAD[5])):
        robot.send_action(goal(gripper=percent))
        robot.get_observation()
        assert plant.angles_rad[5] == pytest.approx(angle_rad, abs=np.pi / 4096)


def test_other_baud_rates_are_met_with_silence(port, new_follower) -> None:
    robot = new_follower()
    robot.bus.connect(handshake=False)
    robot.bus.set_baudrate(500_000)
    assert robot.bus.ping("gripper") is None
    robot.bus.set_baudrate(1_000_000)
    assert robot.bus.ping("gripper", num_retry=3) == 777


def test_silence(port, bus, connected) -> None:
    robot = connected()
    bus.silence()
    with pytest.raises(ConnectionError, match="no status packet"):
        robot.get_observation()
    robot.send_action(goal())  # nothing is acknowledged, so nothing is noticed
    bus.heal()
    robot.get_observation()


def test_three_corrupt_answers_are_an_error(port, bus, connected) -> None:
    robot = connected()
    bus.corrupt(18)
    with pytest.raises(ConnectionError, match="Incorrect status packet"):
        robot.get_observation()


@pytest.mark.parametrize("cured", [False, True])
def test_two_corrupt_answers_make_every_later_reading_old(port, bus, plant, connected, cured: bool) -> None:
    """The driver's most dangerous fault, and its cure: clear the input before every transaction."""
    robot = connected()
    if cured:
        handler = robot.bus.port_handler
        handler.clearPort = lambda: handler.ser.reset_input_buffer()
    plant.angles_rad[0] = 0.0
    robot.get_observation()
    bus.corrupt(2)
    robot.get_observation()  # retried without a word
    readings = []
    for degrees in (10.0, 20.0, 30.0):
        time.sleep(0.02)
        plant.angles_rad[0] = np.radians(degrees)
        readings.append(robot.get_observation()["shoulder_pan.pos"])
    expected = [10, 20, 30] if cured else [0, 10, 20]
    np.testing.assert_allclose(readings, expected, atol=TICK_DEG)


def test_dead_motor_leaves_the_motors_after_it_energised(port, bus, plant, connected) -> None:
    robot = connected()
    bus.kill(4)
    with pytest.raises(ConnectionError):
        robot.get_observation()
    with pytest.raises(ConnectionError):
        robot.disconnect()
    assert plant.torque.tolist() == [False] * 3 + [True] * 3
    bus.heal()
    robot.disconnect()
    assert not plant.torque.any()


def test_dead_motor_at_connect(port, bus, new_follower) -> None:
    bus.kill(2)
    with pytest.raises(RuntimeError, match="Missing motor IDs"):
        new_follower().connect(calibrate=False)
    with pytest.raises(ValueError, match=r"\[1, 2, 3, 4, 5, 6\]"):
        bus.kill(7)


def test_unplug_and_plug(port, plant, new_follower, connected, tmp_path) -> None:
    robot = connected()
    port.unplug()
    with pytest.raises(termios.error):
        robot.get_observation()
    assert plant.torque.all()  # the servos have their own supply
    assert not (tmp_path / "follower").is_symlink()
    with pytest.raises(ConnectionError):
        new_follower().connect(calibrate=False)
    robot.bus.port_handler.closePort()
    port.plug()
    other = connected()
    assert other.is_calibrated
    other.disconnect()
