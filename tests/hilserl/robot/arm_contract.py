"""What every `Arm` must do: call `arm_contract` with a connected one that may move a little."""

from collections.abc import Callable

import numpy as np
import pytest

from hilserl.robot.arm import Arm, JointReading


def arm_contract(arm: Arm, wait: Callable[[float], None]) -> None:
    """Check the protocol.

    Args:
        arm: connected, near the middle of its range, free to move 0.1 rad.
        wait: lets seconds of the arm's own time pass.
    """
    first = arm.read()
    assert isinstance(first, JointReading)
    assert first.positions_rad.shape == (6,) and first.positions_rad.dtype == np.float64
    assert np.isfinite(first.positions_rad).all()
    low, high = arm.limits.low_rad, arm.limits.high_rad
    assert low.shape == high.shape == (6,) and (low < high).all()

    # Time goes on, and a reading is not changed by what happens later.
    kept = first.positions_rad.copy()
    wait(0.05)
    assert arm.read().stamp_s > first.stamp_s

    # A small goal is reached.
    goal = np.clip(kept + np.array([0.1, 0.0, 0.0, 0.05, -0.1, 0.0]), low, high)
    for _ in range(100):
        sent = arm.write(goal)
        wait(0.02)
    np.testing.assert_allclose(sent, goal, atol=1e-9)
    np.testing.assert_allclose(arm.read().positions_rad[[0, 3, 4]], goal[[0, 3, 4]], atol=0.06)
    np.testing.assert_array_equal(first.positions_rad, kept)

    # What is returned is what was sent: within the limits, and the argument is left alone.
    far = np.full(6, 100.0)
    sent = arm.write(far)
    assert (sent <= high + 1e-9).all() and (far == 100.0).all()
    arm.hold()

    # Nonsense is refused and moves nothing.
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError):
            arm.write(np.full(6, bad))

    # Hold ends motion, and holding again and again does not let the arm creep.
    wait(0.5)
    held = arm.read().positions_rad
    for _ in range(20):
        arm.hold()
        wait(0.02)
    np.testing.assert_allclose(arm.read().positions_rad, held, atol=0.02)

    arm.release()
    arm.close()
