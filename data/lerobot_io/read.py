"""A LeRobot v3 dataset on this disk, read without LeRobot's loader.

The loader looks a dataset up on the Hub when a file is missing, and copies all of it into a cache. Here only files
below the given folder are opened, and whatever is wrong with them is said before anything is converted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data.errors import UserError
from data.lerobot_io.write import CAMERA, EXTRA
from data.schema import EpisodeMeta
from data.spec import TaskSpec
from data.store.episode_codec import meta_from_json

INFO = "meta/info.json"
STATE, ACTION = "observation.state", "action"
_FINITE = (STATE, ACTION, "next.reward")
_BATCH = 64  # frames decoded at a time


@dataclass(frozen=True)
class LastObservation:
    """What our own exports keep beside the dataset: see `data.lerobot_io.write`."""

    meta: EpisodeMeta
    state: np.ndarray  # float32 [D]
    images: dict[str, np.ndarray]  # {"observation.images.<camera>": uint8 [H, W, 3]}
    marked_success: bool


class LeRobotFolder:
    """A dataset, checked for being whole when it is opened."""

    def __init__(self, root: Path) -> None:
        """Open the dataset in the folder `root`.

        Raises:
            UserError: there is none, it has another version, or files are missing.
        """
        import pyarrow.parquet as pq

        self.root = root
        info = _read_info(root)
        self.fps = float(info["fps"])
        self.features: dict[str, dict[str, Any]] = info["features"]
        self.cameras = {k: f["dtype"] for k, f in self.features.items() if f["dtype"] in ("image", "video")}
        self._data_path, self._video_path = str(info["data_path"]), str(info.get("video_path"))
        self._rows: list[dict[str, Any]] = []
        for path in sorted((root / "meta" / "episodes").glob("*/*.parquet")):
            wanted = [n for n in pq.read_schema(path).names if not n.startswith("stats/")]
            self._rows += pq.read_table(path, columns=wanted).to_pylist()
        self._rows.sort(key=lambda row: row["episode_index"])
        missing = sorted({p for e in range(len(self)) for p in self._files(e) if not p.is_file()})
        if len(self) != info["total_episodes"] or not self._rows or missing:
            held = f"meta/episodes lists {len(self)} of {info['total_episodes']} episodes"
            raise UserError(
                f"the dataset {root} is not whole: {held}"
                + "".join(f"\n  missing: {p.relative_to(root)}" for p in missing[:5])
                + "\nIf it is still being recorded, end the recording first (LeRobot's `finalize`); if it was copied, "
                "copy the whole folder."
            )
        extra = root / EXTRA
        self._extra = pq.read_table(extra) if extra.is_file() else None
        if self._extra is not None and len(self._extra) != len(self):
            raise UserError(
                f"{extra} describes {len(self._extra)} episodes and the dataset has {len(self)}: it was edited since "
                "its export.\nMove that file away; the last step of every episode is then left out."
            )

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self._rows)

    @property
    def spec(self) -> TaskSpec | None:
        """The task spec of a dataset that we exported."""
        return None if self._extra is None else TaskSpec.from_json(self._extra.schema.metadata[b"spec"].decode())

    def names(self, key: str) -> list[str]:
        """Return the names of the numbers in the column `key`.

        Raises:
            UserError: there is no such column, or its numbers have no names.
        """
        if key not in self.features:
            raise UserError(f"{self.root} has no column {key!r}; it has {', '.join(self.features)}")
        names, width = self.features[key].get("names"), self.features[key]["shape"][0]
        if isinstance(names, dict):  # {"motors": [...]} in datasets of older recorders
            names = [n for group in names.values() for n in (group if isinstance(group, list) else [group])]
        if not names or len(names) != width:
            raise UserError(
                f"{self.root}: the {width} numbers of {key!r} have no names (found {names}), so their meaning is "
                f"unknown.\nAdd them to {INFO}, features.{key}.names; for an SO-101: shoulder_pan.pos ... gripper.pos."
            )
        return [str(name) for name in names]

    def columns(self, episode: int) -> dict[str, np.ndarray]:
        """Return the numbers of one episode: {column: [N] or [N, width]}.

        Raises:
            UserError: the file cannot be read, rows are missing, or a state, action or reward is NaN or infinite.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        keys = [k for k, f in self.features.items() if f["dtype"] not in ("image", "video", "string", "language")]
        path = self._data_file(episode)
        try:
            table = pq.read_table(path, columns=keys, filters=[("episode_index", "==", self._index(episode))])
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path} cannot be read: {error}\nCopy or download the dataset again.") from error
        found = {key: np.array(table[key].to_pylist()) for key in keys}
        if len(table) != self._rows[episode]["length"]:
            raise UserError(
                f"{path} holds {len(table)} of the {self._rows[episode]['length']} frames of episode {episode}.\n"
                "Copy or download the dataset again."
            )
        for key in (k for k in _FINITE if k in found):
            values = found[key].reshape(len(table), -1)
            if values.dtype == object or values.shape[1] != int(np.prod(self.features[key]["shape"])):
                raise UserError(f"{path}, episode {episode}: {key} has not the shape that {INFO} says")
            bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
            if len(bad):
                raise UserError(
                    f"{self.root}, episode {episode}: {key} is NaN or infinite in {len(bad)} frames, the first is "
                    f"{bad[0]}. Accepted are finite numbers.\nRemove the episode with `lerobot-edit-dataset`, then "
                    "import again."
                )
        return found

    def frames(self, episode: int, camera: str, rows: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the frames at the rising `rows` of an episode, uint8 [H, W, 3] RGB.

        Raises:
            UserError: a frame cannot be decoded.
        """
        for start in range(0, len(rows), _BATCH):
            batch = list(rows[start : start + _BATCH])
            try:
                if self.cameras[camera] == "video":
                    yield from self._from_video(episode, camera, batch)
                else:
                    yield from self._from_table(episode, camera, batch)
            except Exception as error:  # whatever a damaged file makes its decoder raise
                raise UserError(
                    f"{self.root}, episode {episode}: {camera} cannot be decoded in frames {batch[0]} to {batch[-1]}: "
                    f"{error}\nCopy or download the dataset again, or remove the episode with `lerobot-edit-dataset`."
                ) from error

    def last_observation(self, episode: int) -> LastObservation | None:
        """Return what followed the last action, when we exported the dataset."""
        if self._extra is None:
            return None
        row = self._extra.slice(episode, 1).to_pylist()[0]
        return LastObservation(
            meta=meta_from_json(json.loads(row["meta"])),
            state=np.array(row[STATE], np.float32),
            images={key: _decode(value) for key, value in row.items() if key.startswith(CAMERA)},
            marked_success=row["marked_success"],
        )

    def _index(self, episode: int) -> int:
        return int(self._rows[episode]["episode_index"])

    def _data_file(self, episode: int) -> Path:
        row = self._rows[episode]
        place = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
        return self.root / self._data_path.format(**place)

    def _video_file(self, episode: int, camera: str) -> Path:
        row, prefix = self._rows[episode], f"videos/{camera}"
        place = {"chunk_index": row[f"{prefix}/chunk_index"], "file_index": row[f"{prefix}/file_index"]}
        return self.root / self._video_path.format(video_key=camera, **place)

    def _files(self, episode: int) -> list[Path]:
        videos = [self._video_file(episode, c) for c, dtype in self.cameras.items() if dtype == "video"]
        return [self._data_file(episode), *videos]

    def _from_video(self, episode: int, camera: str, rows: Sequence[int]) -> Iterator[np.ndarray]:
        from lerobot.datasets.video_utils import decode_video_frames

        start_s = self._rows[episode][f"videos/{camera}/from_timestamp"]
        decoded = decode_video_frames(
            self._video_file(episode, camera),
            [start_s + row / self.fps for row in rows],
            tolerance_s=0.5 / self.fps,
            backend="pyav",
            return_uint8=True,
        )
        yield from decoded.permute(0, 2, 3, 1).contiguous().numpy()

    def _from_table(self, episode: int, camera: str, rows: Sequence[int]) -> Iterator[np.ndarray]:
        import pyarrow.parquet as pq

        filters = [("episode_index", "==", self._index(episode)), ("frame_index", "in", set(rows))]
        table = pq.read_table(self._data_file(episode), columns=[camera], filters=filters)
        if len(table) != len(rows):
            raise ValueError(f"only {len(table)} of {len(rows)} frames are there")
        for cell in table[camera].to_pylist():
            yield _decode(cell["bytes"])


def _decode(encoded: bytes | None) -> np.ndarray:
    image = None if encoded is None else cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("no image in the file")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read_info(root: Path) -> dict[str, Any]:
    try:
        info = json.loads((root / INFO).read_text())
        version = str(info["codebase_version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        names = sorted(p.name for p in root.iterdir()) if root.is_dir() else []
        found = (
            f"it holds {', '.join(names[:5])}" if names else "an empty folder" if root.is_dir() else "no such folder"
        )
        raise UserError(
            f"there is no LeRobot dataset at {root}: {INFO} cannot be read ({type(error).__name__}); {found}.\nName "
            "the folder that holds meta/, data/ and videos/: --root=FOLDER. Nothing is downloaded."
        ) from error
    if not version.startswith("v3."):
        raise UserError(
            f"{root} has LeRobot's format {version}; accepted is v3.0.\nConvert it: python -m "
            "lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=NAME --root=FOLDER --push-to-hub=false"
        )
    return info
