"""Talks to a running rig as the person beside the arm would: looks, puts the cube back, breaks things."""

from __future__ import annotations

import argparse
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.errors import UserError

_ASKS = (
    "op=hand shoulder_pan=0.3 seconds=1 (by so many rad); op=hand let_go=true; op=pad act=press control=rightshoulder "
    "(release, tap; act=axis value=-1; unplug, plug); op=fault kind=silence bus=leader (corrupt, dead_motor id=3, "
    "unplug, heal; kind=freeze_camera camera=wrist); op=place x_m=0.22 y_m=0 yaw_rad=0; op=truth; op=leader"
)


def flags(rig: dict[str, Any]) -> dict[str, list[str]]:
    """Return the flags for what a rig announces: its "arm", cameras and clock, and the devices of the "person"."""
    profile = rig["profile"]
    size = {"width": profile["native_width_px"], "height": profile["native_height_px"]}
    cameras = {
        name: {"type": "emulated", "path": path, **size, "fps": round(profile["camera_fps"])}
        for name, path in rig["cameras"].items()
    }
    arm = [
        "--plugins=sim_pretrain.rig.camera",
        "--robot.type=so101_follower",
        "--robot.id=arm",
        f"--robot.port={rig['port']}",
        f"--robot.calibration_dir={rig['calibration_dir']}",
        f"--robot.cameras={json.dumps(cameras)}",
        f"--clock={rig['clock']}",
    ]
    device = "buttons" if rig["leader"] else "teleop"
    person = [f"--{device}.type=virtual_pad", f"--{device}.events={rig['pad']}"] if rig["pad"] else []
    if rig["leader"]:
        where = [f"--teleop.port={rig['leader']}", f"--teleop.calibration_dir={rig['calibration_dir']}"]
        person = ["--teleop.type=so101_leader", "--teleop.id=leader", *where, *person]
    return {"arm": arm, "person": person or ["--teleop.type=keyboard"]}


def arm_flags(directory: Path) -> list[str]:
    """Return the flags with which any `hilserl` command finds the arm, cameras and clock of a running rig.

    Raises:
        ConnectionError: no rig is ready in `directory`.
    """
    return announced(directory)["flags"]["arm"]  # type: ignore[no-any-return]


def teleop_flags(directory: Path) -> list[str]:
    """Return the flags for the person's devices on a running rig: its leader, its gamepad, else the keyboard.

    Raises:
        ConnectionError: no rig is ready in `directory`.
    """
    return announced(directory)["flags"]["person"]  # type: ignore[no-any-return]


def announced(directory: Path) -> dict[str, Any]:
    """Return what the running rig says of itself; ConnectionError when none is ready in `directory`."""
    try:
        content: dict[str, Any] = json.loads((Path(directory) / "rig.json").read_text())
    except FileNotFoundError as error:
        raise ConnectionError(
            f"no rig is ready in {directory}; start it: hilserl rig --directory={directory}"
        ) from error
    return content


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
        return self.ask(op="truth")

    def place(self, x_m: float, y_m: float, yaw_rad: float = 0.0) -> None:
        """Put the cube on the table."""
        self.ask(op="place", x_m=float(x_m), y_m=float(y_m), yaw_rad=float(yaw_rad))

    def begin(self, tag: str) -> None:
        """Have the rig watch an episode."""
        self.ask(op="begin", tag=tag)

    def end(self, tag: str) -> dict[str, Any]:
        """Return the verdict: tag, success (at any moment since `begin`), lost (now), max_height_m."""
        return self.ask(op="end", tag=tag)

    def fault(self, kind: str, **details: str | int) -> None:
        """Break something, or `heal` everything.

        Kinds: silence; corrupt (count=1); dead_motor (id=1..6 or motor=name); unplug;
        freeze_camera (camera=name); heal. Those of a bus take bus=follower or bus=leader.
        """
        self.ask(op="fault", kind=kind, **details)

    def leader(self) -> dict[str, Any]:
        """Return joints_rad and torque of the leader, [6] each."""
        return self.ask(op="leader")

    def hand(self, seconds: float = 0.0, **by_rad: float) -> None:
        """Take the leader by the hand, and move its joints by so much in so many simulated seconds."""
        self.ask(op="hand", seconds=seconds, **by_rad)

    def let_go(self) -> None:
        """Let go of the leader."""
        self.ask(op="hand", let_go=True)

    def pad(self, act: str, control: str = "", value: float = 0.0) -> None:
        """Press, release, tap a button of the gamepad, set an axis, unplug or plug it."""
        self.ask(op="pad", act=act, control=control, value=value)

    def stop(self) -> None:
        """Ask the rig to end."""
        self.ask(op="stop")

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

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and return the answer."""
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            line = self._answers.readline()
            if not line.endswith(b"\n"):
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


def main(argv: Sequence[str]) -> int:
    """`hilserl rig ask op=hand shoulder_pan=0.3 seconds=1`: send one request to a rig and print its answer."""
    parser = argparse.ArgumentParser(
        prog="hilserl rig ask", description="Do something to a running rig, as a person beside it would.", epilog=_ASKS
    )
    parser.add_argument("--directory", type=Path, default=Path("runs/rig"), help="of the rig (default: runs/rig)")
    parser.add_argument("request", nargs="+", metavar="NAME=VALUE", help="op=... first")
    args = parser.parse_args(list(argv))
    request = {}
    for name, _, value in (item.partition("=") for item in args.request):
        try:
            request[name] = json.loads(value)
        except json.JSONDecodeError:
            request[name] = value
    try:
        with RigClient(args.directory) as rig:
            print(json.dumps(rig.ask(**request)))
    except (ConnectionError, ValueError) as error:
        raise UserError(str(error)) from error
    return 0
