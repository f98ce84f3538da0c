"""Our kinematics against the published model, against our own MJCF, and the properties of the inverse."""

import importlib.util
from pathlib import Path

import mujoco
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hilserl.robot import kinematics as k
from hilserl.tasks import lift_task
from sim_pretrain.world.profile import WorldProfile
from sim_pretrain.world.scene import build_xml

TASK = lift_task()
ROLL = TASK.wrist_roll_rad
HOME = np.array([0.0, -0.2, 0.05, 1.6, ROLL])


def random_joints(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(k.JOINT_LOW_RAD, k.JOINT_HIGH_RAD, (count, 6))


def site_pose(model: mujoco.MjModel, joints: np.ndarray, site: str) -> tuple[np.ndarray, np.ndarray]:
    data = mujoco.MjData(model)
    for name, angle in zip(k.JOINTS, joints, strict=True):
        data.joint(name).qpos[0] = angle
    mujoco.mj_kinematics(model, data)
    base = model.body("base").id
    position, rotation = data.xpos[base], data.xmat[base].reshape(3, 3)
    return rotation.T @ (data.site(site).xpos - position), rotation.T @ data.site(site).xmat.reshape(3, 3)


@pytest.fixture(scope="module")
def published() -> mujoco.MjModel:
    spec = importlib.util.find_spec("so101_nexus")
    assert spec and spec.origin
    path = Path(spec.origin).parent / "assets" / "SO101" / "so101_new_calib.xml"
    return mujoco.MjModel.from_xml_path(str(path))


@pytest.fixture(scope="module")
def ours() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(*build_xml(WorldProfile()))


def test_the_gripper_frame_is_that_of_the_published_model(published):
    turns = []
    for joints in random_joints(0, 50):
        expected, frame = site_pose(published, joints, "gripperframe")
        found, rotation = k.forward(joints, k.GRIPPER_FRAME_M)
        assert np.linalg.norm(found - expected) < 1e-4
        turns.append(rotation.T @ frame)  # their frame is turned in the gripper, always by the same
    assert np.ptp(turns, axis=0).max() < 1e-3


def test_the_joint_limits_are_those_of_the_published_model(published):
    ranges = np.array([published.joint(name).range for name in k.JOINTS])
    np.testing.assert_allclose(k.JOINT_LOW_RAD, ranges[:, 0], atol=1e-3)
    np.testing.assert_allclose(k.JOINT_HIGH_RAD, ranges[:, 1], atol=1e-3)


def test_the_simulated_arm_has_the_same_kinematics(ours):
    for joints in random_joints(1, 50):
        assert (
            np.linalg.norm(site_pose(ours, joints, "gripperframe")[0] - k.forward(joints, k.GRIPPER_FRAME_M)[0]) < 1e-5
        )
        assert np.linalg.norm(site_pose(ours, joints, "ee")[0] - k.ee_position(joints)) < 1e-5


def test_the_moving_jaw_turns_as_in_the_published_model(ours, published):
    """The jaw is no part of `forward`, so the two models are compared."""

    def jaw(model: mujoco.MjModel, body: str, joints: np.ndarray) -> np.ndarray:
        data = mujoco.MjData(model)
        for name, angle in zip(k.JOINTS, joints, strict=True):
            data.joint(name).qpos[0] = angle
        mujoco.mj_kinematics(model, data)
        return np.append(data.body(body).xpos, data.body(body).xmat) - np.append(data.body("base").xpos, np.zeros(9))

    for joints in random_joints(2, 20):
        difference = jaw(ours, "moving_jaw", joints) - jaw(published, "moving_jaw_so101_v1", joints)
        assert np.abs(difference).max() < 1e-4


def test_rotations_are_rotations():
    for joints in random_joints(3, 20):
        _, rotations = k.chain(joints)
        for rotation in rotations:
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
            assert np.linalg.det(rotation) == pytest.approx(1.0)


REACH_M = 0.325  # the two far corners of the workspace box lie up to 8 mm beyond; there the env moves nothing


def reachable(target: np.ndarray) -> bool:
    return float(np.hypot(target[0], target[1])) <= REACH_M


inside = (
    st.tuples(*(st.floats(lo, hi) for lo, hi in zip(TASK.workspace_low_m, TASK.workspace_high_m, strict=True)))
    .map(np.array)
    .filter(reachable)
)
anywhere = st.tuples(*(st.floats(-2.0, 2.0) for _ in range(3))).map(np.array)
poses = st.tuples(*(st.floats(lo, hi) for lo, hi in zip(k.JOINT_LOW_RAD, k.JOINT_HIGH_RAD, strict=True))).map(np.array)


@settings(max_examples=60, deadline=None)
@given(inside)
def test_every_point_of_the_workspace_within_reach_is_reached(target):
    q = k.inverse(target, HOME, wrist_roll_rad=ROLL, iterations=25)
    assert np.linalg.norm(k.ee_position(q) - target) < 5e-4


@settings(max_examples=60, deadline=None)
@given(inside, st.tuples(*(st.floats(-1, 1) for _ in range(3))).map(np.array))
def test_a_step_of_1_cm_from_a_neighbouring_seed_is_exact(start, direction):
    seed = k.inverse(start, HOME, wrist_roll_rad=ROLL, iterations=25)
    step = 0.01 * direction / max(np.linalg.norm(direction), 1.0)
    target = np.clip(start + step, TASK.workspace_low_m, TASK.workspace_high_m)
    assume(reachable(target))
    q = k.inverse(target, seed, wrist_roll_rad=ROLL)
    assert np.linalg.norm(k.ee_position(q) - target) < 2e-4
    assert np.abs(q - seed).max() < 0.35  # no jump to another branch


@settings(max_examples=80, deadline=None)
@given(anywhere, poses, st.integers(1, 25))
def test_any_target_gives_a_finite_pose_within_the_limits(target, seed, iterations):
    q = k.inverse(target, seed, wrist_roll_rad=ROLL, iterations=iterations)
    assert q.shape == (5,) and np.isfinite(q).all()
    assert (q[:4] >= k.JOINT_LOW_RAD[:4] - 1e-9).all() and (q[:4] <= k.JOINT_HIGH_RAD[:4] + 1e-9).all()
    assert q[4] == ROLL


def test_the_gripper_points_down_where_it_can():
    for target in ((0.20, 0.0, 0.03), (0.25, 0.05, 0.02), (0.22, -0.06, 0.1)):
        q = k.inverse(np.array(target), HOME, wrist_roll_rad=ROLL, iterations=40)
        approach = -k.forward(q)[1][:, 2]
        assert approach[2] < -0.97, target


def test_the_seed_is_not_changed():
    seed = HOME.copy()
    k.inverse(np.array([0.25, 0.05, 0.05]), seed, wrist_roll_rad=0.0)
    np.testing.assert_array_equal(seed, HOME)
