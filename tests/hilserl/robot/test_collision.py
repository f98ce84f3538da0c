"""The arm's shape against MuJoCo's own distances, and against the simulated arm that is made of the same."""

import mujoco
import numpy as np
import pytest

from hilserl.robot.collision import FAR_M, ArmShape
from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD
from hilserl.robot.shape import neighbours
from sim_pretrain.world.physics import World

SHAPE, RNG = ArmShape(), np.random.default_rng(0)
POSES = [RNG.uniform(JOINT_LOW_RAD, JOINT_HIGH_RAD) for _ in range(60)]


def test_clearance_is_the_smallest_distance_of_any_pair():
    model, data = SHAPE._model, SHAPE._data
    apart = {frozenset(pair) for pair in (("world", "base"), *neighbours())}
    body = [model.body(i).name for i in model.geom_bodyid]
    pairs = [
        (g, h)
        for g in range(model.ngeom)
        for h in range(g)
        if body[g] != body[h] and frozenset((body[g], body[h])) not in apart
    ]
    for q in POSES:
        found_m = SHAPE.clearance_m(q)
        exact_m = min(mujoco.mj_geomDistance(model, data, g, h, FAR_M, np.zeros(6)) for g, h in pairs)
        assert found_m == pytest.approx(exact_m, abs=0.002)


def test_it_has_the_kinematics_and_the_shapes_of_the_simulated_arm():
    world = World()
    for q in POSES[:20]:
        world.set_joints(q)
        SHAPE.clearance_m(q)
        for name in ("static_pad", "moving_pad"):
            np.testing.assert_allclose(SHAPE._data.geom(name).xpos, world.data.geom(name).xpos, atol=1e-6)
    count = sum(int(world.model.geom_contype[i]) == 2 for i in range(world.model.ngeom))
    assert SHAPE._model.ngeom == count + 1  # and the table
    world.close()


def test_it_names_what_is_near():
    down = np.array([0.0, 0.9, 0.2, 1.0, 0.0, 0.0])
    assert SHAPE.clearance_m(down) < 0 and "the table" in SHAPE.nearest(down)
    folded = np.array([0.0, -1.0, 0.8, 1.4, 1.57, 0.5])
    assert 0 < SHAPE.clearance_m(folded) < FAR_M and SHAPE.nearest(folded) == "the gripper and the upper arm"
