"""A profile written into a running world gives the world that the profile builds."""

import contextlib
import dataclasses

import mujoco
import numpy as np
import pytest

from data.errors import UserError
from sim_pretrain.task.stages import scatter
from sim_pretrain.task.tasks import find_task
from sim_pretrain.world.live import FIXED
from sim_pretrain.world.physics import World
from sim_pretrain.world.profile import RealWorld, WorldProfile
from sim_pretrain.world.randomize import Randomization

OTHER = {"wrist_mount": "+y", "wrist_quaternion": (0.1, 0.0, -0.3, 0.9)}  # what is not simply moved by a tenth


def numbers(model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Every number of a model: its arrays, and what they are drawn and solved with."""
    groups = {"": model, "stat.": model.stat, "opt.": model.opt}
    groups |= {f"vis.{name}.": getattr(model.vis, name) for name in ("headlight", "map", "quality", "global_", "rgba")}
    found = {}
    for prefix, group in groups.items():
        for name in dir(group):
            value = getattr(group, name)
            if not name.startswith("_") and isinstance(value, (int, float, np.ndarray)):
                array = np.array(value)
                if array.dtype.kind in "fiub":
                    found[prefix + name] = array
    return found


def differing(a: mujoco.MjModel, b: mujoco.MjModel) -> dict[str, float]:
    """{number: greatest difference}, beyond what the nine digits of the XML allow."""
    ours, theirs = numbers(a), numbers(b)
    assert ours.keys() == theirs.keys()
    return {
        name: float(np.abs(ours[name].astype(float) - theirs[name]).max())
        for name in ours
        if not np.allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-8 * np.abs(theirs[name]).max(initial=0.0))
    }


def changed(name: str) -> WorldProfile:
    """The default with one field moved by a tenth or so."""
    value = getattr(WorldProfile(), name)
    moved = OTHER.get(name) or (tuple(0.1 + 0.8 * v for v in value) if isinstance(value, tuple) else 1.1 * value + 0.01)
    return dataclasses.replace(WorldProfile(), **{name: moved})


def test_what_is_compared_covers_what_matters():
    names = numbers(World().model).keys()
    assert len(names) > 300
    assert {"body_inertia", "geom_rbound", "geom_aabb", "bvh_aabb", "dof_invweight0", "tex_data", "qpos0"} <= names
    assert {
        "stat.extent",
        "stat.meaninertia",
        "vis.headlight.ambient",
        "opt.timestep",
        "cam_mat0",
        "light_dir",
    } <= names


@pytest.mark.parametrize("prop", [None, "bowl"])
def test_random_profiles_applied_equal_those_built(prop):
    live, rng = World(prop=prop), np.random.default_rng(0)
    bases = (WorldProfile(), RealWorld(), WorldProfile(wrist_mount="+y"))
    for k in range(9):
        profile = Randomization(scale=1.0 + k % 2).sample(rng, bases[k % 3])
        live.apply(profile)
        assert differing(live.model, World(profile, prop=prop).model) == {}


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(WorldProfile)])
def test_each_field_applied_equals_it_built(name):
    profile, live = changed(name), World()
    assert profile != WorldProfile()
    if name in FIXED:
        with pytest.raises(UserError, match=name):
            live.apply(profile)
        return
    live.apply(profile)
    assert live.profile == profile and differing(live.model, World(profile).model) == {}
    live.apply(WorldProfile())
    assert differing(live.model, World().model) == {}  # and back


def test_a_refused_profile_changes_nothing():
    live = World()
    with pytest.raises(UserError, match="camera_fps from 20"):
        live.apply(dataclasses.replace(RealWorld(), camera_fps=30.0))
    assert live.profile == WorldProfile() and differing(live.model, World().model) == {}


def test_an_applied_world_moves_like_a_built_one():
    profile = Randomization().sample(np.random.default_rng(3), WorldProfile())
    live = World()
    live.set_goals(np.ones(6))
    live.apply(profile)
    ends = []
    for world in (live, World(profile)):
        scatter(world, find_task("lift"), np.random.default_rng(1))
        start = world.joint_positions()
        for k in range(20):
            world.set_goals(start + 0.3 * np.sin(k / 3))
            world.advance(0.02)
        ends.append(np.concatenate((world.joint_positions(), world.data.qpos)))
    np.testing.assert_allclose(*ends, atol=1e-6)


def test_limp_servos_stay_limp_until_they_are_switched_on():
    world, full = World(), World(WorldProfile(servo_gain=40.0))
    world.set_torque(np.array([1, 0, 1, 0, 1, 0], bool))
    world.apply(WorldProfile(servo_gain=40.0))
    np.testing.assert_allclose(world.model.actuator_gainprm[:, 0], [40, 0, 40, 0, 40, 0])
    assert not world.model.actuator_biasprm[1::2].any()
    world.set_torque(np.ones(6))
    assert differing(world.model, full.model) == {}


def test_a_table_is_painted_in_its_own_window_only():
    small = WorldProfile(native_width_px=32, native_height_px=24)
    with contextlib.closing(World(small)) as one, contextlib.closing(World(small)) as other:
        before = [world.render("wrist").copy() for world in (one, other)]
        one.apply(dataclasses.replace(small, table_rgb=(0.1, 0.6, 0.1), table_rgb2=(0.1, 0.5, 0.1)))
        after = [world.render("wrist").astype(int) for world in (one, other)]
    assert np.abs(after[0] - before[0]).mean() > 10
    np.testing.assert_array_equal(after[1], before[1])
