"""The physics self-test: rest, grasp, hold, latency, torque."""

import importlib.util
from pathlib import Path

import mujoco
import numpy as np
import pytest

from hilserl.loop.env import start_joints
from hilserl.robot.kinematics import ee_position
from sim_pretrain.sim_arm import SimArm, sample_cube, scatter
from sim_pretrain.world import LIFT_HEIGHT_M, World
from teleop.expert import ExpertConfig, lift


def grasp(world: World, env, task, rng: np.random.Generator, steps: int = 60) -> bool:
    """Drive the scripted expert until the cube is 5 cm up; return whether it got there."""
    scatter(world, task, rng)
    env.begin()
    for _ in range(steps):
        truth = world.truth()
        if truth.grasped and truth.cube_m[2] > 0.05:
            return True
        env.step(lift(np.array(truth.ee_m), np.array(truth.cube_m), truth.grasped, ExpertConfig()))
    return False


def test_the_simulated_arm_is_an_arm(new_world, task):
    path = Path(__file__).parents[1] / "hilserl" / "robot" / "arm_contract.py"
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
    assert not (truth.grasped or truth.success or truth.lost)


@pytest.mark.parametrize("place", [(0.12, 0.0), (0.34, 0.0), (0.23, 0.14), (0.23, -0.14)])
def test_a_cube_out_of_reach_is_lost(new_world, place):
    world = new_world()
    world.place_cube(*place, 0.0)
    assert world.truth().lost


def test_the_pads_decide_how_a_grasp_feels(new_world, blind_env, task):
    world = new_world(pad_friction=0.9)
    assert grasp(world, blind_env(world), task, np.random.default_rng(0))
    cube = world.model.geom("cube").id
    pads = {world.model.geom(n).id for n in ("static_pad", "moving_pad")}
    touching = [c for c in world.data.contact if cube in c.geom and set(c.geom) & pads]
    assert {g for c in touching for g in c.geom} == pads | {cube}
    for contact in touching:  # read back: priority makes the pads' numbers the ones that act
        np.testing.assert_allclose(contact.friction, [0.9, 0.9, 0.02, 0.001, 0.001])
        np.testing.assert_allclose(contact.solref, [0.01, 1.0])
        np.testing.assert_allclose(contact.solimp[:3], [0.95, 0.99, 0.001])
        assert contact.dim == 4


def test_a_grasp_holds_for_three_seconds(new_world, blind_env, task):
    world, rng = new_world(), np.random.default_rng(1)
    env, held = blind_env(world), 0
    for _ in range(20):
        if grasp(world, env, task, rng):
            for _ in range(30):
                env.step(env.hold_action())
            held += world.truth().grasped and world.truth().cube_m[2] > 0.04
    assert held >= 19


def test_success_needs_grasp_and_height(new_world, blind_env, task):
    world = new_world()
    world.data.joint("cube").qpos[:3] = 0.23, 0.0, 0.12  # in the air, held by nobody
    mujoco.mj_forward(world.model, world.data)
    assert world.truth().cube_m[2] > LIFT_HEIGHT_M and not world.truth().success
    env = blind_env(world)
    assert grasp(world, env, task, np.random.default_rng(2))
    assert world.truth().grasped and not world.truth().success
    while world.truth().cube_m[2] <= LIFT_HEIGHT_M:
        env.step(np.array([0, 0, 1, -1], np.float32))
    assert world.truth().success


def test_the_encoders_err_by_the_offset(new_world):
    offset = np.radians((1.5, -1.5, 1.5, -1.5, 1.0, 0.5))
    plain, off = new_world(), new_world(joint_offset_deg=tuple(np.degrees(offset)))
    pose = np.array([0.1, -0.5, 0.4, 1.2, 1.5, 0.3])
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


def test_equal_seeds_give_equal_worlds(new_world, blind_env, task):
    worlds = [new_world(), new_world()]
    for world in worlds:
        rng = np.random.default_rng(5)
        scatter(world, task, rng)
        env = blind_env(world)
        for _ in range(10):
            env.step(rng.uniform(-1, 1, 4))
    np.testing.assert_array_equal(worlds[0].data.qpos, worlds[1].data.qpos)


def test_cubes_are_drawn_from_their_box():
    rng = np.random.default_rng(0)
    cubes = np.array([sample_cube(rng) for _ in range(500)])
    assert (cubes.min(0) >= (0.19, -0.04, -0.3)).all() and (cubes.max(0) <= (0.27, 0.04, 0.3)).all()
    assert (np.ptp(cubes, axis=0) > (0.07, 0.07, 0.5)).all()
