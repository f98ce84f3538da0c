"""Which frames of a recording a camera is fitted to: those of a still arm, with the board in sight, all different."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial.transform import Rotation

from data.errors import UserError
from data.schema import Episode
from data.spec import TaskSpec
from hilserl.robot.kinematics import chain
from sim_pretrain.camera_fit.charuco import Board, BoardDetector
from sim_pretrain.camera_fit.config import FrameConfig
from sim_pretrain.camera_fit.residuals import View

_FEWEST = 4  # a fit takes no fewer frames, whatever is asked for
SAME_RAD = 0.03  # poses nearer than this on every joint tell the same


@dataclass(frozen=True)
class Sighting:
    """A frame with the board in it."""

    view: View
    frame: np.ndarray  # uint8 [H, W, 3] RGB


@dataclass(frozen=True)
class Sightings:
    """What was found in all frames, and why the others were left out."""

    chosen: list[Sighting]  # most different first
    total: int  # frames there were
    refused: Counter[str] = field(default_factory=Counter)  # {reason: frames}

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the frames."""
        height, width = self.chosen[0].frame.shape[:2]
        return width, height

    def only(self, stay: list[int]) -> Sightings:
        """Return these of the chosen; the others did not fit to them."""
        strays = len(self.chosen) - len(stay)
        refused = self.refused + Counter({"did not fit the others": strays})  # a sum of counters drops zeros
        return replace(self, chosen=[self.chosen[i] for i in stay], refused=refused)

    def describe(self) -> str:
        """Say in one line how many frames were used and why others were not."""
        reasons = "; ".join(f"{count} {reason}" for reason, count in self.refused.most_common())
        return f"{len(self.chosen)} of {self.total} frames used" + (f"; not used: {reasons}" if reasons else "")


def find_sightings(
    episodes: Iterable[tuple[int, Episode]], spec: TaskSpec, camera: str, board: Board, config: FrameConfig
) -> Sightings:
    """Look for the board in every frame that may tell something new.

    Args:
        episodes: (index, episode) with native frames.
        spec: says where the joint angles are in the state.
        camera: whose frames.
        board: what lies on the table.
        config: which frames count.

    Raises:
        UserError: no native frames, frames of several sizes, no board seen, or too few usable frames.
    """
    detector, joints_at = BoardDetector(board), _joint_slice(spec)
    refused: Counter[str] = Counter()
    looked_at: list[np.ndarray] = []
    seen: list[Sighting] = []
    total, without, sizes = 0, 0, set()
    for index, episode in episodes:
        if camera not in episode.native:
            without += 1
            continue
        frames = episode.native[camera]
        sizes.add(f"{frames.shape[2]}x{frames.shape[1]}")
        joints = episode.state[:, joints_at].astype(float)
        still = is_still(joints, episode.stamp_s, config.still_rad_s)
        total += len(frames)
        for row, frame in enumerate(frames):
            if not still[row]:
                refused["the arm was moving"] += 1
                continue
            if looked_at and np.abs(np.array(looked_at) - joints[row, :5]).max(axis=1).min() < SAME_RAD:
                refused["the pose of another frame"] += 1
                continue
            looked_at.append(joints[row, :5])
            numbers, pixels = detector.find(frame)
            if len(numbers) == 0:
                refused["no board in sight"] += 1
            elif len(numbers) < config.min_corners or _in_line(board.corners_m[numbers], board.square_m):
                refused[f"fewer than {config.min_corners} corners in sight"] += 1
            else:
                name = f"episode {index}, frame {row}"
                seen.append(Sighting(View(joints[row], numbers, pixels, name), frame.copy()))
    _require_enough(len(seen), refused, total, without, sizes, camera, board, config)
    order = most_different([s.view.joints_rad[:5] for s in seen])
    most = max(config.max_frames, config.min_frames, _FEWEST)
    if len(order) > most:
        refused["more than needed"] += len(order) - most
    return Sightings([seen[i] for i in order[:most]], total, refused)


def is_still(joints_rad: np.ndarray, stamp_s: np.ndarray, limit_rad_s: float) -> np.ndarray:
    """Return for each row whether no arm joint moved, neither since the row before nor until the next, bool [T].

    A frame may be a little older than the joint reading beside it: what was still before both was still in both.
    """
    elapsed_s = np.maximum(np.diff(stamp_s), 1e-6)
    slow = (np.abs(np.diff(joints_rad[:, :5], axis=0)).max(axis=1) / elapsed_s) < limit_rad_s
    return np.concatenate(([False], slow)) & np.concatenate((slow, [True]))


def most_different(points: list[np.ndarray]) -> list[int]:
    """Return all indices, each time the one that is farthest from those before it; the first is the outermost."""
    cloud = np.array(points)
    if not len(cloud):
        return []
    order = [int(np.linalg.norm(cloud - cloud.mean(axis=0), axis=1).argmax())]
    away = np.linalg.norm(cloud - cloud[order[0]], axis=1)
    while len(order) < len(cloud):
        away[order] = -1.0
        order.append(int(away.argmax()))
        away = np.minimum(away, np.linalg.norm(cloud - cloud[order[-1]], axis=1))
    return order


def turns_deg(views: Iterable[View]) -> np.ndarray:
    """Return by how much the hand turned about its three main axes, as standard deviations, largest first [3]."""
    rotations = Rotation.from_matrix([chain(view.joints_rad)[1][4] for view in views])
    vectors = (rotations.mean().inv() * rotations).as_rotvec()
    values = np.linalg.eigvalsh(vectors.T @ vectors / len(vectors))
    return np.degrees(np.sqrt(np.maximum(values[::-1], 0.0)))


def _in_line(corners_m: np.ndarray, square_m: float) -> bool:
    """Whether corners [K, 3] lie in one row: then they say nothing of a plane."""
    return bool(np.linalg.svd(corners_m - corners_m.mean(axis=0), compute_uv=False)[1] < square_m)


def _joint_slice(spec: TaskSpec) -> slice:
    start = 0
    for part in spec.observation.state:
        if part.name == "joint_position" and part.size >= 5:
            return slice(start, start + part.size)
        start += part.size
    names = ", ".join(part.name for part in spec.observation.state)
    raise UserError(
        f"the state of this recording holds {names}, and no joint_position; a camera can be fitted only where the "
        "arm's joint angles are known. Record again: hilserl record --keep_native=true"
    )


def _require_enough(
    found: int,
    refused: Counter[str],
    total: int,
    without: int,
    sizes: set[str],
    camera: str,
    board: Board,
    config: FrameConfig,
) -> None:
    if total == 0:
        raise UserError(
            f"none of {without} episodes holds native frames of the camera {camera!r}. Accepted are episodes that were "
            "recorded with: hilserl record --keep_native=true"
        )
    if len(sizes) > 1:
        raise UserError(
            f"the camera {camera!r} gave frames of several sizes: {', '.join(sorted(sizes))}. Accepted is one size; "
            "name an episode: --episode=N"
        )
    why = "; ".join(f"{count} {reason}" for reason, count in refused.most_common())
    looked = total - refused["the arm was moving"] - refused["the pose of another frame"]
    if found == 0 and refused["no board in sight"] == looked > 0:
        raise UserError(
            f"no board seen in {looked} still frames of {next(iter(sizes))} px ({why}). Looked for {board.squares_x} x "
            f"{board.squares_y} squares with markers of {board.dictionary}.\nAccepted is that board flat on the table, "
            "in sight, lit evenly and sharp. Print it: hilserl setup camera-fit --board=board.png; was another one "
            "used, say so: --squares_x, --squares_y, --dictionary. Small frames show no markers: record 640x480."
        )
    needed = max(config.min_frames, _FEWEST)
    if found < needed:
        raise UserError(
            f"{found} usable frames among {total} ({why}); {needed} or more are needed.\nRecord a longer "
            "drive with hilserl record --keep_native=true: bring the board into sight, stop for half a second, move "
            "on to a pose that is quite different, and so on."
        )
