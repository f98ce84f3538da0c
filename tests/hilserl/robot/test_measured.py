"""An arm that is only looked at: read as the driver reads it, torque untouched, limp when asked for."""

import numpy as np
import pytest

from hilserl.robot.bus import ArmFault
from hilserl.robot.measured import measured_arm


def test_it_is_read_as_it_is_moved_by_hand_and_nothing_is_written(bench):
    goals = list(bench.plant.goals_seen)
    with measured_arm(bench.config) as arm:
        np.testing.assert_allclose(arm.joints_rad(), bench.plant.positions_rad(), atol=2e-3)
        bench.plant.push(np.array([0.1, -0.1, 0.2, 0.1, 0.0, 0.1]))
        np.testing.assert_allclose(arm.joints_rad(), bench.plant.positions_rad(), atol=2e-3)
        assert arm.limp()
    assert bench.plant.goals_seen == goals and bench.plant.torque_seen == []


def test_one_that_holds_goes_limp_when_it_is_told_to(bench):
    with bench.connect():
        pass
    with measured_arm(bench.config) as arm:
        assert not arm.limp()
        arm.release()
        assert arm.limp() and not bench.plant.torque.any()


def test_an_arm_in_use_is_not_opened(bench):
    with bench.connect(), pytest.raises(ArmFault), measured_arm(bench.config):
        pytest.fail("two programs on one bus")


def test_a_dead_motor_is_a_fault_in_words(bench):
    with measured_arm(bench.config) as arm:
        bench.bus.kill(3)
        with pytest.raises(ArmFault, match="both cables"):
            arm.joints_rad()
