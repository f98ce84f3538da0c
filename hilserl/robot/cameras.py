"""LeRobot's cameras: opened together, checked for a real picture, read without waiting, always closed."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from hilserl.robot.fault import RobotFault

if TYPE_CHECKING:
    from lerobot.cameras import Camera, CameraConfig

_MIN_CONTRAST = 10  # grey levels between the 1st and the 99th percentile; noise under a lens cap has less
_LOOK_S = 1.0  # between two looks at whether there is a picture
_NEXT = "See which cameras there are with: lerobot-find-cameras"
logger = logging.getLogger(__name__)


class CameraFault(RobotFault):
    """A camera gives nothing usable. Names the camera and says what was found and what to do."""


class CameraReader:
    """The newest frame of each open camera."""

    def __init__(self, cameras: Mapping[str, Camera], max_age_s: float = 0.5) -> None:
        """Wrap connected cameras; a frame older than `max_age_s` is a fault."""
        self._cameras, self._max_age_s = dict(cameras), max_age_s
        self._failed: set[str] = set()
        self._looked_s: dict[str, float] = {}  # when each was last seen to show a picture

    @property
    def names(self) -> tuple[str, ...]:
        """The open cameras."""
        return tuple(self._cameras)

    def read(self, name: str) -> tuple[np.ndarray, float]:
        """Return the newest frame without waiting for one; of a camera that has failed before, after reopening it.

        Returns:
            uint8 [H, W, 3] RGB, native, not to be written to; and its monotonic stamp [s], which is that of
            this call for a camera that keeps none.

        Raises:
            CameraFault: no such camera, the newest frame is too old, the picture is black or constant, or the camera
                has failed.
        """
        if name not in self._cameras:
            raise CameraFault(
                f"there is no camera {name!r} in this session; open are {sorted(self._cameras) or 'none'}. "
                f"Name it in --robot.cameras='{{{name}: {{type: opencv, ...}}}}'. {_NEXT}"
            )
        try:
            found = self.newest(name)
        except CameraFault:
            if name not in self._failed:  # at once: the arm has to hold
                self._failed.add(name)
                raise
            _disconnect(name, self._cameras[name])
            _connect(name, self._cameras[name])
            found = self.newest(name)
        self._failed.discard(name)
        if time.monotonic() - self._looked_s.get(name, -np.inf) > _LOOK_S:
            require_picture(name, found[0])
            self._looked_s[name] = time.monotonic()
        return found

    def newest(self, name: str) -> tuple[np.ndarray, float]:
        """Return what `read` does, whatever the picture shows; CameraFault when there is no frame, or an old one."""
        camera = self._cameras[name]
        try:
            frame = camera.read_latest(max_age_ms=int(self._max_age_s * 1e3))
        except Exception as error:  # TimeoutError, RuntimeError, OSError, cv2.error, whatever a plugin raises
            raise CameraFault(
                f"camera {name!r} ({camera}) gives no frame younger than {self._max_age_s:g} s: {error}. "
                f"Check its cable and that no other program uses it. {_NEXT}"
            ) from error
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise CameraFault(
                f"camera {name!r} ({camera}) gives {frame.dtype} {frame.shape}; accepted is uint8 (H, W, 3) "
                f"RGB. Set its color_mode to rgb. {_NEXT}"
            )
        taken_s = getattr(camera, "latest_timestamp", None)  # perf_counter in LeRobot's own cameras
        age_s = time.perf_counter() - taken_s if isinstance(taken_s, float) else 0.0
        return frame, time.monotonic() - age_s


def contrast(frame: np.ndarray) -> float:
    """Return the grey levels between the 1st and the 99th percentile of a frame, which may be thinned out."""
    low, high = np.percentile(frame[::4, ::4], (1, 99))
    return float(high - low)


@contextlib.contextmanager
def open_cameras(
    configs: Mapping[str, CameraConfig], *, max_age_s: float = 0.5, patience_s: float = 2.0
) -> Iterator[CameraReader]:
    """Connect cameras, wait until each shows a picture, and disconnect all of them at the end.

    Python 3.12 aborts at exit when an OpenCV camera is left connected.

    Args:
        configs: LeRobot camera configs by name.
        max_age_s: see `CameraReader`.
        patience_s: time for exposure to settle before a black or constant picture is a fault.

    Raises:
        CameraFault: a camera does not open, gives no frame, or shows a black or constant picture.
    """
    from lerobot.cameras import make_cameras_from_configs

    try:
        cameras = make_cameras_from_configs(dict(configs))
    except Exception as error:
        raise CameraFault(f"camera config not accepted: {error}. {_NEXT}") from error
    with contextlib.ExitStack() as stack:
        for name, camera in cameras.items():
            stack.callback(_disconnect, name, camera)
            _connect(name, camera)
        reader, deadline_s = CameraReader(cameras, max_age_s), time.monotonic() + patience_s
        for name in cameras:
            while contrast(reader.newest(name)[0]) < _MIN_CONTRAST and time.monotonic() < deadline_s:
                time.sleep(0.05)
            reader.read(name)
        yield reader


def require_picture(name: str, frame: np.ndarray) -> None:
    """Raise CameraFault when a frame is black or constant."""
    if (found := contrast(frame)) < _MIN_CONTRAST:
        raise CameraFault(
            f"camera {name!r} shows a constant picture (mean {frame.mean():.0f} of 255, contrast {found:.0f}; accepted "
            f"is {_MIN_CONTRAST}). Is its lens covered, the light off, or is it another device than you think? {_NEXT}"
        )


def _connect(name: str, camera: Camera) -> None:
    try:
        camera.connect()
    except Exception as error:
        raise CameraFault(
            f"camera {name!r} ({camera}) does not open: {str(error).strip() or repr(error)}. {_NEXT}"
        ) from error


def _disconnect(name: str, camera: Camera) -> None:
    try:
        if camera.is_connected:
            camera.disconnect()
    except Exception as error:  # one that fails must not keep the others open
        logger.warning("camera %r did not disconnect: %s", name, error)
