"""Ticks and radians: the round trip, and agreement with LeRobot's own degrees."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hilserl.robot.calibration import MARGIN_RAD, differences, problems, tick_scale
from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD, JOINTS
from sim_pretrain.rig.servo import rig_calibration

CALIBRATION = rig_calibration()
SCALE = tick_scale(CALIBRATION)


@given(arrays(np.float64, 6, elements=st.floats(0, 1)))
def test_round_trip_is_within_half_a_tick(fraction):
    limits = SCALE.limits()
    angles = limits.low_rad + fraction * (limits.high_rad - limits.low_rad)
    back = SCALE.to_rad(SCALE.to_ticks(angles))
    assert (np.abs(back - angles) <= np.abs(SCALE.rad_per_tick) / 2 + 1e-12).all()


@given(arrays(np.float64, 6, elements=st.floats(-20, 20)))
def test_ticks_never_leave_the_calibrated_range(angles):
    ticks = SCALE.to_ticks(angles)
    assert (ticks >= SCALE.low_tick).all() and (ticks <= SCALE.high_tick).all()


def test_agrees_with_the_degrees_and_percent_of_lerobot():
    pytest.importorskip("lerobot")
    from lerobot.motors import Motor, MotorCalibration, MotorNormMode
    from lerobot.motors.feetech import FeetechMotorsBus

    modes = [MotorNormMode.DEGREES] * 5 + [MotorNormMode.RANGE_0_100]
    motors = {j: Motor(i + 1, "sts3215", m) for i, (j, m) in enumerate(zip(JOINTS, modes, strict=True))}
    calibration = {j: MotorCalibration(**vars(c)) for j, c in CALIBRATION.items()}
    bus = FeetechMotorsBus("nowhere", motors, calibration)
    ticks = np.array([1500, 1800, 2500, 2048, 3000, 2200])
    theirs = bus._normalize({i + 1: int(t) for i, t in enumerate(ticks)})
    ours = SCALE.to_rad(ticks)
    np.testing.assert_allclose(ours[:5], np.deg2rad([theirs[i] for i in range(1, 6)]), atol=1e-3)
    span = JOINT_HIGH_RAD[5] - JOINT_LOW_RAD[5]
    assert ours[5] == pytest.approx(JOINT_LOW_RAD[5] + theirs[6] / 100 * span, abs=1e-9)


def test_limits_are_the_range_less_a_margin():
    limits = SCALE.limits()
    np.testing.assert_allclose(limits.high_rad[:4], JOINT_HIGH_RAD[:4] - MARGIN_RAD, atol=2e-3)
    np.testing.assert_allclose(limits.high_rad[5], JOINT_HIGH_RAD[5], atol=1e-9)
    assert (limits.low_rad < limits.high_rad).all()


def test_an_inverted_gripper_opens_towards_low_ticks():
    inverted = CALIBRATION | {"gripper": replace(CALIBRATION["gripper"], drive_mode=1)}
    scale = tick_scale(inverted)
    entry = inverted["gripper"]
    assert scale.to_rad(np.full(6, entry.range_min))[5] == pytest.approx(JOINT_HIGH_RAD[5])
    assert scale.to_rad(np.full(6, entry.range_max))[5] == pytest.approx(JOINT_LOW_RAD[5])
    assert scale.limits().low_rad[5] == pytest.approx(JOINT_LOW_RAD[5])


def test_problems_name_the_joint():
    assert problems(CALIBRATION) == []
    assert problems({j: c for j, c in CALIBRATION.items() if j != "elbow_flex"}) == ["elbow_flex is missing"]
    stuck = CALIBRATION | {"wrist_flex": replace(CALIBRATION["wrist_flex"], range_min=2000, range_max=2100)}
    assert "wrist_flex spans 100 ticks" in problems(stuck)[0]


def test_differences_name_joint_and_field():
    assert differences(CALIBRATION, CALIBRATION) == []
    other = CALIBRATION | {"shoulder_pan": replace(CALIBRATION["shoulder_pan"], homing_offset=7)}
    (line,) = differences(CALIBRATION, other)
    assert line.startswith("shoulder_pan: homing_offset") and "motor 7" in line
