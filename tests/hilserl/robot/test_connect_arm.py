"""How a connection to an arm begins and ends: never energised with wrong angles, never dropped."""

import gc
import json
import time

import numpy as np
import pytest
from lerobot.robots.so_follower import SOFollower

from hilserl.robot.arm import ArmFault, connect_arm, make_follower
from hilserl.robot.clock import WallClock
from hilserl.robot.kinematics import JOINTS
from hilserl.robot.lerobot_arm import LeRobotArm

TICK = 0.0016


def test_a_lost_packet_while_connecting_is_tried_again(bench, monkeypatch):
    configure, calls = SOFollower.configure, []

    def once_lossy(robot):
        calls.append(robot)
        if len(calls) == 1:
            robot.bus.disable_torque()
            raise ConnectionError("There is no status packet!")
        configure(robot)

    monkeypatch.setattr(SOFollower, "configure", once_lossy)
    with bench.connect() as arm:
        arm.read()
    assert bench.plant.torque.all() and len(calls) == 2


def test_reads_radians_in_joint_order(bench, arm):
    np.testing.assert_allclose(arm.read().positions_rad, bench.plant.q, atol=TICK)


def test_connecting_holds_the_pose(bench):
    before = bench.plant.q.copy()
    with bench.connect() as arm:
        time.sleep(0.1)
        np.testing.assert_allclose(arm.read().positions_rad, before, atol=TICK)
        assert bench.plant.torque.all()
    for index, goal in bench.plant.goals_seen:
        assert goal == pytest.approx(before[index], abs=2 * TICK)


def test_leaving_keeps_the_torque_and_frees_the_port(bench):
    with bench.connect() as arm:
        arm.write(arm.read().positions_rad + 0.03)
        time.sleep(0.1)
    goal = bench.plant.goal.copy()
    bench.plant.torque_seen.clear()
    with bench.connect() as arm:  # the port is free, and the arm is not dropped while it is taken over
        arm.read()
    assert bench.plant.torque.all() and bench.plant.torque_seen == []
    np.testing.assert_allclose(bench.plant.goal, goal, atol=2 * TICK)


def test_reconnecting_to_an_energised_arm_never_switches_it_off(bench):
    with bench.connect():
        pass
    bench.plant.torque_seen.clear()
    with bench.connect() as arm:
        arm.reconnect()
    assert bench.plant.torque_seen == []


def test_an_exception_inside_leaves_the_arm_holding(bench):
    with pytest.raises(KeyError), bench.connect() as arm:
        arm.write(arm.read().positions_rad)
        raise KeyError("bug")
    assert bench.plant.torque.all()


def test_an_arm_that_is_forgotten_keeps_its_torque(bench):
    """LeRobot's destructor would drop it."""
    robot = make_follower(bench.config)
    arm = LeRobotArm(robot, WallClock())
    assert bench.plant.torque.all()
    del arm, robot
    gc.collect()
    assert bench.plant.torque.all()


def test_unplugged_and_plugged_in_again(bench, arm):
    bench.port.unplug()
    with pytest.raises(ArmFault):
        arm.read()
    with pytest.raises(ArmFault, match="lerobot-find-port"):
        arm.reconnect()
    bench.port.plug()
    bench.plant.torque_seen.clear()
    arm.reconnect()
    np.testing.assert_allclose(arm.read().positions_rad, bench.plant.q, atol=TICK)
    assert bench.plant.torque_seen == []


def test_a_dead_motor_at_connect_is_named_and_the_port_is_freed(bench):
    bench.bus.kill(2)
    with pytest.raises(ArmFault, match=r"connecting failed[\s\S]*2"), bench.connect():
        pass
    bench.bus.heal()
    with bench.connect() as arm:
        arm.read()


def test_no_such_port(bench):
    bench.port.unplug()
    with pytest.raises(ArmFault, match=r"follower.*serial ports here.*lerobot-find-port"), bench.connect():
        pass


def test_one_program_at_a_time(bench, arm):
    with pytest.raises(ArmFault, match="in use"), bench.connect():
        pass
    arm.read()


def test_no_calibration_file(bench):
    bench.config.id = "somebody"
    with (
        pytest.raises(ArmFault, match=r"somebody\.json.*lerobot-calibrate.*--robot\.id=somebody"),
        bench.connect(),
    ):
        pass
    assert bench.plant.torque_seen == []


def edit(bench, change) -> None:
    path = bench.config.calibration_dir / "arm.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_calibration_file_of_another_arm(bench):
    edit(bench, lambda c: c["elbow_flex"].update(homing_offset=5))
    with (
        pytest.raises(ArmFault, match=r"elbow_flex: homing_offset file 5[\s\S]*lerobot-calibrate"),
        bench.connect(),
    ):
        pass
    assert bench.plant.torque_seen == []  # an arm whose angles are wrong is not energised


def test_calibration_file_lacks_a_motor(bench):
    edit(bench, lambda c: c.pop("wrist_roll"))
    with pytest.raises(ArmFault, match="wrist_roll is missing"), bench.connect():
        pass


@pytest.mark.parametrize("text", ["{", '{"gripper": {"id": 6}}', "[]"])
def test_broken_calibration_file(bench, text):
    (bench.config.calibration_dir / "arm.json").write_text(text)
    with pytest.raises(ArmFault, match="lerobot-calibrate"), bench.connect():
        pass


def test_other_robots_are_refused():
    from lerobot.robots.lekiwi import LeKiwiConfig

    with pytest.raises(ArmFault, match="so101_follower"), connect_arm(LeKiwiConfig(port="x"), WallClock()):
        pass


def test_joint_order_is_the_drivers():
    assert JOINTS == ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
