"""What an action and an observation mean on every arm: run each of `CHECKS` on a `Stand`, and `timeout` on an episode.

The Gymnasium environment, the arm's environment and the one behind LeRobot's driver are each put on a stand.
"""

from typing import NamedTuple, Protocol

import numpy as np
import pytest

from data.images import preprocess
from data.schema import Episode, Observation, Outcome
from data.spec import TaskSpec
from hilserl.robot.kinematics import ee_position
from sim_pretrain.world.physics import World

STAY = np.array([0, 0, 0, 1], np.float32)


class Taken(NamedTuple):
    """One step, as whoever drives learns of it."""

    observation: Observation
    executed: np.ndarray
    limited: bool


class Stand(Protocol):
    """An environment in one room with the world that is behind it."""

    task: TaskSpec
    world: World

    def start(self, seed: int) -> Observation:
        """Begin an episode from the start pose that belongs to `seed`, by whatever way an arm gets there."""

    def step(self, action: np.ndarray) -> Taken:
        """Act for one control period."""


def part(task: TaskSpec, state: np.ndarray, name: str) -> np.ndarray:
    """The slice of state vectors [..., D] that a field of the spec names."""
    names, first = [f.name for f in task.observation.state], 0
    for f in task.observation.state[: names.index(name)]:
        first += f.size
    return state[..., first : first + task.observation.state[names.index(name)].size]


def an_observation_holds_what_the_spec_says(stand: Stand) -> None:
    spec = stand.task.observation
    for look in (lambda: stand.start(0), lambda: stand.step(STAY).observation):
        observation = look()
        assert tuple(observation.images) == spec.policy_cameras
        for camera in spec.cameras:
            if camera.name in observation.images:
                image = observation.images[camera.name]
                assert image.shape == (camera.size_px, camera.size_px, 3) and image.dtype == np.uint8
                assert image.std() > 5  # a scene, not a blank
        assert observation.state.shape == (spec.state_dim,) and observation.state.dtype == np.float32
        joints = part(stand.task, observation.state, "joint_position")
        np.testing.assert_allclose(joints, stand.world.joint_positions(), atol=2e-3)  # a servo's tick is 1.5 mrad
        np.testing.assert_allclose(part(stand.task, observation.state, "ee_in_base"), ee_position(joints), atol=1e-5)


def a_unit_moves_the_hand_by_one_step(stand: Stand) -> None:
    stand.start(0)

    def hand_m() -> np.ndarray:
        for _ in range(4):  # arms lag
            stand.step(STAY)
        return np.array(stand.world.truth().ee_m)

    for axis in range(3):
        for sign in (1.0, -1.0):
            before_m, unit = hand_m(), sign * np.eye(4, dtype=np.float32)[axis]
            for _ in range(3):
                assert not stand.step(unit + STAY).limited
            moved_m = hand_m() - before_m
            np.testing.assert_allclose(moved_m, 3 * stand.task.action.step_m * unit[:3], atol=0.003)


def the_gripper_command_is_an_angle(stand: Stand) -> None:
    stand.start(0)
    spec = stand.task.action
    arm = stand.world.joint_positions()[:5]
    for command, angle_rad in (
        (-1.0, spec.gripper_closed_rad),
        (0.0, (spec.gripper_closed_rad + spec.gripper_open_rad) / 2),
        (1.0, spec.gripper_open_rad),
    ):
        for _ in range(10):
            observation = stand.step(np.array([0, 0, 0, command], np.float32)).observation
        assert stand.world.truth().gripper_rad == pytest.approx(angle_rad, abs=0.03)
        assert part(stand.task, observation.state, "joint_position")[5] == pytest.approx(angle_rad, abs=0.03)
    np.testing.assert_allclose(stand.world.joint_positions()[:5], arm, atol=0.01)


def holding_keeps_still(stand: Stand) -> None:
    for gripper in (-1.0, 0.2):
        stand.start(0)
        for _ in range(6):
            stand.step(np.array([1, -1, 0, gripper], np.float32))
        for _ in range(4):
            observation = stand.step(np.array([0, 0, 0, gripper], np.float32)).observation
        before = stand.world.joint_positions()
        for _ in range(10):  # what is repeated is the gripper command of the step before
            hold = part(stand.task, observation.state, "previous_action") * (0, 0, 0, 1)
            observation = stand.step(hold.astype(np.float32)).observation
        np.testing.assert_allclose(stand.world.joint_positions(), before, atol=0.01)


def what_is_executed_is_reported(stand: Stand) -> None:
    rng = np.random.default_rng(0)
    stand.start(1)
    for scale in (1.0, 1.0, 1.0, 5.0):  # the last request goes far beyond what an action may be
        action = scale * rng.uniform(-1, 1, 4).astype(np.float32)
        taken = stand.step(action)
        assert taken.executed.shape == (4,) and taken.executed.dtype == np.float32 and not taken.limited
        np.testing.assert_allclose(taken.executed, np.clip(action, -1, 1), atol=1e-5)
        told = part(stand.task, taken.observation.state, "previous_action")
        np.testing.assert_array_equal(told, taken.executed)


def a_limit_takes_away_and_says_so(stand: Stand) -> None:
    task = stand.task
    stand.start(0)
    up = np.array([0, 0, 1, 1], np.float32)
    taken = [stand.step(up) for _ in range(15)]
    assert not taken[0].limited and taken[-1].limited
    np.testing.assert_allclose(taken[0].executed, up, atol=1e-5)
    np.testing.assert_allclose(taken[-1].executed, STAY, atol=1e-5)
    state = taken[-1].observation.state
    commanded_m = part(task, state, "ee_in_base") + part(task, state, "command_lead")
    assert commanded_m[2] == pytest.approx(task.workspace_high_m[2], abs=1e-3)
    assert stand.step(-up).executed[2] == pytest.approx(-1.0)  # and back in without a dead zone


def nonsense_is_refused_and_moves_nothing(stand: Stand) -> None:
    stand.start(0)
    before = stand.world.data.ctrl.copy()
    for index in range(4):
        for bad in (np.nan, np.inf, -np.inf):
            action = np.zeros(4, np.float32)
            action[index] = bad
            with pytest.raises(ValueError, match="action"):
                stand.step(action)
    np.testing.assert_array_equal(stand.world.data.ctrl, before)
    np.testing.assert_array_equal(stand.step(STAY).executed, STAY)  # the refusals left nothing behind


def the_next_observation_comes_after_the_action(stand: Stand) -> None:
    first = stand.start(0)
    action = np.array([0, 1, 0, -1], np.float32)
    then = stand.step(action).observation
    assert then.stamp_s - first.stamp_s == pytest.approx(1 / stand.task.rate_hz, abs=1e-3)
    moved = then.state - first.state
    assert part(stand.task, moved, "joint_position")[5] < -0.03  # the hand has begun to close
    now = stand.world.joint_positions()
    np.testing.assert_allclose(part(stand.task, then.state, "joint_position"), now, atol=2e-3)
    for camera in stand.task.observation.cameras:
        if camera.name in then.images:
            seen_now = preprocess(stand.world.render(camera.name), camera)
            np.testing.assert_array_equal(then.images[camera.name], seen_now)
            assert np.abs(then.images[camera.name].astype(int) - first.images[camera.name]).mean() > 1


def equal_seeds_start_equally(stand: Stand) -> None:
    task, starts = stand.task, {}
    for seed in (0, 1, 2, 3):
        state = stand.start(seed).state
        starts[seed] = part(task, state, "ee_in_base")
        assert (starts[seed] > np.array(task.start_low_m) - 0.01).all()
        assert (starts[seed] < np.array(task.start_high_m) + 0.01).all()
        gripper_rad = part(task, state, "joint_position")[5]
        np.testing.assert_allclose(gripper_rad, task.action.gripper_open_rad, atol=0.03)
        np.testing.assert_array_equal(part(task, state, "command_lead"), 0.0)
        np.testing.assert_allclose(part(task, state, "previous_action"), STAY, atol=0.05)
        for _ in range(3):
            stand.step(np.array([1, 1, 1, -1], np.float32))
    np.testing.assert_allclose(part(task, stand.start(0).state, "ee_in_base"), starts[0], atol=0.005)
    others = [np.linalg.norm(starts[0] - starts[seed]) for seed in (1, 2, 3)]
    assert min(others) > 0.005 and max(others) > 0.02


CHECKS = (
    an_observation_holds_what_the_spec_says,
    a_unit_moves_the_hand_by_one_step,
    the_gripper_command_is_an_angle,
    holding_keeps_still,
    what_is_executed_is_reported,
    a_limit_takes_away_and_says_so,
    nonsense_is_refused_and_moves_nothing,
    the_next_observation_comes_after_the_action,
    equal_seeds_start_equally,
)


def timeout(episode: Episode, task: TaskSpec) -> None:
    """Check the record of an episode that nobody ended: it has the length of the task's limit, and is cut, not lost."""
    steps, dim = task.time_limit_steps, task.observation.state_dim
    assert len(episode) == steps and episode.meta.outcome is Outcome.TIMEOUT
    assert episode.meta.spec_fingerprint == task.fingerprint
    assert not episode.terminated.any() and not episode.reward.any()
    assert episode.truncated.tolist() == [False] * (steps - 1) + [True]
    assert episode.state.shape == (steps + 1, dim) and episode.executed.shape == (steps, 4)
    for camera in task.observation.cameras:
        if camera.name in episode.images:
            assert episode.images[camera.name].shape == (steps + 1, camera.size_px, camera.size_px, 3)
    assert set(task.observation.policy_cameras) <= set(episode.images)
    np.testing.assert_array_equal(part(task, episode.state[1:], "previous_action"), episode.executed)
    np.testing.assert_allclose(np.diff(episode.stamp_s), 1 / task.rate_hz, atol=1e-3)
