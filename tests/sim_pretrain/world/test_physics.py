"""The physics self-test: rest, grasp, hold, latency, torque."""

import importlib.util
from pathlib import Path

import mujoco
import numpy as np
import pytest

from hilserl.loop.env import start_joints
from hilserl.robot.kinematics import ee_position
from sim_pretrain.task.stages import scatter
from sim_pretrain.task.tasks import LIFT_HEIGHT_M, TASKS, find_task, lifted
from sim_pretrain.world.physics import World
from sim_pretrain.world.profile import WorldProfile
from sim_pretrain.world.sim_arm import SimArm, SimFrames
from teleop.expert import ExpertConfig, lift

LIFT = find_task("lift")
POSE = np.array([0.1, -0.5, 0.4, 1.2, 1.5, 0.3])


def grasp(world: World, env, rng: np.random.Generator, steps: int = 60) -> bool:
    """Drive the scripted expert until the cube is 5 cm up; return whether it got there."""
    scatter(world, LIFT, rng)
    env.begin()
    for _ in range(steps):
        truth = world.truth()
        if truth.grasped and truth.cube_m[2] > 0.05:
            return True
        env.step(lift(np.array(truth.ee_m), np.array(truth.cube_m), truth.grasped, ExpertConfig()))
    return False


def test_the_simulated_arm_is_an_arm(new_world, task):
    path = Path(__file__).parents[2] / "hilserl" / "robot" / "arm_contract.py"
    spec = importlib.util.spec_from_file_location("arm_contract", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    world = new_world()
    world.set_joints(start_joints(task, np.array([0.22, 0.0, 0.15])))
    module.arm_contract(SimArm(world), world.advance)


def test_the_cube_rests_on_the_table(new_world):
    world = new_world()
    world.place_cube(0.23, 0.01, 0.2)
    world.advance(1.0)
    truth = world.truth()
    assert truth.cube_m == pytest.approx((0.23, 0.01, 0.015), abs=5e-4)
    assert truth.cube_yaw_rad == pytest.approx(0.2, abs=0.01)
    assert truth.cube_tilt_rad < 0.02 and truth.cube_speed_m_s < 1e-3
    assert not (truth.static_touch or truth.moving_touch or truth.grasped)
    assert not (LIFT.reached(truth) or LIFT.lost(truth))


def test_a_closed_hand_does_not_press_the_cube_into_the_table(new_world, blind_env):
    world = new_world()
    world.set_joints(start_joints(LIFT.spec, np.array([0.23, 0.0, 0.07])))
    world.place_cube(0.23, 0.0, 0.0)
    env, lowest_m, hand_m = blind_env(world), 1.0, []
    env.begin()
    for step in range(40):  # close, then down as far as it goes
        env.step(np.array([0, 0, 0 if step < 8 else -1, -1], np.float32))
        lowest_m = min(lowest_m, world.truth().cube_m[2])
        hand_m.append(world.truth().ee_m[2])
    assert min(hand_m) < 0.045, "the hand never came down to the cube"
    assert lowest_m > 0.015 - 5e-4


@pytest.mark.parametrize("place", [(0.12, 0.0), (0.34, 0.0), (0.23, 0.14), (0.23, -0.14)])
def test_a_cube_out_of_reach_is_lost(new_world, place):
    world = new_world()
    world.place_cube(*place, 0.0)
    assert all(task.lost(world.truth()) for task in TASKS.values())
    world.place_cube(0.23, 0.0, 0.0)
    assert not LIFT.lost(world.truth())
    world.data.joint("cube").qpos[2] = -0.1  # fell off
    assert LIFT.lost(world.truth())


def test_the_pads_decide_how_a_grasp_feels(new_world, blind_env):
    world = new_world(pad_friction=0.9)
    assert grasp(world, blind_env(world), np.random.default_rng(0))
    cube = world.model.geom("cube").id
    pads = {world.model.geom(n).id for n in ("static_pad", "moving_pad")}
    touching = [c for c in world.data.contact if cube in c.geom and set(c.geom) & pads]
    assert {g for c in touching for g in c.geom} == pads | {cube}
    for contact in touching:  # read back: priority makes the pads' numbers the ones that act
        np.testing.assert_allclose(contact.friction, [0.9, 0.9, 0.02, 0.001, 0.001])
        np.testing.assert_allclose(contact.solref, [0.01, 1.0])
        np.testing.assert_allclose(contact.solimp[:3], [0.95, 0.99, 0.001])
        assert contact.dim == 4


def test_a_grasp_holds_for_three_seconds(new_world, blind_env):
    world, rng = new_world(), np.random.default_rng(1)
    env, held = blind_env(world), 0
    for _ in range(20):
        if grasp(world, env, rng):
            for _ in range(30):
                env.step(env.hold_action())
            held += world.truth().grasped and world.truth().cube_m[2] > 0.04
    assert held >= 19


def test_a_lift_needs_grasp_and_height(new_world, blind_env):
    world = new_world()
    world.data.joint("cube").qpos[:3] = 0.23, 0.0, 0.12  # in the air, held by nobody
    mujoco.mj_forward(world.model, world.data)
    assert world.truth().cube_m[2] > LIFT_HEIGHT_M and not lifted(world.truth())
    env = blind_env(world)
    assert grasp(world, env, np.random.default_rng(2))
    assert world.truth().grasped and not lifted(world.truth())
    while world.truth().cube_m[2] <= LIFT_HEIGHT_M:
        env.step(np.array([0, 0, 1, -1], np.float32))
    assert lifted(world.truth())


def test_the_encoders_err_by_the_offset(new_world):
    offset = np.radians((1.5, -1.5, 1.5, -1.5, 1.0, 0.5))
    plain, off = new_world(), new_world(joint_offset_deg=tuple(np.degrees(offset)))
    pose = POSE
    for world in (plain, off):
        world.set_joints(pose)
    np.testing.assert_allclose(off.joint_positions(), plain.joint_positions(), atol=1e-12)
    true = np.array([off.data.joint(n).qpos[0] for n in ("shoulder_pan", "wrist_roll", "gripper")])
    np.testing.assert_allclose(true, (pose - offset)[[0, 4, 5]], atol=1e-12)
    np.testing.assert_allclose(off.truth().ee_m, ee_position(pose - offset), atol=1e-12)
    assert np.linalg.norm(np.subtract(off.truth().ee_m, plain.truth().ee_m)) > 1e-3
    for world in (plain, off):
        world.set_goals(pose)
        world.advance(1.0)
    np.testing.assert_allclose(off.joint_positions(), plain.joint_positions(), atol=0.01)  # goals are encoder angles


def test_latency_delays_a_goal_and_keeps_the_order(new_world):
    world = new_world(action_latency_s=0.06)
    start = world.joint_positions()
    for k in range(3):
        world.set_goals(start + 0.1 * (k + 1))
        world.advance(0.02)
    np.testing.assert_allclose(world.data.ctrl[0], start[0])  # at 0.06 s the first is due, not yet taken
    seen = []
    for _ in range(4):
        world.advance(0.02)
        seen.append(round(float(world.data.ctrl[0] - start[0]), 6))
    assert seen == [0.1, 0.2, 0.3, 0.3]
    prompt = new_world()
    prompt.set_goals(start + 0.1)
    assert prompt.data.ctrl[0] == pytest.approx(start[0] + 0.1)


def test_without_torque_the_arm_is_limp(new_world):
    world = new_world()
    world.set_joints(np.array([0.0, 0.0, 0.0, 0.0, 1.57, 0.3]))
    height_m = world.truth().ee_m[2]
    world.advance(0.5)
    assert world.truth().ee_m[2] > height_m - 0.02  # energised it stays
    world.set_torque(np.zeros(6, bool))
    world.set_goals(np.array([0.5, 0.0, 0.0, 0.0, 1.57, 0.3]))
    world.advance(1.0)
    assert world.truth().ee_m[2] < height_m - 0.05
    assert abs(world.joint_positions()[0]) < 0.1
    world.set_torque(np.ones(6, bool))
    world.advance(1.0)
    assert world.joint_positions()[0] == pytest.approx(0.5, abs=0.05)


def test_time_passes_as_told(new_world):
    world = new_world()
    for _ in range(50):
        world.advance(0.02)
    assert world.time_s == pytest.approx(1.0, abs=1e-6)


def test_equal_seeds_give_equal_worlds(new_world, blind_env):
    worlds = [new_world(), new_world()]
    for world in worlds:
        rng = np.random.default_rng(5)
        scatter(world, LIFT, rng)
        env = blind_env(world)
        for _ in range(10):
            env.step(rng.uniform(-1, 1, 4))
    np.testing.assert_array_equal(worlds[0].data.qpos, worlds[1].data.qpos)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_things_are_drawn_from_their_box(task):
    rng = np.random.default_rng(0)
    for spawn in (task.cube, task.target):
        if spawn is not None:
            draws = np.array([spawn.sample(rng) for _ in range(500)])
            low, high = np.array([*spawn.low_m, -spawn.yaw_rad]), np.array([*spawn.high_m, spawn.yaw_rad])
            assert (draws >= low).all() and (draws <= high).all()
            assert (np.ptp(draws, axis=0) >= 0.9 * (high - low)).all()


@pytest.mark.parametrize("half_m", [0.012, 0.015, 0.018])
def test_an_injected_grasp_holds_for_a_second(blind_env, half_m):
    """Whatever the encoders of the gripper say: the pinch is geometry."""
    held = 0
    for offset_deg in (0.0, 1.5, -1.5):
        world = World(WorldProfile(cube_half_m=half_m, joint_offset_deg=(0.0,) * 5 + (offset_deg,)))
        env = blind_env(world)
        for seed in range(14):
            scatter(world, LIFT, np.random.default_rng(seed), {"grasped": 1.0})
            before = world.truth()
            assert before.grasped and before.cube_speed_m_s == 0.0
            env.begin()
            for _ in range(10):
                env.step(env.hold_action())
            after = world.truth()
            held += after.grasped and abs(after.cube_m[2] - before.cube_m[2]) < 0.01
    assert held >= 0.95 * 3 * 14


def test_joints_are_read_as_they_were_an_observation_latency_ago(new_world):
    world, prompt = new_world(observation_latency_s=0.03), new_world()
    readings: list[list[np.ndarray]] = [[], []]
    for k in range(40):
        for which, reading in zip((world, prompt), readings, strict=True):
            which.set_goals(POSE + 0.2 * np.sin(k / 5))
            which.advance(0.012)
            reading.append(which.joint_positions())
    late, now = (np.array(reading) for reading in readings)
    np.testing.assert_allclose(late[3:], (now[1:-2] + now[:-3]) / 2, atol=1e-9)  # 2.5 moments ago
    assert np.abs(late[3:] - now[3:]).max() > 0.01
    world.set_joints(POSE)
    np.testing.assert_allclose(world.joint_positions(), POSE, atol=1e-12)  # no news of what was before the injection


def test_frames_are_seen_as_the_world_was_a_camera_latency_ago(new_world):
    size = {"native_width_px": 32, "native_height_px": 24}
    late, now = new_world(camera_latency_s=0.048, **size), new_world(**size)
    for world in (late, now):
        world.place_cube(0.23, 0.0, 0.0)
        world.set_joints(POSE)
    frames = [np.array(f, int) for f in (now.render("wrist"), SimFrames(late).read("wrist")[0])]
    np.testing.assert_array_equal(*frames)  # nothing has happened yet
    views = []
    for _ in range(8):
        for world in (late, now):
            world.set_goals(POSE + 0.3)
            world.advance(0.024)
        views.append([np.array(f, int) for f in (SimFrames(late).read("wrist")[0], now.render("wrist"))])
    for k in range(2, 8):
        assert np.abs(views[k][0] - views[k - 2][1]).mean() < 0.01, k
    assert np.abs(views[3][0] - views[3][1]).mean() > 3.0
    np.testing.assert_array_equal(late.render("wrist"), now.render("wrist"))  # the world itself is the same


def test_the_truth_and_the_picture_are_those_of_this_moment(new_world):
    """Though a step of the physics leaves the geometry and the contacts that it began with."""
    moving, still = (new_world(native_width_px=32, native_height_px=24) for _ in range(2))
    for world in (moving, still):
        world.place_cube(0.23, 0.0, 0.4)
        world.set_joints(POSE)
    moving.set_goals(POSE + 0.3)
    for _ in range(4):
        moving.advance(0.02)
        still.data.qpos[:], still.data.qvel[:] = moving.data.qpos, moving.data.qvel
        mujoco.mj_forward(still.model, still.data)
        assert moving.truth() == still.truth()
        np.testing.assert_array_equal(moving.render("wrist"), still.render("wrist"))


def test_looking_moves_nothing(blind_env, new_world):
    worlds = [new_world(native_width_px=32, native_height_px=24) for _ in range(2)]
    for world in worlds:
        rng = np.random.default_rng(3)
        scatter(world, LIFT, rng, {"grasped": 1.0})
        env = blind_env(world)
        for _ in range(6):
            if world is worlds[1]:
                world.truth()
                world.render("wrist")
            env.step(rng.uniform(-1, 1, 4))
    np.testing.assert_array_equal(worlds[0].data.qpos, worlds[1].data.qpos)


def test_noise_falls_anew_at_every_moment_and_as_it_fell_at_the_same(new_world):
    world = new_world(image_noise=4.0, native_width_px=32, native_height_px=24)
    frames = [world.render("wrist").astype(int) for _ in range(2)]
    np.testing.assert_array_equal(*frames)
    world.advance(0.004)
    assert np.abs(world.render("wrist") - frames[0]).mean() > 2
    world.reset(seed=1)
    first = world.render("wrist").astype(int)
    world.reset(seed=2)
    assert np.abs(world.render("wrist") - first).mean() > 2
    world.reset(seed=1)
    np.testing.assert_array_equal(world.render("wrist"), first)


def test_a_joint_with_backlash_follows_after_the_gap(new_world):
    """And the encoder, which sits on the servo's side of it, does not see that."""
    gap = np.radians(2.0)
    world = new_world(backlash_deg=2.0)
    world.set_joints(POSE)

    def pan(goal: float) -> tuple[float, float]:
        world.set_goals(np.array([goal, *POSE[1:]]))
        world.advance(0.6)
        return world.data.joint("shoulder_pan").qpos[0], world.joint_positions()[0]

    friction = 0.052 / world.profile.servo_gain + 1e-4  # what the servo itself leaves
    ends = {"up": pan(0.2), "down": pan(0.1), "within": pan(0.1 + 0.9 * gap), "through": pan(0.1 + 1.5 * gap)}
    joint, encoder = ({k: v[i] for k, v in ends.items()} for i in (0, 1))
    assert joint["up"] == pytest.approx(0.2 - gap / 2, abs=2 * friction)
    assert joint["down"] == pytest.approx(0.1 + gap / 2, abs=2 * friction)
    assert joint["within"] == pytest.approx(joint["down"], abs=2 * friction)
    assert joint["through"] == pytest.approx(0.1 + gap, abs=2 * friction)
    goals = {"up": 0.2, "down": 0.1, "within": 0.1 + 0.9 * gap, "through": 0.1 + 1.5 * gap}
    assert all(encoder[k] == pytest.approx(goals[k], abs=2 * friction) for k in goals)
    world.set_joints(POSE)
    np.testing.assert_allclose(world.joint_positions(), POSE, atol=1e-12)  # an injected pose has no slack
