"""The emulated SO-101 as a process: one table in real time, behind a serial port, cameras and a side channel.

In the rig's directory: `follower` the serial port, `<camera>.frames`, `calibration/arm.json`, `people.sock`,
`truth.jsonl`, when asked for also `leader` and `pad.events`, and, once everything works, `rig.json`. One thread does
everything but the servo buses, which have a process each.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import draccus

from data.errors import UserError
from hilserl.flags import parse_flags
from hilserl.robot.clock import SharedClock
from sim_pretrain.rig.bridge import Shutter, WorldPlant
from sim_pretrain.rig.bus_process import BusProcess, PlantMemory
from sim_pretrain.rig.client import flags
from sim_pretrain.rig.frame_file import FrameFile
from sim_pretrain.rig.leader import EmulatedLeader
from sim_pretrain.rig.people import Judge, LineServer
from sim_pretrain.rig.requests import Table
from sim_pretrain.rig.servo import write_calibration
from sim_pretrain.world.profile import WorldProfile, read_profile

_MEMORY = Path("/dev/shm")
_NICE = 5  # physics can wait for a busy core; the motors, a process of their own, have to answer in time
_BATCH_S = 0.004  # simulated time per batch: one physics step
_LOOK_S = 0.02  # how often the judge looks
_CATCH_UP_S = 0.1  # more simulated time than this behind is given up instead of made good
_REPORT_S = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RigConfig:
    """Flags of the emulated rig."""

    directory: Path = Path("runs/rig")  # where the port, the cameras and the socket appear
    time_scale: float = 1.0  # simulated seconds per second
    profile: WorldProfile = field(default_factory=WorldProfile)  # the table, the arm and the cameras
    profile_json: Path | None = None  # read the profile from this file instead
    seed: int = 0  # of the camera noise
    leader: bool = False  # a leader arm, too, and a hand to move it with: hilserl rig ask op=hand
    gamepad: bool = False  # a gamepad, too: hilserl rig ask op=pad

    def read_profile(self) -> WorldProfile:
        """Return the profile to use."""
        if self.profile_json is None:
            return self.profile
        return read_profile(self.profile_json, WorldProfile)


class Rig:
    """A running rig; `run` returns after `stop`. Use in a `with` block, in the thread that made it."""

    def __init__(self, config: RigConfig):
        """Build everything.

        Raises:
            UserError: a rig is alive in this directory, or its path is too long for a socket.
            UserError: there is no OpenGL to render with.
        """
        self._config, self._directory = config, config.directory.resolve()
        self._stopping = False
        self._resources = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self._directory.mkdir(parents=True, exist_ok=True)
            self._lock_directory()
            announcement = self._directory / "rig.json"
            announcement.unlink(missing_ok=True)  # of a rig that was killed
            self._resources.callback(announcement.unlink, missing_ok=True)
            from sim_pretrain.task.tasks import find_task  # MuJoCo is slow to import: not for --help
            from sim_pretrain.world.physics import World

            task = find_task("lift")

            profile = config.read_profile()
            self._world = World(profile, config.seed)
            self._resources.callback(self._world.close)
            memory = self._shared("plant.memory")
            self._plant = WorldPlant(self._world, PlantMemory(memory, create=True))
            self._shutters = {}
            for camera in self._world.camera_names:
                path = self._shared(f"{camera}.frames")
                file = FrameFile(path, profile.native_width_px, profile.native_height_px)
                self._shutters[camera] = Shutter(self._world, camera, self._resources.enter_context(file))
            write_calibration(self._directory / "calibration" / "arm.json")
            self._buses = {"follower": self._bus(memory, "follower")}
            self._leader = self._new_leader() if config.leader else None
            self._pad = self._shared("pad.events") if config.gamepad else None
            if self._pad is not None:
                self._pad.write_bytes(b"")
            self._clock = SharedClock(self._shared("clock"), create=True)
            self._judge = Judge(self._directory / "truth.jsonl", task)
            table = Table(
                self._world, task, self._judge, self._buses, self._shutters, self._leader, self._pad, self.stop
            )
            server = LineServer(self._directory / "people.sock", table.obey)
            self._people = self._resources.enter_context(server)
            undo.pop_all()

    def stop(self) -> None:
        """Make `run` return soon; for signal handlers and the side channel."""
        self._stopping = True

    def close(self) -> None:
        """Unplug, and take away everything but the calibration and the record of truth."""
        self._resources.close()

    def __enter__(self) -> Rig:
        """Return the rig."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def run(self) -> None:
        """Keep the world in step with the clock until stopped."""
        scale, world = self._config.time_scale, self._world
        origin_s, ready = time.monotonic() - world.time_s / scale, False
        given_up_s, report_s = 0.0, time.monotonic() + _REPORT_S
        while not self._stopping:
            behind_s = (time.monotonic() - origin_s) * scale - world.time_s
            if behind_s > _CATCH_UP_S:
                given_up_s += behind_s - _CATCH_UP_S
                origin_s += (behind_s - _CATCH_UP_S) / scale
            if behind_s < _BATCH_S:
                self._people.poll((_BATCH_S - behind_s) / scale)
                continue
            self._tick()
            self._people.poll(0.0)
            if not ready and all(shutter.published for shutter in self._shutters.values()):
                ready = True
                self._announce()
            if time.monotonic() > report_s:
                if not all(bus.alive for bus in self._buses.values()):
                    raise UserError("a servo bus process died; start the rig again: hilserl rig")
                if given_up_s > 0.02 * _REPORT_S * scale:
                    ran = 1 - given_up_s / (_REPORT_S * scale)
                    logger.warning(
                        "this machine reaches %.0f %% of time_scale=%g; free it, or use --time_scale=%.2g",
                        100 * ran, scale, 0.9 * scale * ran,
                    )  # fmt: skip
                given_up_s, report_s = 0.0, time.monotonic() + _REPORT_S

    def _tick(self) -> None:
        before_s = self._world.time_s
        self._plant.advance(_BATCH_S)
        if self._leader is not None:
            self._leader.advance(_BATCH_S)
        self._clock.set(self._world.time_s)
        if self._judge.watching and before_s // _LOOK_S != self._world.time_s // _LOOK_S:
            self._judge.look(self._world.truth())
        for shutter in self._shutters.values():
            shutter.publish()
        for shutter in self._shutters.values():
            if shutter.render_if_due():
                break  # one frame a tick: two in a row would leave the arm unmoved for twice as long

    def _shared(self, name: str) -> Path:
        """Return the path for a file that processes share, in memory where the system has it, linked into our folder.

        A page of a file on disk makes whoever writes to it wait while it is being flushed: motors that are silent
        for as long as somebody else's fsync takes.
        """
        link = self._directory / name
        link.unlink(missing_ok=True)  # of a rig that was killed
        self._resources.callback(link.unlink, missing_ok=True)
        if not _MEMORY.is_dir():
            return link
        owner = hashlib.sha256(str(self._directory).encode()).hexdigest()[:12]
        path = _MEMORY / f"hilserl-{owner}-{name}"  # the same at the next start: a killed rig leaves no more than one
        self._resources.callback(path.unlink, missing_ok=True)
        link.symlink_to(path)
        return path

    def _new_leader(self) -> EmulatedLeader:
        memory = self._shared("leader.memory")
        leader = EmulatedLeader(PlantMemory(memory, create=True))
        self._buses["leader"] = self._bus(memory, "leader")
        write_calibration(self._directory / "calibration" / "leader.json")
        return leader

    def _bus(self, memory: Path, name: str) -> BusProcess:
        """Start a bus on the plant in `memory`, with its port under this name."""
        port = self._directory / name
        self._resources.callback(port.unlink, missing_ok=True)  # should the bus process not do it
        return self._resources.enter_context(BusProcess(memory, port))

    def _lock_directory(self) -> None:
        lock = self._resources.enter_context((self._directory / "rig.lock").open("a"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go when a process dies
        except BlockingIOError:
            self._resources.close()
            raise UserError(
                f"a rig is already running in {self._directory}. Use that one, stop it with Ctrl-C, "
                "or choose another place: hilserl rig --directory=runs/rig2"
            ) from None

    def _announce(self) -> None:
        content = {
            "pid": os.getpid(),
            "port": str(self._directory / "follower"),
            "cameras": {name: str(self._directory / f"{name}.frames") for name in self._shutters},
            "calibration_dir": str(self._directory / "calibration"),
            "clock": str(self._directory / "clock"),
            "leader": str(self._directory / "leader") if self._leader else None,
            "pad": str(self._directory / "pad.events") if self._pad else None,
            "time_scale": self._config.time_scale,
            "profile": draccus.encode(self._world.profile),
        }
        found = flags(content)
        fresh = self._directory / ".rig.json"
        fresh.write_text(json.dumps(content | {"flags": found}, indent=1))
        fresh.replace(self._directory / "rig.json")
        logger.info(
            "rig ready: give any other command --rig=%s, which stands for its arm and devices:\n%s",
            self._config.directory, shlex.join(found["arm"] + found["person"]),
        )  # fmt: skip


def run_rig(config: RigConfig) -> None:
    """Run a rig until SIGTERM, SIGINT or its side channel's `stop`. It owns the process: main thread only."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # while it is built: undo, and go
    with Rig(config) as rig:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: rig.stop())
        os.nice(_NICE)
        rig.run()


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags of `RigConfig`, run a rig and return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    run_rig(parse_flags(RigConfig, sys.argv[1:] if argv is None else argv))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
