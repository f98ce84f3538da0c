"""What the wrist camera shows of the cube and of both fingers: from nothing else a policy can tell how they stand.

A thing counts as seen when it fills 1 % of the policy's image: 71 of its 84 × 84 pixels.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import mujoco
import numpy as np
import pytest

from data.images import crop_px
from hilserl.loop.env import start_joints
from sim_pretrain.task.stages import scatter
from sim_pretrain.task.tasks import find_task
from sim_pretrain.world.physics import World
from sim_pretrain.world.profile import RealWorld, WorldProfile
from sim_pretrain.world.randomize import Randomization
from sim_pretrain.world.scene import UNSEEN_BODIES

LIFT = find_task("lift")
SEEN = 0.01
CUBE, STATIC, MOVING = range(3)
PARTS = ("cube", "gripper", "moving_jaw")  # bodies; the static finger is part of the gripper's
OPENINGS_RAD = np.linspace(LIFT.spec.action.gripper_closed_rad, LIFT.spec.action.gripper_open_rad, 7)


class Eye:
    """Tells of every pixel of the policy's wrist image what it shows."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._body = np.array([world.model.body(b).name for b in world.model.geom_bodyid] + ["nothing"])
        self._pads = [world.model.geom(f"{side}_pad").id for side in ("static", "moving")]
        profile = world.profile
        self._renderer = mujoco.Renderer(world.model, profile.native_height_px, profile.native_width_px)
        self._renderer.enable_segmentation_rendering()

    def shares(self) -> np.ndarray:
        """Return which shares [3] of the image the `PARTS` fill; nothing may be in it that the world does not draw."""
        self._renderer.update_scene(self._world.data, "wrist")
        drawn = self._renderer.render()
        y, x, height, width = crop_px(drawn.shape[:2], LIFT.spec.observation.cameras[0])
        ids, kinds = np.moveaxis(drawn[y : y + height, x : x + width], 2, 0)
        geoms = np.where(kinds == mujoco.mjtObj.mjOBJ_GEOM, ids, -1)
        names = self._body[geoms]
        if self._world.profile.wrist_mount == "-y":
            assert not np.isin(names, UNSEEN_BODIES).any()
        assert not np.isin(geoms, self._pads).any()  # pads are for touching
        return np.array([np.mean(names == part) for part in PARTS])

    def close(self) -> None:
        self._renderer.close()


TABLES: dict[str, Callable[[np.random.Generator], WorldProfile]] = {
    "clean": lambda rng: LIFT.profile,
    "random": lambda rng: Randomization().sample(rng, LIFT.profile),
    "real": lambda rng: replace(RealWorld(), native_width_px=112, native_height_px=84),
}


@pytest.fixture(scope="module")
def room() -> Iterator[tuple[World, Eye]]:
    with contextlib.closing(World(LIFT.profile)) as world, contextlib.closing(Eye(world)) as eye:
        yield world, eye


def views(room: tuple[World, Eye], tables: str, stage: str, count: int) -> np.ndarray:
    """Return shares [count, 7, 3]: starts of a stage, each with the gripper at 7 angles from closed to open.

    With the cube in the hand there is one angle, [count, 1, 3].
    """
    (world, eye), rng, found = room, np.random.default_rng(0), []
    for _ in range(count):
        world.apply(TABLES[tables](rng))
        scatter(world, LIFT, rng, {stage: 1.0})
        if stage == "grasped":
            found.append([eye.shares()])
            continue
        arm, seen = world.joint_positions()[:5], []
        for angle_rad in OPENINGS_RAD:
            world.set_joints(np.array([*arm, angle_rad]))
            seen.append(eye.shares())
        found.append(seen)
    return np.array(found)


# Measured over 300 starts of each kind at five openings: both fingers are always seen, but for the moving one at its
# widest on 4 % of the random tables, where the camera is turned so far that it leaves the picture.


@pytest.mark.parametrize("stage", ["near", "grasped"])
@pytest.mark.parametrize("tables", ["clean", "random"])
def test_where_a_cube_is_grasped_it_is_seen_with_both_fingers(room, tables, stage):
    """Always, but for what is said above."""
    found = views(room, tables, stage, 30)
    at_every = found if tables == "clean" or stage == "grasped" else found[:, :-1]
    assert at_every.min() >= SEEN
    assert found[..., [CUBE, STATIC]].min() >= SEEN and np.mean(found[:, -1, MOVING] >= SEEN) >= 0.9


@pytest.mark.parametrize(("tables", "share"), [("clean", 0.9), ("random", 0.75), ("real", 0.75)])
def test_from_where_the_arm_starts_the_fingers_are_seen_and_mostly_the_cube(room, tables, share):
    """The cube in 95 %, 88 % and 87 % of starts and openings; of each start some of it at some opening.

    On the clean table it is not seen where it lies more than 5 cm behind the hand and 4 cm beside it, or behind the
    closed fingers: the camera is on the far side, and looks along the fingers.
    """
    found = views(room, tables, "home", 30)
    assert np.mean(found[..., CUBE] >= SEEN) >= share and found[..., CUBE].max(1).min() > 0
    assert found[..., STATIC].min() >= SEEN and found[:, :-1, MOVING].min() >= SEEN


def test_a_camera_on_the_other_side_of_the_gripper_looks_from_there():
    """Half a turn about the gripper's axis: the arm's own side, where the official mount sits."""
    near, far = World(), World(WorldProfile(wrist_mount="+y"))
    for world in (near, far):
        world.set_joints(start_joints(LIFT.spec, np.array([0.22, 0.0, 0.10])))
        world.place_cube(0.22, 0.0, 0.0)
    gripper = near.data.body("gripper")
    turn = gripper.xmat.reshape(3, 3)
    places = [turn.T @ (world.data.camera("wrist").xpos - gripper.xpos) for world in (near, far)]
    looks = [turn.T @ -world.data.camera("wrist").xmat.reshape(3, 3)[:, 2] for world in (near, far)]
    for from_near, from_far in (places, looks):
        np.testing.assert_allclose(from_far, from_near * (-1, -1, 1), atol=1e-9)
    assert near.data.camera("wrist").xpos[0] > far.data.camera("wrist").xpos[0] + 0.1  # +y is the side of the base
    far.set_joints(np.array([*far.joint_positions()[:5], 0.4]))
    with contextlib.closing(Eye(far)) as eye:
        assert (eye.shares() >= SEEN).all()
