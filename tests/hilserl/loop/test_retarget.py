"""Joint-space motion as end-effector deltas: integrating them gives the recorded path back, or the residual says so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import UserError
from data.spec import ObservationSpec, StateField, TaskSpec
from hilserl.loop.retarget import retarget, sample_rows, to_rad
from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD, ee_position
from hilserl.tasks import lift_task

TASK = lift_task()
HOME = np.array([0.0, -0.2, 0.05, 1.6, TASK.wrist_roll_rad, 0.3])


def swing(steps: int, speed_rad: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measured [T+1, 6], commanded [T, 6] one tick ahead of it, and stamps: a smooth motion about the home pose."""
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, 6)
    t = np.arange(steps + 1)[:, None]
    path = HOME + speed_rad * (np.sin(0.5 * t + phase) - np.sin(phase)) * [1, 1, 1, 1, 0, 1]
    return path, path[1:], np.arange(steps + 1) / TASK.rate_hz


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.0, 0.5), st.integers(1, 40))
def test_integrated_actions_stay_within_the_residual(seed: int, speed_rad: float, steps: int) -> None:
    measured, commanded, stamp_s = swing(steps, speed_rad, seed)
    state, executed, residual = retarget(measured, commanded, stamp_s, TASK)
    assert np.abs(executed).max() <= 1.0
    path = ee_position(measured[0]) + np.cumsum(executed[:, :3].astype(float) * TASK.action.step_m, axis=0)
    recorded = np.array([ee_position(q) for q in commanded])
    np.testing.assert_allclose(np.linalg.norm(path - recorded, axis=1), residual.error_m, atol=1e-6)
    assert (residual.error_m[~residual.saturated] < 1e-5).all()
    lead = path - np.array([ee_position(q) for q in measured[1:]])
    np.testing.assert_allclose(state[1:, 15:18], lead, atol=1e-6)


def test_slow_motion_is_exact_and_fast_motion_is_said() -> None:
    _, _, slow = retarget(*swing(40, 0.03), TASK)
    _, _, fast = retarget(*swing(40, 0.6), TASK)
    assert slow.error_m.max() < 1e-9 and not slow.saturated.any()
    assert fast.error_m.max() > 0.01 and fast.saturated.mean() > 0.3
    assert "saturated" in str(fast)


def test_what_fell_behind_is_made_up_for() -> None:
    jump = HOME + np.array([0.3, 0, 0, 0, 0, 0])
    measured, commanded = np.vstack([HOME, *[jump] * 12]), np.tile(jump, (12, 1))
    _, executed, residual = retarget(measured, commanded, np.arange(13) / 10, TASK)
    assert residual.saturated[:2].all() and residual.error_m[-1] < 1e-9
    assert np.abs(executed[0, :3]).max() == 1.0


def test_the_state_is_that_of_the_live_arm() -> None:
    measured, commanded, stamp_s = swing(5, 0.03)
    state, executed, _ = retarget(measured, commanded, stamp_s, TASK)
    assert state.dtype == np.float32 and state.shape == (6, TASK.observation.state_dim)
    np.testing.assert_allclose(state[:, :6], measured, rtol=1e-6)
    np.testing.assert_allclose(state[1:, 6:12], np.diff(measured, axis=0) * TASK.rate_hz, atol=1e-5)
    assert (state[0, 6:12] == 0).all() and (state[0, 15:18] == 0).all()
    np.testing.assert_allclose(state[:, 12:15], [ee_position(q) for q in measured], atol=1e-6)
    assert (state[1:, 18:] == executed).all()


def test_the_gripper_command_is_absolute_and_a_motionless_one_holds() -> None:
    spec = TASK.action
    commanded = np.tile(HOME, (4, 1))
    commanded[:, 5] = [spec.gripper_closed_rad, spec.gripper_open_rad, 1.7, 1.7]
    _, executed, _ = retarget(np.tile(HOME, (5, 1)), commanded, np.arange(5) / 10, TASK)
    assert executed[:, 3].tolist() == [-1.0, 1.0, 1.0, 1.0]
    assert (executed[:, :3] == 0).all()


def test_motion_outside_the_workspace_and_a_rolled_wrist_are_reported() -> None:
    away = HOME + np.array([1.5, 0, 0, 0, -0.5, 0])
    _, executed, residual = retarget(np.tile(away, (4, 1)), np.tile(away, (3, 1)), np.arange(4) / 10, TASK)
    assert residual.outside.all() and (executed[:, :3] == 0).all()
    np.testing.assert_allclose(residual.roll_off_rad, 0.5)
    assert not retarget(*swing(3, 0.01), TASK)[2].outside.any()
    moving = away + np.arange(4)[:, None] * [0.02, 0, 0, 0, 0, 0]  # on outwards: the arm did move, so the actions do
    _, executed, residual = retarget(moving, moving[1:], np.arange(4) / 10, TASK)
    assert residual.outside.all() and residual.error_m.max() < 1e-9
    assert np.linalg.norm(executed[:, :3], axis=1).min() > 0.1


def test_units_of_lerobot() -> None:
    found = to_rad(np.array([[90.0, -45.0, 0.0, 10.0, 180.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 100.0]]))
    np.testing.assert_allclose(found[0, :5], np.array([0.5, -0.25, 0.0, 1 / 18, 1.0]) * np.pi)
    assert found[0, 5] == JOINT_LOW_RAD[5]
    np.testing.assert_allclose(found[1, 5], JOINT_HIGH_RAD[5])


@given(st.integers(0, 500), st.sampled_from([10.0, 15.0, 24.0, 25.0, 30.0, 60.0]), st.sampled_from([5.0, 10.0]))
def test_sampled_frames(last: int, fps: float, rate_hz: float) -> None:
    rows = sample_rows(last, fps, rate_hz)
    assert rows[-1] == last and rows[0] >= 0
    assert (np.diff(rows) >= 1).all()
    ticks = (rows - last) / fps * rate_hz
    assert np.abs(ticks - np.arange(1 - len(rows), 1)).max() <= 0.5 * rate_hz / fps + 1e-9
    assert len(rows) == int(last * rate_hz / fps + 1e-9) + 1


def test_frames_are_not_invented() -> None:
    with pytest.raises(UserError, match=r"5 frames/s.*10 Hz"):
        sample_rows(10, 5.0, 10.0)


def test_an_unknown_state_is_refused() -> None:
    other = ObservationSpec(TASK.observation.cameras, ("wrist",), (StateField("joints", 6, "rad", -2.0, 2.0),))
    with pytest.raises(UserError, match="cannot be computed"):
        retarget(*swing(3, 0.01), TaskSpec("other", other))
