"""One tick of the world: what is executed, what is observed, and what no action can do."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lerobot.robots.so_follower import SO101FollowerConfig

from hilserl.loop.env import ArmEnv, sample_start, start_joints, state_vector
from hilserl.robot.arm import connect_arm
from hilserl.robot.kinematics import ee_position
from sim_pretrain.rig.bridge import WorldPlant
from sim_pretrain.rig.bus_process import PlantMemory
from sim_pretrain.rig.feetech_bus import ServoBus
from sim_pretrain.rig.pty_port import PtyPort
from sim_pretrain.rig.servo import write_calibration
from sim_pretrain.task.stages import scatter
from sim_pretrain.task.tasks import TASKS
from sim_pretrain.world.sim_arm import SimArm, SimClock, SimFrames, make_env

_spec = importlib.util.spec_from_file_location("env_contract", Path(__file__).with_name("env_contract.py"))
contract = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(contract)
part = contract.part

# Each action is repeated, or random ones would cancel out long before a wall is met.
actions = st.lists(
    st.tuples(st.tuples(*(st.floats(-3, 3) for _ in range(4))), st.integers(1, 12)), min_size=1, max_size=6
).map(lambda runs: [action for action, count in runs for _ in range(count)])


class PlantClock(SimClock):
    """Advances a world whose joints hang on a servo bus."""

    def __init__(self, world, plant: WorldPlant) -> None:
        super().__init__(world)
        self._plant = plant

    def sleep_until_s(self, time_s: float) -> None:
        while self.now_s() < time_s - 1e-9:
            self._plant.advance(0.004)


class ArmStand:
    """The arm's environment, with the reset of a session."""

    def __init__(self, world, arm, clock, task) -> None:
        self.world, self.task, self._clock = world, task, clock
        self._env = ArmEnv(arm, SimFrames(world), clock, task, task.observation.policy_cameras)

    def start(self, seed):
        start_m = sample_start(self.task, np.random.default_rng(seed))
        result = self._env.move_to_start(start_m, lambda: False)
        assert result.reached, result.reason
        self._clock.sleep_until_s(self._clock.now_s() + 0.5)  # somebody places the object; the jaw is slower
        return self._env.begin()

    def step(self, action):
        step = self._env.step(action)
        return contract.Taken(step.observation, step.executed, step.limited)


@pytest.fixture(scope="module", params=["simulated", "emulated"])
def stand(request, new_world, task, tmp_path_factory):
    """The simulated arm, and the emulated one: LeRobot's driver on the servo bus, in step with the simulated time."""
    world = new_world()
    if request.param == "simulated":
        yield ArmStand(world, SimArm(world), SimClock(world), task)
    else:
        folder, interval_s = tmp_path_factory.mktemp("arm"), sys.getswitchinterval()
        plant = WorldPlant(world, PlantMemory(folder / "plant", create=True))
        config = SO101FollowerConfig(port=str(folder / "follower"), id="arm", calibration_dir=folder)
        write_calibration(folder / "arm.json")
        sys.setswitchinterval(0.0005)  # the driver spins while it waits: the bus thread must get its turn
        with PtyPort(ServoBus(PlantMemory(folder / "plant")), folder / "follower"):
            clock = PlantClock(world, plant)
            with connect_arm(config, clock) as arm:
                yield ArmStand(world, arm, clock, task)
        sys.setswitchinterval(interval_s)
    world.close()


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_contract(stand, check):
    check(stand)


def test_an_episode_that_nobody_ends(bench, task):
    (episode,) = bench().run(max_steps=0)
    contract.timeout(episode, task)


def test_the_state_is_in_the_order_of_the_spec(task):
    joints, previous = np.arange(6) / 10, np.arange(6) / 10 - 0.02
    action = np.array([0.1, 0.2, 0.3, 0.4])
    target = ee_position(joints) + np.array([0.01, 0.02, 0.03])
    state = state_vector(joints, previous, 0.1, target, action)
    assert state.shape == (task.observation.state_dim,) and state.dtype == np.float32
    expected = {
        "joint_position": joints,
        "joint_velocity": np.full(6, 0.2),
        "ee_in_base": ee_position(joints),
        "command_lead": (0.01, 0.02, 0.03),
        "previous_action": action,
    }
    assert [f.name for f in task.observation.state] == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(part(task, state, name), value, atol=1e-6, err_msg=name)


def test_no_time_gives_no_velocity():
    state = state_vector(np.ones(6), np.zeros(6), 0.0, np.zeros(3), np.zeros(4))
    np.testing.assert_array_equal(state[6:12], 0.0)


@settings(max_examples=25, deadline=None)
@example([(0, -1, 0, 0)] * 3 + [(0, -1, -1, 0)] * 5 + [(1, 0, 0, 0)] * 4 + [(1, -1, -1, 0)] * 8)  # low far corner
@given(actions)
def test_no_action_leaves_workspace_or_leash(new_world, blind_env, task, sequence):
    env = blind_env(new_world())
    low, high = np.array(task.workspace_low_m), np.array(task.workspace_high_m)
    measured = env.begin().state
    for action in sequence:
        target_before = part(task, measured, "ee_in_base") + part(task, measured, "command_lead")
        step = env.step(np.array(action))
        target = target_before + step.executed[:3] * task.action.step_m
        assert (target >= low - 1e-4).all() and (target <= high + 1e-4).all()
        # On the leash of the pose it was commanded from.
        assert np.abs(target - part(task, measured, "ee_in_base")).max() <= task.action.leash_m + 1e-4
        # Of what was asked some part is executed, never more and never the opposite.
        asked = np.clip(action, -1, 1)
        assert (np.abs(step.executed) <= np.abs(asked) + 1e-5).all() and (step.executed * asked >= -1e-9).all()
        measured = step.observation.state
        lead = part(task, measured, "command_lead")
        np.testing.assert_allclose(part(task, measured, "ee_in_base") + lead, target, atol=1e-5)


def test_a_blocked_arm_does_not_wind_up(new_world, blind_env, task):
    world = new_world(servo_gain=0.0)  # it is told, and does not move
    env = blind_env(world)
    steps = [env.step(np.array([0, 1, 0, 1], np.float32)) for _ in range(12)]
    assert steps[-1].limited and abs(steps[-1].executed[1]) < 0.3
    lead = part(task, steps[-1].observation.state, "command_lead")
    assert abs(lead[1]) <= task.action.leash_m + 0.02


def test_begin_anchors_the_command_and_the_gripper_to_what_is_measured(new_world, blind_env, task):
    world = new_world()
    env = blind_env(world)
    for _ in range(4):
        env.step(np.array([1, 0, 0, -1], np.float32))
    pose = start_joints(task, np.array([0.22, 0.02, 0.12]))
    pose[5] = task.action.gripper_closed_rad
    world.set_joints(pose)
    state = env.begin().state
    np.testing.assert_array_equal(part(task, state, "command_lead"), 0.0)
    np.testing.assert_array_equal(part(task, state, "joint_velocity"), 0.0)
    np.testing.assert_allclose(part(task, state, "previous_action"), [0, 0, 0, -1], atol=1e-6)
    np.testing.assert_allclose(env.hold_action(), [0, 0, 0, -1], atol=1e-6)


def test_velocity_is_what_the_joints_moved_per_second_of_the_clock(new_world, blind_env, task):
    world = new_world()
    env = blind_env(world)
    before, before_s = world.joint_positions(), world.time_s
    seen = 0.0
    for _ in range(4):
        state = env.step(np.array([0, 1, 0, 1], np.float32)).observation.state
        elapsed_s = world.time_s - before_s
        assert elapsed_s == pytest.approx(1 / task.rate_hz, abs=0.003)
        expected = (world.joint_positions() - before) / elapsed_s
        np.testing.assert_allclose(part(task, state, "joint_velocity"), expected, atol=1e-4)
        before, before_s = world.joint_positions(), world.time_s
        seen = max(seen, np.abs(expected).max())
    assert seen > 0.1


def test_a_step_writes_interpolated_goals(new_world, task):
    world = new_world()
    written = []

    class Watched(SimArm):
        def write(self, goal_rad: np.ndarray) -> np.ndarray:
            written.append((world.time_s, np.array(goal_rad)))
            return super().write(goal_rad)

    env = ArmEnv(Watched(world), SimFrames(world), SimClock(world), task)
    env._cameras = []  # nothing is drawn
    env.step(np.array([0, 1, 0, 1], np.float32))
    assert len(written) == task.inner_steps
    pan = np.array([goal[0] for _, goal in written])
    np.testing.assert_allclose(np.diff(pan), pan[1] - pan[0], rtol=1e-6)
    np.testing.assert_allclose(np.diff([t for t, _ in written]), 0.02, atol=1e-6)


def test_nothing_hidden_is_in_the_observation(new_world, blind_env):
    """Cube pose, mass, friction and colours change; without pixels the policy cannot tell."""

    def states(cube: tuple[float, float, float], **profile: object) -> np.ndarray:
        world = new_world(**profile)
        env, rng = blind_env(world), np.random.default_rng(3)
        world.place_cube(*cube)
        return np.stack([env.step(rng.uniform(-1, 1, 4)).observation.state for _ in range(6)])

    plain = states((0.23, 0.1, 0.0))
    np.testing.assert_array_equal(states((0.30, -0.11, 0.7)), plain)
    hidden = {"cube_mass_kg": 0.3, "pad_friction": 0.2, "cube_rgb": (0.0, 1.0, 0.0), "cube_half_m": 0.02}
    for name, value in hidden.items():
        np.testing.assert_array_equal(states((0.23, 0.1, 0.0), **{name: value}), plain, err_msg=name)
    assert np.abs(states((0.23, 0.1, 0.0), servo_gain=30.0) - plain).max() > 1e-3  # the comparison can fail


def test_equal_seeds_give_equal_observations(new_world, task):
    """With pixels: what is compared at the end is everything the policy gets."""

    def run(seed: int) -> tuple[np.ndarray, np.ndarray]:
        world, rng = new_world(image_noise=3.0), np.random.default_rng(seed)
        scatter(world, TASKS["lift"], rng)
        env = make_env(world, task, ("wrist",))
        env.begin()
        observation = [env.step(rng.uniform(-1, 1, 4)).observation for _ in range(3)][-1]
        world.close()
        assert set(observation.images) == {"wrist"}
        return observation.images["wrist"], observation.state

    first, again, other = run(0), run(0), run(1)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any() and (first[1] != other[1]).any()
    assert first[0].shape == (84, 84, 3) and first[0].dtype == np.uint8


def test_an_unreachable_target_gives_up_what_was_not_reached(new_world, blind_env, task):
    far = dataclasses.replace(task, workspace_high_m=(0.9, 0.14, 0.20))  # a box that reaches beyond the arm
    world = new_world()
    env = blind_env(world)
    env.task = far
    steps = [env.step(np.array([1, 0, 0, 1], np.float32)) for _ in range(60)]
    assert steps[-1].limited and steps[-1].executed[0] < 0.5
    assert np.isfinite(world.joint_positions()).all()
    assert all(np.abs(s.executed).max() <= 1 for s in steps)


def test_start_poses_are_at_their_place_with_the_gripper_open(task):
    rng = np.random.default_rng(0)
    for _ in range(30):
        start = sample_start(task, rng)
        assert (start >= task.start_low_m).all() and (start <= task.start_high_m).all()
        joints = start_joints(task, start)
        assert np.linalg.norm(ee_position(joints) - start) < 5e-4
        assert joints[5] == task.action.gripper_open_rad and joints[4] == task.wrist_roll_rad
