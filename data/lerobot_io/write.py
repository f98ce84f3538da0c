"""Episodes as a LeRobot v3 dataset, written by LeRobot itself: its loader, viewer and trainers open it.

An episode of T steps becomes T frames: observation, executed action, and what came of it. LeRobot has no place for
the observation after the last action, nor for our task spec. Both go, losslessly, into one more file, which LeRobot
does not read and `data.lerobot_io.read` does: `meta/hilserl.parquet`, a row per episode. Proposed actions, p(success),
policy versions and the jitter of the clock stay in the store.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from data.errors import DiskRefused, UserError
from data.schema import Episode, Source
from data.spec import TaskSpec
from data.store.episode_codec import meta_to_json

if TYPE_CHECKING:
    from data.store.commit_log import Commit
    from data.store.reader import Reader

EXTRA = "meta/hilserl.parquet"
CAMERA = "observation.images."
ROBOT = "so101_follower"
COLUMNS = {  # T rows of one number each; `next.` is LeRobot's word for what followed the action
    "next.reward": "float32",
    "next.done": "bool",  # terminated or truncated
    "next.truncated": "bool",
    "next.success": "bool",
    "intervention": "bool",  # a person drove
    "source": "int64",  # values of `Source`
    "marked_success": "bool",  # the operator held the success button on this frame
}


def state_names(spec: TaskSpec) -> list[str]:
    """Return a name for each of the D numbers of the state vector."""
    return [
        field.name if field.size == 1 else f"{field.name}_{i}"
        for field in spec.observation.state
        for i in range(field.size)
    ]


def features(spec: TaskSpec, videos: bool) -> dict[str, dict[str, Any]]:
    """Return LeRobot's description of the columns of a dataset of this task."""
    axes = ["height", "width", "channels"]
    images: dict[str, dict[str, Any]] = {
        f"{CAMERA}{c.name}": {
            "dtype": "video" if videos else "image",
            "shape": (c.size_px, c.size_px, 3),
            "names": axes,
        }
        for c in spec.observation.cameras
    }
    vectors = {"observation.state": state_names(spec), "action": list(spec.action.names)}
    return (
        images
        | {key: {"dtype": "float32", "shape": (len(names),), "names": names} for key, names in vectors.items()}
        | {key: {"dtype": dtype, "shape": (1,), "names": None} for key, dtype in COLUMNS.items()}
    )


def columns(episode: Episode) -> dict[str, np.ndarray]:
    """Return the columns of `COLUMNS`, each [T]."""
    found = {
        "next.reward": episode.reward,
        "next.done": episode.terminated | episode.truncated,
        "next.truncated": episode.truncated,
        "next.success": episode.terminated & (episode.reward > 0),
        "intervention": episode.source == Source.HUMAN,
        "source": episode.source,
        "marked_success": episode.marked_success[:-1],
    }
    return {key: found[key].astype(dtype) for key, dtype in COLUMNS.items()}


def frames(episode: Episode, task: str) -> Iterator[dict[str, Any]]:
    """Yield the T frames that LeRobot's `add_frame` takes."""
    numbers = columns(episode)
    for t in range(len(episode)):
        yield {
            **{f"{CAMERA}{camera}": images[t] for camera, images in episode.images.items()},
            "observation.state": episode.state[t],
            "action": episode.executed[t],
            **{key: column[t : t + 1] for key, column in numbers.items()},
            "task": task,
        }


def export(reader: Reader, commits: Iterable[Commit], root: Path, repo_id: str, *, videos: bool = False) -> None:
    """Write episodes into the new folder `root`, which appears when it is whole.

    Args:
        reader: a store, or anything that reads like one.
        commits: which of its episodes; at least one.
        root: folder of the dataset, as in LeRobot's `--dataset.root`.
        repo_id: LeRobot's name for it; nothing is uploaded or looked up.
        videos: AV1 video, which is lossy, in place of PNG images.

    Raises:
        UserError: `root` exists, the rate is no whole number, or the disk refuses.
        CorruptEpisode: an episode's bytes are not those that were committed.
    """
    require_new(root)
    spec = reader.spec
    if not float(spec.rate_hz).is_integer():
        raise UserError(
            f"task {spec.name} runs at {spec.rate_hz} Hz, and LeRobot's format takes whole numbers only.\n"
            "Record at a whole rate: `hilserl record --task=SPEC.json`"
        )
    temporary = root.with_name(f".{root.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with _usual_priority():
            rows = _write(reader, commits, temporary, repo_id, videos)
        _write_extra(temporary / EXTRA, spec, rows)
        require_new(root)  # it may have appeared meanwhile
        temporary.rename(root)
    except OSError as error:
        raise DiskRefused(root, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _usual_priority() -> Iterator[None]:
    """Undo what the AV1 encoder does as root: it makes its caller, and whatever that starts, a real-time process."""
    if not hasattr(os, "sched_getscheduler"):  # Linux only
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def require_new(root: Path) -> None:
    """Raise `UserError` when there is something at `root`: a dataset is never overwritten."""
    if os.path.lexists(root):
        raise UserError(
            f"{root} exists, and an export never overwrites.\nName a folder that does not exist yet "
            "(`hilserl export RUN --root=NEW_FOLDER`), or move the old one away."
        )


def _write(
    reader: Reader, commits: Iterable[Commit], root: Path, repo_id: str, videos: bool
) -> list[dict[str, object]]:
    """Write the dataset; return the row of each episode in the extra file."""
    from lerobot.datasets import LeRobotDataset
    from lerobot.utils.utils import SuppressProgressBars

    spec, rows = reader.spec, list[dict[str, object]]()
    dataset = LeRobotDataset.create(
        repo_id=repo_id,
        fps=int(spec.rate_hz),
        features=features(spec, videos),
        root=root,
        robot_type=ROBOT,
        use_videos=videos,
        video_backend="pyav",  # needs no FFmpeg on the machine
    )
    try:
        for commit in commits:
            episode = reader.read(commit)
            for frame in frames(episode, task=spec.name):
                dataset.add_frame(frame)
            with SuppressProgressBars():
                dataset.save_episode(parallel_encoding=False)
            rows.append(extra_row(episode))
    finally:
        dataset.finalize()  # after a failure, too: its destructor would write into a folder that is gone
    return rows


def extra_row(episode: Episode) -> dict[str, object]:
    """Return what of an episode LeRobot has no place for: its meta and its last observation."""
    last = {f"{CAMERA}{camera}": _png(images[-1]) for camera, images in episode.images.items()}
    return {
        "meta": json.dumps(meta_to_json(episode.meta)),
        "observation.state": episode.state[-1].tolist(),
        "marked_success": bool(episode.marked_success[-1]),
        **last,
    }


def _png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def _write_extra(path: Path, spec: TaskSpec, rows: list[dict[str, object]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not rows:
        raise UserError("no episode was chosen; an export needs at least one. `hilserl status RUN` lists them by kind.")
    table = pa.Table.from_pylist([{"episode_index": i, **row} for i, row in enumerate(rows)])
    pq.write_table(table.replace_schema_metadata({"spec": spec.to_json()}), path)
