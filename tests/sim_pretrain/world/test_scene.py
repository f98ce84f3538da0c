"""The table as a model: what collides, what is seen, what a profile changes."""

import contextlib
import dataclasses
import importlib.util
import json

import draccus
import mujoco
import numpy as np
import pytest

from data.errors import UserError
from hilserl.loop.env import sample_start, start_joints
from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD, JOINTS
from sim_pretrain.task.stages import scatter
from sim_pretrain.task.tasks import TASKS, find_task, in_bowl, on_paper
from sim_pretrain.world.physics import World
from sim_pretrain.world.profile import RealWorld, WorldProfile, read_profile
from sim_pretrain.world.scene import build_xml
from sim_pretrain.world.truth import Truth


def model_of(profile: WorldProfile) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(*build_xml(profile))


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return model_of(WorldProfile())


def robot_contacts(model: mujoco.MjModel, joints: np.ndarray) -> list[tuple[str, str]]:
    """Pairs of robot bodies that touch each other."""
    data = mujoco.MjData(model)
    data.joint("cube").qpos[0] = 2.0  # out of the way
    for name, angle in zip(JOINTS, joints, strict=True):
        data.joint(name).qpos[0] = angle
    mujoco.mj_forward(model, data)
    bodies = [[model.body(model.geom_bodyid[g]).name for g in c.geom] for c in data.contact if c.dist < 0]
    return [(a, b) for a, b in bodies if "world" not in (a, b)]


def test_the_skin_is_seen_but_never_touched(model):
    meshes = np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_MESH)
    assert len(meshes) > 10
    assert not model.geom_contype[meshes].any() and not model.geom_conaffinity[meshes].any()


def test_the_mass_is_in_the_bodies_not_in_the_skin(model):
    links = [model.body(b).mass[0] for b in ("shoulder", "upper_arm", "lower_arm", "wrist", "gripper", "moving_jaw")]
    assert links == pytest.approx([0.100006, 0.103, 0.104, 0.079, 0.087, 0.012])
    assert model.body("cube").mass[0] == pytest.approx(0.03)


def test_the_robot_never_touches_itself(model, task):
    rng = np.random.default_rng(0)
    poses = [rng.uniform(JOINT_LOW_RAD, JOINT_HIGH_RAD) for _ in range(100)]
    poses += [start_joints(task, sample_start(task, rng)) for _ in range(20)]
    assert [pair for pose in poses for pair in robot_contacts(model, pose)] == []


def test_servos_have_the_limits_and_torque_of_the_profile():
    model = model_of(WorldProfile(servo_gain=45.0, servo_damping=2.0, servo_torque_nm=2.5, gripper_torque_nm=0.7))
    np.testing.assert_allclose(model.actuator_gainprm[:, 0], 45.0)
    np.testing.assert_allclose(model.actuator_biasprm[:, 1:3], [[-45.0, -2.0]] * 6)
    np.testing.assert_allclose(model.actuator_forcerange[:, 1], [2.5] * 5 + [0.7])
    np.testing.assert_allclose(model.actuator_ctrlrange, np.stack([JOINT_LOW_RAD, JOINT_HIGH_RAD], 1), atol=1e-5)


def test_it_builds_without_the_mesh_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    model = model_of(WorldProfile())
    assert model.nmesh == 0 and model.ngeom > 8
    visible = {model.body(model.geom_bodyid[g]).name for g in np.flatnonzero(model.geom_group <= 2)}
    assert {"gripper", "moving_jaw", "upper_arm"} <= visible  # boxes stand in for the meshes


@pytest.mark.parametrize("profile", [WorldProfile(), RealWorld()], ids=["clean", "real"])
def test_every_field_of_a_profile_can_be_set_from_json(profile):
    encoded = json.loads(json.dumps(draccus.encode(profile)))
    assert encoded.keys() == {f.name for f in dataclasses.fields(WorldProfile)}
    assert draccus.decode(type(profile), encoded) == profile
    for name, value in encoded.items():  # each alone, moved
        moved = [v + 0.01 for v in value] if isinstance(value, list) else "+y" if isinstance(value, str) else value + 1
        decoded = draccus.decode(type(profile), {name: moved})
        assert json.loads(json.dumps(getattr(decoded, name))) == pytest.approx(moved)


def test_a_file_that_is_no_profile_is_refused_with_the_fields_that_exist(tmp_path):
    file = tmp_path / "table.json"
    file.write_text('{"servo_gian": 45}')
    with pytest.raises(UserError, match="servo_gain"):
        read_profile(file, WorldProfile)


LOOKS = {
    "wrist_position_m": (0.0131, -0.0608, -0.0139), "wrist_quaternion": (0.0, 0.0, -0.223, 0.9748),
    "wrist_tilt_deg": (-4.0, 2.5, 3.4), "wrist_fovy_deg": 75.0, "wrist_mount": "+y",
    "brightness": 0.8, "white_balance": (1.08, 1.0, 0.92), "gamma": 0.85, "image_noise": 4.0,
    "light_diffuse": 0.9, "light_ambient": 0.2, "light_position_m": (-0.2, -0.5, 1.0),
    "table_rgb": (0.2, 0.6, 0.2), "table_rgb2": (0.2, 0.2, 0.7),
    "robot_rgb": (0.2, 0.2, 0.9), "cube_rgb": (0.1, 0.8, 0.1), "target_rgb": (0.1, 0.3, 0.8), "cube_half_m": 0.02,
    "front_position_m": (0.54, 0.05, 0.22), "front_target_m": (0.2, 0.02, 0.05), "front_fovy_deg": 50.0,
}  # fmt: skip


def test_every_look_of_a_profile_changes_the_picture_built_or_applied(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # boxes: quick to build and draw
    plain = WorldProfile(native_width_px=80, native_height_px=60)

    def pictures(world: World) -> dict[str, np.ndarray]:
        scatter(world, find_task("bowl"), np.random.default_rng(0))
        return {name: world.render(name).astype(int) for name in world.camera_names}

    def built(profile: WorldProfile) -> dict[str, np.ndarray]:
        with contextlib.closing(World(profile, prop="bowl")) as world:
            return pictures(world)

    with contextlib.closing(World(plain, prop="bowl")) as live:
        before = pictures(live)
        assert before["wrist"].shape == (60, 80, 3)
        for name, value in LOOKS.items():
            profile = dataclasses.replace(plain, **{name: value})
            live.apply(profile)
            applied, after = pictures(live), built(profile)
            changed = {c for c in before if np.abs(applied[c] - before[c]).mean() > 0.1}
            camera = name.partition("_")[0]
            assert changed == ({camera} if camera in before else set(before)), name
            assert all(np.abs(applied[c] - after[c]).mean() < 0.01 for c in before), name  # the one as the other
        live.apply(plain)
        again = pictures(live)
        assert all(np.array_equal(again[c], before[c]) for c in before)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_where_things_lie_says_nothing_about_the_start_pose(task):
    rng = np.random.default_rng(0)
    places = [s for s in (task.cube, task.target) if s is not None]
    draws = np.array(
        [[*sample_start(task.spec, rng), *(v for s in places for v in s.sample(rng))] for _ in range(2000)]
    )
    moving = draws[:, np.ptp(draws, axis=0) > 0]
    correlations = np.corrcoef(moving.T)[:3, 3:]
    assert correlations.size >= 9 and np.abs(correlations).max() < 0.08


def settle(world: World) -> Truth:
    """Let half a second pass with the arm out of the way."""
    world.set_joints(np.array([0.0, -1.0, 0.8, 1.4, np.pi / 2, 0.5]))
    world.advance(0.5)
    return world.truth()


def drop(world: World, place_m: tuple[float, float, float]) -> None:
    """Let go of the cube in the air."""
    world.place_cube(*place_m[:2], 0.4)
    world.data.joint("cube").qpos[2] = place_m[2]


@pytest.mark.parametrize("beside_m", [(0.0, 0.0), (0.02, 0.0), (-0.012, 0.015)])
def test_a_cube_dropped_into_the_bowl_stays_in_it(beside_m):
    world = World(prop="bowl")
    world.place_target(0.22, 0.06)
    drop(world, (0.22 + beside_m[0], 0.06 + beside_m[1], 0.06))
    truth = settle(world)
    assert in_bowl(truth) and truth.cube_m[2] > 0.01
    assert truth.target_m == pytest.approx((0.22, 0.06, 0.0))  # the bowl does not give way


def test_the_wall_of_the_bowl_stops_a_cube():
    ends = []
    for prop in ("bowl", "paper"):
        world = World(prop=prop)
        world.place_target(0.22, 0.06)
        world.place_cube(0.22, 0.0, 0.0)
        world.data.joint("cube").qvel[1] = 1.0  # pushed towards it
        world.advance(0.5)
        ends.append(world.truth().cube_m[1])
    assert ends[0] < 0.06 - 0.028 and ends[1] > 0.045, ends


def test_paper_is_seen_but_never_touched():
    world = World(prop="paper")
    world.place_target(0.22, 0.06, 0.3)
    drop(world, (0.23, 0.07, 0.02))
    truth = settle(world)
    assert on_paper(truth) and truth.cube_m[2] == pytest.approx(truth.cube_half_m, abs=5e-4)
    paper = world.model.geom("paper").id
    assert not any(paper in contact.geom for contact in world.data.contact)
    world.place_target(0.19, 0.0)
    assert not on_paper(world.truth())


@pytest.mark.parametrize("prop", ["bowl", "paper"])
def test_the_target_lies_where_it_is_placed(prop):
    world = World(prop=prop)
    world.place_target(0.21, 0.05, 0.4)
    body = world.data.body("target")
    np.testing.assert_allclose(body.xpos[:2], (0.21, 0.05))
    assert np.arctan2(body.xmat[3], body.xmat[0]) == pytest.approx(0.4)
    assert world.truth().target_m == pytest.approx(body.xpos)
    world.reset()
    world.place_cube(0.2, 0.0, 0.0)
    assert world.truth().target_m[:2] == pytest.approx((0.23, 0.07))  # where it is built


def test_without_a_bowl_or_paper_there_is_no_target():
    assert World().truth().target_m is None
    with pytest.raises(ValueError, match="bowl or a paper"):
        in_bowl(World().truth())
