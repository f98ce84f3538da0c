"""One camera's newest frame in shared memory: one writer, any number of readers in other processes.

The file is a 64-byte header and one RGB frame. The writer makes `sequence` odd, writes, and makes it even
again; a reader that saw the same even number before and after its copy has a whole frame (a seqlock). The
writer never waits for a reader. Kept apart from `camera.py` so that the rig starts without importing LeRobot.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

_MAGIC = 0x31454D4152464C48  # "HLFRAME1", little-endian
_HEADER = np.dtype(
    {
        "names": ["magic", "width_px", "height_px", "sequence", "stamp_s", "frames"],
        "formats": ["<u8", "<u4", "<u4", "<u8", "<f8", "<u8"],
        "itemsize": 64,
    }
)
_WRITE_S = 0.2  # a frame that takes longer to write was cut off


class Frame(NamedTuple):
    """A whole frame."""

    image: np.ndarray  # uint8 [H, W, 3] RGB
    stamp_s: float  # monotonic; when it was published
    number: int  # counts from 1; 0 means that there was none yet


def _views(memory: mmap.mmap) -> tuple[np.ndarray, np.ndarray]:
    """Return the header, a structured array [], and the frame, uint8 [H, W, 3], both in shared memory."""
    header = np.frombuffer(memory, _HEADER, count=1).reshape(())
    shape = (int(header["height_px"]), int(header["width_px"]), 3)
    frame = np.frombuffer(memory, np.uint8, count=int(np.prod(shape)), offset=_HEADER.itemsize)
    return header, frame.reshape(shape)


class FrameFile:
    """The writer's end. The file appears complete, and is removed on `close`; use in a `with` block."""

    def __init__(self, path: Path, width_px: int, height_px: int):
        """Create the file, replacing what a rig that died has left."""
        self.path = path
        size = _HEADER.itemsize + width_px * height_px * 3
        start = np.zeros((), _HEADER)
        start["magic"], start["width_px"], start["height_px"] = _MAGIC, width_px, height_px
        fresh = path.with_name(f".{path.name}")
        with fresh.open("w+b") as file:
            file.write(start.tobytes())
            file.truncate(size)
            file.flush()
            self._header, self._frame = _views(mmap.mmap(file.fileno(), size))
        fresh.replace(path)

    def write(self, image: np.ndarray) -> None:
        """Publish a frame, uint8 [H, W, 3] RGB, stamped now.

        Raises:
            ValueError: the image is not of this camera's shape and type.
        """
        if image.shape != self._frame.shape or image.dtype != np.uint8:
            found = f"{image.dtype} {image.shape}"
            raise ValueError(f"{self.path.name} accepts uint8 {self._frame.shape}, found {found}")
        self._header["sequence"] += 1
        self._frame[:] = image
        self._header["stamp_s"] = time.monotonic()
        self._header["frames"] += 1
        self._header["sequence"] += 1

    def close(self) -> None:
        """Remove the file; readers keep their last frame, and find it stale."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> FrameFile:
        """Return the open file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the file."""
        self.close()


class FrameReader:
    """A reader's end; it holds the file until it is garbage collected."""

    def __init__(self, path: Path):
        """Open the file.

        Raises:
            OSError: there is no such file.
            ValueError: it is not a frame file.
        """
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if int.from_bytes(file.read(8), "little") != _MAGIC or size < _HEADER.itemsize:
                raise ValueError(f"{path} is not a frame file; accepted is <rig directory>/<camera>.frames")
            self._header, self._frame = _views(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        return self._frame.shape[1], self._frame.shape[0]

    @property
    def number(self) -> int:
        """Number of the newest frame, from 1; 0 when there was none yet."""
        return int(self._header["frames"])

    def read(self) -> Frame:
        """Return the newest frame, whole.

        Raises:
            TimeoutError: the writer died within a frame.
        """
        deadline_s = time.monotonic() + _WRITE_S
        while True:
            before = int(self._header["sequence"])
            if before % 2 == 0:
                frame = Frame(self._frame.copy(), float(self._header["stamp_s"]), self.number)
                if int(self._header["sequence"]) == before:
                    return frame
            if time.monotonic() > deadline_s:
                raise TimeoutError("the rig died within a frame; start it again: hilserl rig")
            time.sleep(0)  # the writer may need this core to finish
