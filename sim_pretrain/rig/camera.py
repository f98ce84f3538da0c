"""The LeRobot camera type `emulated`: reads the frame file of a running rig."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.cameras.camera import Camera
from lerobot.cameras.configs import CameraConfig
from lerobot.utils.errors import DeviceAlreadyConnectedError, DeviceNotConnectedError

from sim_pretrain.rig.frame_file import FrameReader

_POLL_S = 0.001
_ALIVE_MS = 2000  # a camera whose newest frame is older than this does not connect


@CameraConfig.register_subclass("emulated")
@dataclass(kw_only=True)
class EmulatedCameraConfig(CameraConfig):
    """`type: emulated`. Width and height, when given, must be those of the frames."""

    path: str  # frame file of a running rig, e.g. runs/rig/wrist.frames


class EmulatedCamera(Camera):
    """Reads the frames of a running rig; RGB, as LeRobot's cameras deliver them."""

    def __init__(self, config: EmulatedCameraConfig):
        """Remember where the frames are; `connect` opens them."""
        super().__init__(config)
        self.config = config
        self.width: int | None = config.width
        self.height: int | None = config.height
        self._reader: FrameReader | None = None
        self._consumed = 0

    def __str__(self) -> str:
        """Name the camera in messages."""
        return f"EmulatedCamera({self.config.path})"

    @property
    def is_connected(self) -> bool:
        """Whether `connect` succeeded; a frozen camera stays connected, as a real one does."""
        return self._reader is not None

    @staticmethod
    def find_cameras() -> list[dict[str, Any]]:
        """List the frame files of the rigs under `runs/`."""
        paths = sorted(Path("runs").glob("*/*.frames"))
        return [{"type": "emulated", "name": path.stem, "id": str(path)} for path in paths]

    def connect(self, warmup: bool = True) -> None:
        """Open the frame file.

        Raises:
            ConnectionError: no rig is running behind this path, or (with `warmup`) it gives no fresh frame.
            RuntimeError: the frames have another size than the config says.
        """
        if self.is_connected:
            raise DeviceAlreadyConnectedError(f"{self} is already connected")
        try:
            reader = FrameReader(Path(self.config.path))
            if warmup:
                self._require_fresh(reader)
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"{self}: {error}. The file is fresh while the emulated rig runs; start it with: "
                f"hilserl rig --directory={Path(self.config.path).parent}"
            ) from error
        width, height = reader.size_px
        if (self.width or width, self.height or height) != (width, height):
            raise RuntimeError(
                f"{self}: the frames are {width}x{height} px, the config says {self.width}x{self.height}; "
                f"set width={width} height={height}"
            )
        self.width, self.height = width, height
        self._reader, self._consumed = reader, 0

    def read(self) -> np.ndarray:
        """Wait for the next frame, at most 2 s; uint8 [H, W, 3]. Raises as `async_read`."""
        self._consumed = self._open().number
        return self.async_read(timeout_ms=2000)

    def async_read(self, timeout_ms: float = 200) -> np.ndarray:
        """Return the newest frame that was not returned before, uint8 [H, W, 3]; wait for one if needed.

        Raises:
            TimeoutError: none came in time.
            ConnectionError: not connected.
        """
        reader = self._open()
        deadline_s = time.monotonic() + timeout_ms / 1e3
        while reader.number <= self._consumed:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{self}: no new frame in {timeout_ms:.0f} ms; is `hilserl rig` running?")
            time.sleep(_POLL_S)
        image, _, self._consumed = reader.read()
        return image

    def read_latest(self, max_age_ms: int = 500) -> np.ndarray:
        """Return the newest frame at once, uint8 [H, W, 3].

        Raises:
            TimeoutError: the newest frame is older than `max_age_ms`.
            RuntimeError: there has been no frame yet.
            ConnectionError: not connected.
        """
        image, stamp_s, number = self._open().read()
        if number == 0:
            raise RuntimeError(f"{self} has not captured a frame yet")
        age_ms = (time.monotonic() - stamp_s) * 1e3
        self.latest_timestamp = time.perf_counter() - age_ms / 1e3  # as LeRobot's own cameras say it
        if age_ms > max_age_ms:
            raise TimeoutError(
                f"{self}: the newest frame is {age_ms:.0f} ms old, accepted are {max_age_ms}. The camera is "
                "frozen or the rig has ended; after starting it again (hilserl rig), connect again"
            )
        return image

    def disconnect(self) -> None:
        """Let the frame file go.

        Raises:
            ConnectionError: not connected.
        """
        self._open()
        self._reader = None

    def _open(self) -> FrameReader:
        if self._reader is None:
            raise DeviceNotConnectedError(f"{self} is not connected; call connect() first")
        return self._reader

    def _require_fresh(self, reader: FrameReader) -> None:
        """Wait for a frame that is not older than `_ALIVE_MS`; the rig may have just started."""
        deadline_s = time.monotonic() + _ALIVE_MS / 1e3
        while time.monotonic() - reader.read().stamp_s > _ALIVE_MS / 1e3:  # the stamp is 0 before the first
            if time.monotonic() > deadline_s:
                raise TimeoutError("it gives no fresh frames")
            time.sleep(_POLL_S)
