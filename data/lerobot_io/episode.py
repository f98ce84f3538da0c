"""From the columns of a LeRobot dataset to an episode: where it ended, how, and which images it has.

LeRobot keeps no observation after the last action, so an episode of N frames gives N-1 steps; only datasets that we
exported give all of them. What the last action led to (reward, success) is credited to the last step that is left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from data.errors import UserError
from data.images import preprocess
from data.labels import Intervals, from_mask
from data.lerobot_io.read import ACTION, STATE, LeRobotFolder
from data.lerobot_io.write import CAMERA, state_names
from data.schema import Episode, EpisodeMeta, Outcome, Source
from data.spec import CameraSpec, TaskSpec, require_same


@dataclass(frozen=True)
class Draft:
    """An episode without its images, and where they are."""

    number: int  # of the episode in the dataset
    rows: Sequence[int]  # its frames that become observations
    episode: Episode  # `images` is empty
    last_images: Mapping[str, np.ndarray] = field(default_factory=dict)  # {column: image} of one more observation
    success: Intervals | None = None  # where it shows success, for the labels beside the store; None: nothing says it


def ending(columns: Mapping[str, np.ndarray], successful: bool | None) -> tuple[int, Outcome]:
    """Return the last frame that belongs to an episode, and how the episode ended.

    Args:
        columns: of one episode of N >= 1 frames.
        successful: True or False: every episode ends in success, or none does. None: `next.success` decides, or
            else a `next.reward` of 1; the episode ends there. Without success it failed when the dataset has
            `next.truncated` and says that it was done but not truncated; otherwise it ran out of time.

    Raises:
        UserError: nothing says whether it succeeded, or a reward is neither 0 nor 1.
    """
    last = len(columns[ACTION]) - 1
    if successful is not None:
        return last, Outcome.SUCCESS if successful else Outcome.TIMEOUT
    success = _led_to_success(columns)
    if success is None:
        raise UserError(
            "the dataset has neither `next.success` nor `next.reward`, so it does not say which episodes succeeded.\n"
            "Say it: --successful (every episode ends in success, as good demonstrations do) or --successful=false "
            "(no reward anywhere)."
        )
    if success.any():
        return min(int(success.argmax()) + 1, last), Outcome.SUCCESS
    if "next.truncated" in columns and columns["next.done"][-1] and not columns["next.truncated"][-1]:
        return last, Outcome.FAILURE
    return last, Outcome.TIMEOUT


def judged(
    columns: Mapping[str, np.ndarray], kind: str, successful: bool | None
) -> tuple[int, Outcome, np.ndarray | None]:
    """Return the last frame that belongs to an episode, how it ended, and which frames show success, bool [N].

    Episodes of the kind "labels" are kept whole, as those are that a person marks; success ends any other one, and its
    frames need no marks (None). A dataset that does not say where success shows, or for which `successful` says it,
    gives no marks. Raises as `ending`.
    """
    shown = success_frames(columns) if kind == "labels" and successful is None else None
    if shown is None:
        return *ending(columns, successful), None
    return len(shown) - 1, Outcome.TIMEOUT, shown


def success_frames(columns: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return which frames of an episode show success, bool [N]; None when no column says it.

    `marked_success`, which our own exports have, is of the frame itself. `next.success`, else `next.reward`, is of what
    the action led to, and that is seen in the next frame: rewards of 1 in the rows [a, b) mark the frames [a+1, b+1).
    The last frame stands for the one after it, too, which LeRobot does not keep: a reward that comes once, at the very
    end, marks the last frame.

    Raises:
        UserError: a reward is neither 0 nor 1.
    """
    if "marked_success" in columns:
        return columns["marked_success"].ravel().astype(bool)
    led_to = _led_to_success(columns)
    if led_to is None:
        return None
    shown = np.append(False, led_to[:-1])
    shown[-1] |= led_to[-1]
    return shown


def marks_at(shown: np.ndarray, rows: Sequence[int] | np.ndarray) -> Intervals:
    """Return the marks of those frames, [N], that become observations; `rows` rise.

    Each row also stands for the frames since the row before it, so that no mark is lost between two of them.
    """
    ends = np.asarray(rows) + 1
    return from_mask(np.logical_or.reduceat(shown[: ends[-1]], np.append(0, ends[:-1])))


def content_uuid(columns: Mapping[str, np.ndarray]) -> str:
    """Return a uuid that follows from what was recorded.

    It outlives copying, renaming, and adding or removing other episodes, so that a second import adds only news.
    """
    digest = hashlib.sha256()
    for key in (STATE, ACTION):
        digest.update(np.ascontiguousarray(columns[key], np.float32).tobytes())
    return digest.hexdigest()[:32]


def episode_without_images(
    state: np.ndarray, executed: np.ndarray, stamp_s: np.ndarray, source: np.ndarray, meta: EpisodeMeta
) -> Episode:
    """Return T steps that end as `meta.outcome` says. Nothing was proposed other than what was executed.

    Args:
        state: [T+1, D].
        executed: [T, A].
        stamp_s: [T+1].
        source: [T], values of `Source`.
        meta: with the outcome.
    """
    steps = len(executed)
    last = np.arange(steps) == steps - 1
    terminated = last & (meta.outcome in (Outcome.SUCCESS, Outcome.FAILURE))
    actions = np.clip(executed, -1.0, 1.0).astype(np.float32)
    return Episode(
        images={},
        state=state.astype(np.float32),
        stamp_s=stamp_s.astype(np.float64),
        marked_success=np.zeros(steps + 1, bool),
        proposed=actions,
        executed=actions,
        source=source.astype(np.uint8),
        reward=(last & (meta.outcome is Outcome.SUCCESS)).astype(np.float32),
        terminated=terminated,
        truncated=last & ~terminated,
        p_success=np.full(steps, np.nan, np.float32),
        policy_version=np.full(steps, -1, np.int64),
        meta=meta,
    )


def own_draft(
    folder: LeRobotFolder, number: int, spec: TaskSpec, meta: EpisodeMeta, successful: bool | None
) -> Draft | None:
    """Return an episode whose actions are those of `spec`; None when it is too short to have a step.

    Of a dataset that we exported it is the one that was exported, except for what `data.lerobot_io.write` leaves out.
    `meta` is for any other one; its outcome is replaced.
    """
    columns = folder.columns(number)
    state, action, known = columns[STATE], columns[ACTION], folder.last_observation(number)
    if known is None:
        end, outcome, shown = judged(columns, meta.kind, successful)
        source = columns.get("source", np.full(len(action), Source.HUMAN))
        rows = range(end + 1)
        numbers = state[: end + 1], action[:end], np.arange(end + 1) / folder.fps, source[:end]
        episode = episode_without_images(*numbers, replace(meta, outcome=outcome))
        return Draft(number, rows, episode, success=None if shown is None else marks_at(shown, rows)) if end else None
    rows = range(len(action))
    stamp_s = np.arange(len(action) + 1) / folder.fps
    plain = episode_without_images(np.vstack([state, known.state]), action, stamp_s, columns["source"], known.meta)
    episode = replace(
        plain,
        marked_success=np.append(columns["marked_success"], known.marked_success),
        reward=columns["next.reward"].astype(np.float32),
        terminated=columns["next.done"] & ~columns["next.truncated"],
        truncated=columns["next.truncated"],
    )
    return Draft(number, rows, episode, known.images)


def _led_to_success(columns: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return which actions led to success, bool [N]; None when no column says it."""
    if "next.success" in columns:
        return columns["next.success"].ravel().astype(bool)
    if "next.reward" not in columns:
        return None
    reward = columns["next.reward"].ravel()
    other = np.flatnonzero((reward != 0) & (reward != 1))
    if len(other):
        raise UserError(
            f"`next.reward` is {reward[other[0]]:g} in frame {other[0]} of an episode; accepted are 0, and 1 where it "
            "succeeds: nothing says from which other reward on it does.\nSay how the episodes end, --successful or "
            "--successful=false, and mark success yourself: hilserl label"
        )
    return reward == 1


def with_images(draft: Draft, folder: LeRobotFolder, cameras: Mapping[CameraSpec, str], *, cropped: bool) -> Episode:
    """Return the whole episode.

    Args:
        draft: of an episode in `folder`.
        folder: the dataset.
        cameras: column of each camera.
        cropped: the images are model images already; otherwise they are native frames, to be cropped and resized.

    Raises:
        UserError: an image cannot be decoded, or model images have another size.
    """
    images = {}
    for camera, key in cameras.items():
        shape = (camera.size_px, camera.size_px, 3)
        found = []
        for frame in folder.frames(draft.number, key, draft.rows):
            if cropped and frame.shape != shape:
                raise UserError(
                    f"{folder.root}: {key} is {frame.shape}, the task spec has {shape} for camera {camera.name!r}"
                )
            found.append(frame if cropped else preprocess(frame, camera))
        if draft.last_images:
            found.append(draft.last_images[key])
        images[camera.name] = np.stack(found)
    return replace(draft.episode, images=images)


def find_cameras(folder: LeRobotFolder, spec: TaskSpec, named: Mapping[str, str]) -> dict[CameraSpec, str]:
    """Return the column of each camera of `spec`: the one `named` for it, or `observation.images.<camera>`.

    Raises:
        UserError: a column is not there, or `named` names a camera that the spec has not.
    """
    keys = {c: named.get(c.name, f"{CAMERA}{c.name}") for c in spec.observation.cameras}
    unknown = sorted(set(named) - {c.name for c in keys})
    wrong = [
        f"camera {c.name!r} <- {key!r}, which is not there" for c, key in keys.items() if key not in folder.cameras
    ]
    wrong += [f"camera {name!r} is none of the task's" for name in unknown]
    if wrong:
        there = list(folder.cameras)
        example = ", ".join(f"{c.name}: {there[i % len(there)] if there else '...'}" for i, c in enumerate(keys))
        raise UserError(
            "the cameras do not fit:\n  "
            + "\n  ".join(wrong)
            + f"\nThe task {spec.name} needs {', '.join(c.name for c in keys)}; the dataset {folder.root} has "
            f'{", ".join(there) or "no camera"}.\nSay which is which, e.g.: --cameras="{{{example}}}"'
        )
    return keys


def require_own(folder: LeRobotFolder, spec: TaskSpec) -> None:
    """Raise unless the dataset was made for `spec`, as far as it can be told.

    Raises:
        SpecMismatch: it was exported for another spec; the message lists the keys that differ.
        UserError: its rate or its state differs.
    """
    if folder.spec is not None:
        require_same(spec, folder.spec, f"the dataset {folder.root}")
    names = folder.names(STATE)
    if names != state_names(spec) or folder.fps != spec.rate_hz:
        raise UserError(
            f"{folder.root} has the actions of the task {spec.name} but not its state or rate:\n  it has "
            f"{folder.fps:g} frames/s and {', '.join(names)}\n  the task has {spec.rate_hz:g} Hz and "
            f"{', '.join(state_names(spec))}\n"
            "Name the task spec that it was recorded for: --task=SPEC.json"
        )
