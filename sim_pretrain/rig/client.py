"""Talks to a running rig as the person beside the arm would: looks, puts the cube back, breaks things."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any


def arm_flags(directory: Path) -> list[str]:
    """Return the flags with which any `hilserl` command finds the arm, cameras and clock of a running rig.

    Raises:
        ConnectionError: no rig is ready in `directory`.
    """
    try:
        rig = json.loads((Path(directory) / "rig.json").read_text())
    except FileNotFoundError as error:
        raise ConnectionError(
            f"no rig is ready in {directory}; start it: hilserl rig --directory={directory}"
        ) from error
    profile = rig["profile"]
    size = {"width": profile["native_width_px"], "height": profile["native_height_px"]}
    cameras = {
        name: {"type": "emulated", "path": path, **size, "fps": round(profile["camera_fps"])}
        for name, path in rig["cameras"].items()
    }
    return [
        "--plugins=sim_pretrain.rig.camera",
        "--robot.type=so101_follower",
        "--robot.id=arm",
        f"--robot.port={rig['port']}",
        f"--robot.calibration_dir={rig['calibration_dir']}",
        f"--robot.cameras={json.dumps(cameras)}",
        f"--clock={rig['clock']}",
    ]


class RigClient:
    """A connection to the side channel of the rig in `directory`. Use in a `with` block.

    Every method raises ConnectionError when the rig is not there (any more), and ValueError with the rig's
    own words when it refuses.
    """

    def __init__(self, directory: Path, timeout_s: float = 5.0):
        """Connect; an answer may take `timeout_s`."""
        self._directory = Path(directory)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(self._directory / "people.sock"))
        except OSError as error:
            self._socket.close()
            raise self._absent(error) from error
        self._answers = self._socket.makefile("rb")

    def truth(self) -> dict[str, Any]:
        """Return the fields of `world.truth.Truth`, grasped, success, lost, and `time_s`, the simulated time."""
        return self._ask(op="truth")

    def place(self, x_m: float, y_m: float, yaw_rad: float = 0.0) -> None:
        """Put the cube on the table."""
        self._ask(op="place", x_m=float(x_m), y_m=float(y_m), yaw_rad=float(yaw_rad))

    def begin(self, tag: str) -> None:
        """Have the rig watch an episode."""
        self._ask(op="begin", tag=tag)

    def end(self, tag: str) -> dict[str, Any]:
        """Return the verdict: tag, success (at any moment since `begin`), lost (now), max_height_m."""
        return self._ask(op="end", tag=tag)

    def fault(self, kind: str, **details: str | int) -> None:
        """Break something, or `heal` everything.

        Kinds: silence; corrupt (count=1); dead_motor (id=1..6 or motor=name); unplug;
        freeze_camera (camera=name); heal.
        """
        self._ask(op="fault", kind=kind, **details)

    def stop(self) -> None:
        """Ask the rig to end."""
        self._ask(op="stop")

    def close(self) -> None:
        """Hang up."""
        self._answers.close()
        self._socket.close()

    def __enter__(self) -> RigClient:
        """Return the open connection."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self.close()

    def _ask(self, **request: str | float) -> dict[str, Any]:
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            line = self._answers.readline()
            if not line:
                raise ConnectionResetError("it hung up")
        except OSError as error:
            raise self._absent(error) from error
        answer = json.loads(line)
        if not answer.pop("ok"):
            raise ValueError(f"the rig refused {request}: {answer['error']}")
        return answer

    def _absent(self, error: OSError) -> ConnectionError:
        return ConnectionError(
            f"no rig answers in {self._directory} ({error}). Start it with: hilserl rig --directory={self._directory}"
        )
