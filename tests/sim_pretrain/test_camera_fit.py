"""The wrist camera from frames of a board: found again where it is known, refused where the frames cannot tell."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import draccus
import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from data.errors import UserError
from data.images import preprocess
from data.schema import Episode, EpisodeMeta, Observation, Outcome, Source, Transition
from data.spec import TaskSpec
from data.store.episode_store import EpisodeStore
from hilserl.loop.env import start_joints, state_vector
from hilserl.robot.kinematics import JOINTS, chain, ee_position
from hilserl.tasks import lift_task
from sim_pretrain.camera_fit.charuco import Board, BoardDetector, with_board
from sim_pretrain.camera_fit.command import main
from sim_pretrain.camera_fit.config import FrameConfig
from sim_pretrain.camera_fit.fit import Fit, fit_camera, fit_without_strays
from sim_pretrain.camera_fit.frames import Sighting, Sightings, find_sightings, is_still, most_different
from sim_pretrain.camera_fit.lens import Lens, nearest_pinhole
from sim_pretrain.camera_fit.overlay import VISIBLE, finger_visibility
from sim_pretrain.camera_fit.report import fitted_fields, require_trustworthy
from sim_pretrain.camera_fit.residuals import View
from sim_pretrain.world.profile import RealWorld, WorldProfile, read_profile
from sim_pretrain.world.scene import build_xml, wrist_camera

BOARD, SIZE_PX = Board(7, 5, 0.03, 0.022, "DICT_4X4_50"), (400, 300)
ENCODER_RAD = 2 * np.pi / 4096

TURNED = WorldProfile(wrist_position_m=(0.0131, -0.0608, -0.0139), wrist_tilt_deg=(-4.0, 2.5, 3.4), wrist_fovy_deg=75.0)
LOWER = WorldProfile(wrist_position_m=(0.0, -0.072, -0.03), wrist_tilt_deg=(6.0, -5.0, -3.0), wrist_fovy_deg=62.0)
BEHIND = WorldProfile(
    wrist_mount="+y", wrist_position_m=(0.004, -0.055, -0.045), wrist_tilt_deg=(10.0, 0.0, 0.0), wrist_fovy_deg=60.0
)


def camera(profile: WorldProfile) -> tuple[np.ndarray, np.ndarray]:
    position, quaternion = wrist_camera(profile)
    return position, Rotation.from_quat(quaternion, scalar_first=True).as_matrix()


GUESS = (*camera(WorldProfile()), WorldProfile().wrist_fovy_deg)


def driven(task: TaskSpec, count: int, seed: int) -> list[np.ndarray]:
    """Poses that a person reaches with the gamepad: anywhere in the workspace, wrist_roll locked."""
    rng, poses = np.random.default_rng(seed), []
    while len(poses) < count:
        goal = rng.uniform((*task.workspace_low_m[:2], 0.04), task.workspace_high_m)
        joints = start_joints(task, goal)
        if np.linalg.norm(ee_position(joints) - goal) < 0.002:
            joints[5] = rng.uniform(-0.1, 0.65)
            poses.append(joints)
    return poses


def photograph(profile: WorldProfile, poses: Sequence[np.ndarray], seed: int, board: Board = BOARD) -> list[np.ndarray]:
    """Frames of the board by the wrist camera of a second simulation, with pixel noise."""
    rng, (width, height) = np.random.default_rng(seed), SIZE_PX
    place = rng.uniform((0.23, -0.02), (0.27, 0.05))
    scene = with_board(build_xml(profile), board, (float(place[0]), float(place[1])), float(rng.uniform(-0.5, 0.5)))
    model = mujoco.MjModel.from_xml_string(*scene)
    data = mujoco.MjData(model)
    data.joint("cube").qpos[0] = -0.5
    frames = []
    with mujoco.Renderer(model, height, width) as renderer:
        for joints in poses:
            for name, angle in zip(JOINTS, joints, strict=True):
                data.joint(name).qpos[0] = angle
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, "wrist")
            noisy = 0.9 * renderer.render() + rng.normal(0.0, 3.0, (height, width, 3)).astype(np.float32)
            frames.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return frames


def read_off(joints: np.ndarray, offset_deg: Sequence[float] = (0,) * 6) -> np.ndarray:
    """What the encoders say of true joint angles: whole ticks, from a zero that may be off."""
    return np.round((joints + np.radians(offset_deg)) / ENCODER_RAD) * ENCODER_RAD


def views_of(frames: Sequence[np.ndarray], readings: Sequence[np.ndarray]) -> list[View]:
    detector = BoardDetector(BOARD)
    views = [View(q, *detector.find(f), name=f"{i}") for i, (f, q) in enumerate(zip(frames, readings, strict=True))]
    return [view for view in views if len(view.numbers) >= 8]


def calculated(
    profile: WorldProfile,
    poses: Sequence[np.ndarray],
    *,
    lens: Lens | None = None,
    board: Board = BOARD,
    places_m: Callable[[int], tuple[float, float]] = lambda i: (0.25, 0.02),
    seed: int = 0,
) -> list[View]:
    """Views by the formulas of a pinhole, with noise on pixels and readings: no rendering, no detection."""
    rng, (width, height) = np.random.default_rng(seed), SIZE_PX
    position, rotation = camera(profile)
    lens = lens or Lens.centred(width, height, profile.wrist_fovy_deg)
    views = []
    for i, joints in enumerate(poses):
        origins, turns = chain(joints)
        at, turn = origins[4] + turns[4] @ position, turns[4] @ rotation
        seen = (board.corners_m + np.append(places_m(i), 0.0) - at) @ turn
        pixels = lens.project(seen) + rng.normal(0.0, 0.15, (len(seen), 2))
        inside = (seen[:, 2] < -0.02) & (pixels > 4).all(axis=1) & (pixels < (width - 5, 0.8 * height)).all(axis=1)
        if inside.sum() >= 8:
            views.append(View(read_off(joints), np.flatnonzero(inside), pixels[inside], f"{i}"))
    return views


def profile_of(fit: Fit, start: WorldProfile | None = None) -> WorldProfile:
    start = start or WorldProfile()
    pinhole = nearest_pinhole(fit.lens, (0, 50, 300, 300))
    return draccus.decode(WorldProfile, draccus.encode(start) | fitted_fields(fit, pinhole, start))


def apart(found: WorldProfile, true: WorldProfile) -> tuple[float, float, float]:
    """Distance [mm], angle [deg] and difference of field of view [deg]."""
    (here, turn), (there, turned) = camera(found), camera(true)
    angle = np.degrees(Rotation.from_matrix(turn.T @ turned).magnitude())
    return 1000 * np.linalg.norm(here - there), angle, abs(found.wrist_fovy_deg - true.wrist_fovy_deg)


@pytest.mark.parametrize(
    ("true", "offset_deg", "seed"),
    [
        (TURNED, (0.0,) * 6, 1),
        (LOWER, (0.0,) * 6, 2),
        (BEHIND, (0.0,) * 6, 3),
        (RealWorld(), (2.0, -1.0, 1.0, 0.0, 0.0, 0.0), 4),
    ],
    ids=["turned", "lower", "mount side +y", "joint zeros off"],
)
def test_the_camera_of_another_simulation_is_found(task, true, offset_deg, seed):
    poses = driven(task, 40, seed)
    views = views_of(photograph(true, poses, seed), [read_off(q, offset_deg) for q in poses])
    fit = fit_camera(views, BOARD.corners_m, SIZE_PX, GUESS)
    found = profile_of(fit)
    millimetres, degrees, fovy_deg = apart(found, true)
    assert millimetres < 2.0 and degrees < 1.0 and fovy_deg < 1.0, (millimetres, degrees, fovy_deg)
    assert found.wrist_mount == true.wrist_mount
    assert fit.rms_px < 1.0 and fit.misfit < 1.5
    assert millimetres < 3000 * fit.position_sigma_m and degrees < 3 * fit.rotation_sigma_deg  # it knows how sure it is
    np.testing.assert_allclose(np.degrees(fit.joint_offset_rad[1:3]), offset_deg[1:3], atol=0.5)


@pytest.mark.parametrize("seed", range(4))
def test_principal_point_and_distortion_are_told_apart_from_the_mount(task, seed):
    rng = np.random.default_rng(seed)
    centre = 199.5 + rng.uniform(-12, 12), 149.5 + rng.uniform(-12, 12)
    lens = Lens(*SIZE_PX, 190.0, centre, k1=float(rng.uniform(-0.28, 0.05)), k2=0.04)
    views = calculated(TURNED, driven(task, 60, seed), lens=lens, seed=seed)
    fit = fit_camera(views, BOARD.corners_m, SIZE_PX, GUESS)
    position, rotation = camera(TURNED)
    assert np.linalg.norm(fit.position_m - position) < 0.002
    assert np.degrees(Rotation.from_matrix(fit.rotation.T @ rotation).magnitude()) < 1.0
    assert fit.lens.fovy_deg == pytest.approx(lens.fovy_deg, abs=1.0)
    assert fit.lens.k1 == pytest.approx(lens.k1, abs=0.03)
    np.testing.assert_allclose(fit.lens.centre_px, centre, atol=4.0)


def test_a_board_that_was_printed_too_large_is_noticed_and_does_no_harm(task):
    printed = replace(BOARD, square_m=0.0312, marker_m=0.02288)
    fit = fit_camera(calculated(TURNED, driven(task, 30, 0), board=printed), BOARD.corners_m, SIZE_PX, GUESS)
    assert fit.board_scale == pytest.approx(1.04, abs=0.006)
    assert apart(profile_of(fit), TURNED)[0] < 2.0


def test_a_view_that_does_not_fit_the_others_is_left_out(task):
    views = calculated(TURNED, driven(task, 30, 0))
    views[7] = replace(views[7], pixels=views[7].pixels + 25.0)
    fit, stay = fit_without_strays(views, BOARD.corners_m, SIZE_PX, GUESS)
    assert stay == [i for i in range(len(views)) if i != 7]
    assert fit.misfit < 1.5 and apart(profile_of(fit), TURNED)[0] < 2.0


def trusted(views: list[View]) -> Fit:
    sightings = Sightings([Sighting(view, np.zeros((*SIZE_PX[::-1], 3), np.uint8)) for view in views], total=len(views))
    fit, stay = fit_without_strays(views, BOARD.corners_m, SIZE_PX, GUESS)
    require_trustworthy(fit, sightings.only(stay))
    return fit


def test_a_board_that_was_moved_is_refused(task):
    trusted(calculated(TURNED, driven(task, 24, 0)))
    with pytest.raises(UserError, match=r"do not fit together[\s\S]*--episode"):
        trusted(calculated(TURNED, driven(task, 24, 0), places_m=lambda i: (0.25, 0.02 + 0.015 * (i >= 12))))


def test_poses_that_are_too_alike_are_refused_and_the_missing_motion_is_named(task):
    heights = [start_joints(task, np.array([0.24, 0.0, z])) for z in np.linspace(0.02, 0.09, 20)]
    with pytest.raises(UserError, match=r"too alike[\s\S]*The hand turned by .*left and to the right"):
        trusted(calculated(TURNED, heights))


def test_the_further_the_arm_was_driven_the_better_the_mount_is_known(task):
    nook = replace(task, workspace_low_m=(0.235, -0.005, 0.115), workspace_high_m=(0.245, 0.005, 0.125))
    views = [calculated(TURNED, driven(where, 60, 0))[:20] for where in (nook, task)]
    near, far = (fit_camera(v, BOARD.corners_m, SIZE_PX, GUESS) for v in views)
    assert near.position_sigma_m > 1.3 * far.position_sigma_m
    assert near.fovy_sigma_deg > 1.5 * far.fovy_sigma_deg


def fit_at(position: np.ndarray, rotation: np.ndarray, lens: Lens) -> Fit:
    nothing = np.zeros(1)
    return Fit(
        lens, position, rotation, np.zeros(3), np.eye(3), np.zeros(5), 1.0, nothing, nothing, 0.0, 1.0, 0.0, 0.0, 0.0
    )


def test_the_simulated_frame_gets_the_shape_of_the_real_one():
    wide = profile_of(fit_at(*camera(TURNED), Lens.centred(1280, 720, 60.0)))
    assert wide.native_width_px / wide.native_height_px == pytest.approx(16 / 9, rel=0.01)
    assert profile_of(fit_at(*camera(TURNED), Lens.centred(640, 480, 60.0))).native_width_px == 160


@given(st.integers(0, 10_000), st.sampled_from(["-y", "+y"]))
@settings(max_examples=25, deadline=None)
def test_what_is_written_means_the_camera_that_was_fitted(seed, side):
    rng = np.random.default_rng(seed)
    position = rng.uniform(-0.08, 0.08, 3)
    position[1] = abs(position[1]) * (1 if side == "+y" else -1) or 1e-3
    rotation = Rotation.random(random_state=seed).as_matrix()
    fit = fit_at(position, rotation, Lens.centred(*SIZE_PX, float(rng.uniform(40, 100))))
    found = profile_of(fit, RealWorld())
    here, turn = camera(found)
    assert found.wrist_mount == side
    np.testing.assert_allclose(here, position, atol=1e-5)
    np.testing.assert_allclose(turn, rotation, atol=1e-5)
    assert found.wrist_fovy_deg == pytest.approx(fit.lens.fovy_deg, abs=1e-2)
    assert found.servo_gain == RealWorld().servo_gain


def test_a_principal_point_off_the_middle_becomes_a_turn():
    lens = Lens(*SIZE_PX, 200.0, (199.5 + 14.0, 149.5))
    pinhole = nearest_pinhole(lens, (0, 50, 300, 300))
    turn_deg = np.degrees(Rotation.from_matrix(pinhole.turn).as_rotvec())
    assert turn_deg[1] == pytest.approx(np.degrees(np.arctan(14 / 200)), rel=0.3) and abs(turn_deg[0]) < 0.05
    assert 0.0 < pinhole.rms_px < 4.0 < lens.centre_px[0] - 199.5


@given(st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=1, max_size=12))
def test_the_most_different_poses_come_first(points):
    cloud = [np.array(p) for p in points]
    order = most_different(cloud)
    assert sorted(order) == list(range(len(points)))
    away = [min(np.linalg.norm(cloud[i] - cloud[j]) for j in order[:k]) for k, i in enumerate(order) if k]
    assert all(a >= b - 1e-9 for a, b in pairwise(away))


def test_a_frame_counts_only_between_two_rows_at_rest():
    joints = np.zeros((8, 6))
    joints[3:, 1] = 0.1  # one jump, between rows 2 and 3
    joints[:, 5] = np.arange(8)  # the gripper moves all the time: the board does not care
    still = is_still(joints, 0.1 * np.arange(8), 0.05)
    assert still.tolist() == [False, True, False, False, True, True, True, True]


def one_camera(task: TaskSpec) -> TaskSpec:
    return replace(task, observation=replace(task.observation, cameras=task.observation.cameras[:1]))


def recorded(
    spec: TaskSpec, poses: Sequence[np.ndarray], frames: Sequence[np.ndarray], native: bool = True, rest: int = 3
) -> Episode:
    """An episode in which the arm stands still for `rest` rows at every pose, and jumps in between."""
    observations = []
    for i in range(rest * len(poses)):
        joints, frame = read_off(poses[i // rest]), frames[i // rest]
        state = state_vector(joints, joints, 0.1, ee_position(joints), np.zeros(4))
        images = {"wrist": preprocess(frame, spec.observation.cameras[0])}
        observations.append(Observation(images, state, 0.1 * i, {"wrist": frame} if native else {}))
    still = np.zeros(4, np.float32)
    steps = [
        Transition(still, still, Source.HUMAN, o, 0.0, False, o is observations[-1], float("nan"), -1)
        for o in observations[1:]
    ]
    return Episode.from_steps(observations[0], steps, EpisodeMeta(Outcome.TIMEOUT, "labels", spec.fingerprint))


@dataclass(frozen=True)
class Tape:
    """A recording on disk."""

    run: Path
    spec: TaskSpec
    poses: list[np.ndarray]
    frames: list[np.ndarray]


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    spec, run = one_camera(lift_task()), tmp_path_factory.mktemp("tape")
    poses = driven(spec, 24, 5)
    frames = photograph(TURNED, poses, 5)
    with EpisodeStore.create_or_open(run / "store", spec) as store:
        for part in (slice(0, 12), slice(12, 24)):
            store.append(recorded(spec, poses[part], frames[part]))
    return Tape(run, spec, poses, frames)


def test_the_command_writes_profile_overlay_and_report(tape, tmp_path, capsys):
    kept = tmp_path / "present.json"
    kept.write_text(json.dumps({"servo_gain": 45.0, "wrist_fovy_deg": 80.0}))
    assert (
        main([f"--run={tape.run}", f"--output_dir={tmp_path / 'fit'}", f"--profile_json={kept}", "--overlays=2"]) == 0
    )
    found = read_profile(tmp_path / "fit" / "profile.json", WorldProfile)
    millimetres, degrees, fovy_deg = apart(found, TURNED)
    assert millimetres < 3.0 and degrees < 1.0 and fovy_deg < 1.0
    assert found.servo_gain == 45.0  # what the fit says nothing of is kept
    said = capsys.readouterr().out
    for words in ("frames used", "the arm was moving", "Reprojection error", "80.0", "moving finger", "profile.json"):
        assert words in said
    assert "Reprojection error" in (tmp_path / "fit" / "report.txt").read_text()
    overlay = cv2.imread(str(tmp_path / "fit" / "overlay.png"))
    assert overlay is not None and overlay.shape[1] > 1000 and overlay.std() > 20


def test_fingers_are_in_sight_with_the_camera_that_we_have_and_out_of_sight_behind_the_back(task):
    spec = task.observation.cameras[0]
    lens = Lens.centred(*SIZE_PX, 70.5)
    seen = finger_visibility(WorldProfile(), fit_at(*camera(WorldProfile()), lens), task, spec, openings=2)
    assert [angle for angle, _ in seen] == [task.action.gripper_closed_rad, task.action.gripper_open_rad]
    assert all(shares["fixed finger"] > VISIBLE and shares["cube"] > VISIBLE for _, shares in seen)
    assert seen[0][1]["moving finger"] != seen[1][1]["moving finger"] > VISIBLE
    away = WorldProfile(wrist_tilt_deg=(0.0, 180.0, 0.0))
    seen = finger_visibility(away, fit_at(*camera(away), lens), task, spec, openings=1)
    assert seen[0][1]["moving finger"] == seen[0][1]["cube"] == 0.0


def test_one_episode_can_be_named_and_a_camera_that_is_not_there_is_refused(tape, tmp_path):
    with pytest.raises(UserError, match=r"no camera 'front'; accepted is one of: wrist"):
        main([f"--run={tape.run}", "--camera=front"])
    with pytest.raises(UserError, match="12 or more are needed"):  # an episode alone has fewer poses than that
        main([f"--run={tape.run}", "--episode=1", "--frames.min_frames=12"])
    with pytest.raises(UserError, match="no episode '7'"):
        main([f"--run={tape.run}", "--episode=7"])


def look(tape: Tape, episodes: list[Episode], board: Board = BOARD, **fields: float) -> Sightings:
    return find_sightings(enumerate(episodes), tape.spec, "wrist", board, FrameConfig(**fields))


def test_a_recording_without_native_frames_is_refused(tape):
    with pytest.raises(UserError, match=r"no.* native frames of the camera 'wrist'[\s\S]*--keep_native=true"):
        look(tape, [recorded(tape.spec, tape.poses[:2], tape.frames[:2], native=False)])


def test_frames_without_the_board_are_refused(tape):
    table = [np.full_like(tape.frames[0], 128)] * 12
    with pytest.raises(UserError, match=r"no board seen in 12 still frames of 400x300 px[\s\S]*--board=board.png"):
        look(tape, [recorded(tape.spec, tape.poses[:12], table)])
    with pytest.raises(UserError, match="no board seen"):  # another board than was said
        look(tape, [recorded(tape.spec, tape.poses[:4], tape.frames[:4])], replace(BOARD, dictionary="DICT_6X6_50"))


def test_too_few_usable_frames_are_refused_with_the_reasons(tape):
    moving = recorded(tape.spec, tape.poses, tape.frames, rest=1)
    with pytest.raises(UserError, match=r"0 usable frames among 24 \(24 the arm was moving\)"):
        look(tape, [moving])
    twice = recorded(tape.spec, tape.poses[:3] * 4, tape.frames[:3] * 4)
    with pytest.raises(UserError, match="the pose of another frame"):
        look(tape, [twice])


def test_a_recording_that_does_not_say_the_joint_angles_is_refused(tape):
    fields = tuple(replace(f, name=f"other_{f.name}") for f in tape.spec.observation.state)
    spec = replace(tape.spec, observation=replace(tape.spec.observation, state=fields))
    with pytest.raises(UserError, match="no joint_position"):
        find_sightings([], spec, "wrist", BOARD, FrameConfig())


def test_the_printed_board_has_the_size_that_it_states(tmp_path, capsys):
    path = tmp_path / "new" / "board.png"
    assert main([f"--board={path}", "--squares_x=5", "--squares_y=4", "--square_m=0.04", "--marker_m=0.03"]) == 0
    assert "200 x 160 mm" in capsys.readouterr().out
    content = path.read_bytes()
    at = content.index(b"pHYs") + 4
    per_metre = struct.unpack(">II", content[at : at + 8])
    assert per_metre == (10_000, 10_000)  # what the printer goes by
    numbers, pixels = BoardDetector(Board(5, 4, 0.04, 0.03, "DICT_4X4_50")).find(cv2.imread(str(path)))
    assert len(numbers) == 12
    across = pixels[numbers == 1] - pixels[numbers == 0]
    assert np.linalg.norm(across) / per_metre[0] == pytest.approx(0.04, abs=5e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dictionary": "DICT_9X9"}, "accepted are .*DICT_4X4_50"),
        ({"marker_m": 0.04}, "marker_m < square_m"),
        ({"squares_x": 15, "squares_y": 15}, "112 markers.*--dictionary=DICT_4X4_1000"),
        ({"squares_x": 2}, "3 x 3 squares"),
    ],
)
def test_a_board_that_cannot_be_is_refused(fields, message):
    with pytest.raises(UserError, match=message):
        replace(BOARD, **fields)


def test_the_command_alone_says_how_to_begin():
    with pytest.raises(UserError, match=r"--board=board.png[\s\S]*--keep_native=true[\s\S]*--run=RUN"):
        main([])
