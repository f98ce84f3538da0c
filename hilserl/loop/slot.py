"""The newest bytes of one process, for any number of readers in others. Overwritten, never queued; nobody waits.

The file is a header and the bytes. The writer makes `sequence` odd, writes, and makes it even again; a reader that saw
the same even number before and after its copy has a whole value (a seqlock). It lies in memory where the system has
such a folder, so that no disk can hold up the writer.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from pathlib import Path

import numpy as np

from data.errors import UserError

_HEADER = np.dtype([("sequence", "<u8"), ("size", "<u8")])
_TRIES = 8  # of a reader that meets the writer in the middle of a value


def live_folder(run: Path) -> Path:
    """Return the folder in memory for what changes many times a second in a run; it is made when absent.

    Raises:
        UserError: it belongs to somebody else.
    """
    memory = Path("/dev/shm")
    name = hashlib.sha256(str(Path(run).resolve()).encode()).hexdigest()[:12]
    folder = (memory if memory.is_dir() else Path(tempfile.gettempdir())) / f"hilserl-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder} belongs to another user, and is not written to; remove it, or --ui.enabled=false")
    return folder


def mapped(path: Path, size: int) -> mmap.mmap:
    """Map a file of at least `size` bytes that several processes share; made when absent, and never replaced.

    Raises:
        UserError: there is no room. It is taken here: writing to a hole of a full file system would kill the process.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size < size:
            os.posix_fallocate(descriptor, 0, size)
        return mmap.mmap(descriptor, size)
    except OSError as error:
        raise UserError(f"no room for {size} bytes in {path}: {error}. Make some, or --ui.enabled=false") from error
    finally:
        os.close(descriptor)


class Slot:
    """One value of up to `capacity` bytes."""

    def __init__(self, path: Path, capacity: int = 1 << 23) -> None:
        """Open the slot, which keeps the value that it has; one process may write to it."""
        memory = mapped(path, _HEADER.itemsize + capacity)
        self._header = np.frombuffer(memory, _HEADER, count=1).reshape(())
        self._bytes = np.frombuffer(memory, np.uint8, offset=_HEADER.itemsize)
        self.capacity = capacity

    @property
    def sequence(self) -> int:
        """A number that changes with every value; 0: there was none yet."""
        return int(self._header["sequence"])

    def put(self, *parts: bytes | np.ndarray) -> None:
        """Overwrite the value with these parts, bytes or uint8 arrays, one after the other.

        Raises:
            ValueError: they exceed the capacity; the value stays what it was.
        """
        arrays = [np.frombuffer(p, np.uint8) if isinstance(p, bytes) else p for p in parts]
        size = sum(a.size for a in arrays)
        if size > self.capacity:
            raise ValueError(f"a slot of {self.capacity} bytes was given {size}")
        before = self.sequence + self.sequence % 2  # a writer that was killed left it odd
        self._header["sequence"] = before + 1
        end = 0
        for array in arrays:
            self._bytes[end : end + array.size].reshape(array.shape)[...] = array
            end += array.size
        self._header["size"] = size
        self._header["sequence"] = before + 2

    def get(self) -> tuple[int, bytes] | None:
        """Return (sequence, value), whole; None while there is none, or the writer is in the middle of one."""
        for _ in range(_TRIES):
            before = self.sequence
            if before and before % 2 == 0:
                value = self._bytes[: int(self._header["size"])].tobytes()
                if self.sequence == before:
                    return before, value
        return None
