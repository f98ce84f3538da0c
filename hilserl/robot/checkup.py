"""What can be wrong before anything moves, looked for one thing at a time."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from serial.tools import list_ports

from data.errors import UserError
from data.images import preprocess
from data.spec import CameraSpec, ObservationSpec
from hilserl.robot.arm import make_follower
from hilserl.robot.bus import CleanInput, alarms, claim, close_port, faults
from hilserl.robot.calibration import require_calibration_file, require_same_calibration
from hilserl.robot.cameras import CameraReader, open_cameras
from hilserl.robot.kinematics import JOINTS
from hilserl.robot.motors import open_motors
from hilserl.robot.watch import HOT_C, WARM_C

if TYPE_CHECKING:
    from lerobot.cameras import CameraConfig
    from lerobot.robots import RobotConfig

ROOMS = ("data", "teleop", "classifier", "hilserl", "sim_pretrain")
LOOK_S = 2.0  # at the cameras
_SLOW, _DARK, _BRIGHT, _WHITE = 0.8, 40, 215, 0.25  # share of the fps; mean grey levels; share of white pixels
_APART_S = 0.003  # stamps of one frame differ by less
_SAME = 1.0  # grey levels: the noise of two cameras differs by more
_VOLTS = ((4.5, 8.5), (10.5, 13.5))  # what a 7.4 V and a 12 V motor are run with


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    LOOK = "look"  # worth knowing; nothing has to be done
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    what: str  # was looked at, in two words
    words: str  # what was found, and what to do about it


def attempt(what: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Give what a check finds; an error that it was made to raise, for people to read, is a finding, too."""
    try:
        yield from check()
    except UserError as error:
        yield Finding(Level.FAIL, what, str(error))


def names() -> Iterator[Finding]:
    """Whether our plain import names lead here: another package of such a name would be imported instead."""
    here = Path(__file__).resolve().parents[2]
    for room in ROOMS:
        spec = importlib.util.find_spec(room)
        found = Path(spec.origin).resolve().parent.parent if spec and spec.origin else None
        if found != here:
            yield Finding(
                Level.FAIL,
                "names",
                f"`import {room}` leads to {found or 'nothing'}, accepted is {here}: another package has this name. "
                f"See which with: uv pip list; then: uv pip uninstall NAME",
            )
            return
    yield Finding(Level.OK, "names", f"{', '.join(ROOMS)} lead to {here}")


def graphics() -> Finding:
    """Whether the simulation could render; an arm does not need it."""
    if ctypes.util.find_library("EGL") or ctypes.util.find_library("OSMesa"):
        return Finding(Level.OK, "OpenGL", "there, for the simulation")
    return Finding(Level.LOOK, "OpenGL", "not there: no simulation. On Debian: apt-get install libegl1 libgl1-mesa-dri")


def accelerator() -> Finding:
    """Which GPU the learner would use."""
    import torch

    if torch.cuda.is_available():
        return Finding(Level.OK, "GPU", torch.cuda.get_device_name())
    return Finding(Level.OK, "GPU", "none; the frozen encoder (the default) learns on the CPU")


def disk(folder: Path, hours: float, spec: ObservationSpec, rate_hz: float) -> Finding:
    """Whether `hours` of episodes fit into `folder`, even if no frame could be compressed."""
    per_step = sum(3 * camera.size_px**2 for camera in spec.cameras) + 4 * spec.state_dim
    need_gb = hours * 3600 * rate_hz * per_step / 1e9
    there = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
    free_gb = shutil.disk_usage(there).free / 1e9
    words = f"{free_gb:.0f} GB free at {there}; {hours:g} h of episodes take at most {need_gb:.1f} GB"
    if free_gb > need_gb:
        return Finding(Level.OK, "disk", words)
    return Finding(Level.FAIL, "disk", f"{words}. Free some, or record elsewhere: --output_dir=...")


def port(path: str) -> Finding:
    """Whose port this is, and that nobody uses it."""
    os.close(claim(path))
    return adapter(path)


def adapter(path: str) -> Finding:
    """Whose port this is, by the serial number of its adapter."""
    device = str(Path(path).resolve())
    known = next((p for p in list_ports.comports() if p.device == device), None)
    if known is None or not known.serial_number:
        return Finding(Level.OK, "port", f"{path} (no USB adapter with a serial number)")
    words = f"{path}: {known.product or 'USB adapter'} with serial number {known.serial_number}"
    stable = next((p for p in Path("/dev/serial/by-id").glob("*") if str(p.resolve()) == device), None)
    if stable and path != str(stable):
        return Finding(Level.LOOK, "port", f"{words}. {path} may be another arm after a restart; {stable} never is")
    return Finding(Level.OK, "port", words)


def motors(path: str) -> Iterator[Finding]:
    """Whether all six answer without an alarm, how warm they are, and their supply."""
    with open_motors(path) as bus, faults("asking the motors", path, "Check the arm's power supply and both cables"):
        yield from servos(bus.ask)


def servos(ask: Callable[[str, str], tuple[int, int]]) -> Iterator[Finding]:
    """What the motors say of themselves; `ask(register, joint)` returns the raw value and the bits of the alarms."""
    volts, warm = [], []
    for joint in JOINTS:
        celsius, alarm = ask("Present_Temperature", joint)
        if words := alarms(joint, alarm):
            yield Finding(Level.FAIL, "alarm", words)
        volts.append(ask("Present_Voltage", joint)[0] / 10)
        warm.append(celsius)
    supply = f"{min(volts):.1f} to {max(volts):.1f} V"
    if not any(low <= min(volts) and max(volts) <= high for low, high in _VOLTS):
        ranges = " or ".join(f"{low:g} to {high:g} V" for low, high in _VOLTS)
        yield Finding(Level.FAIL, "supply", f"{supply}; accepted is {ranges}. Is it the right power supply, with 5 A?")
    else:
        yield Finding(Level.OK, "motors", f"all six answer; {supply}, warmest {max(warm)} °C")
    if max(warm) >= WARM_C:
        level = Level.FAIL if max(warm) >= HOT_C else Level.LOOK
        joint = JOINTS[int(np.argmax(warm))]
        yield Finding(level, "temperature", f"{joint} has {max(warm)} °C; let it cool: hilserl unlock, arm supported")


def calibration(config: RobotConfig) -> Finding:
    """Whether the calibration file is usable, and is that of the motors on this port."""
    robot = make_follower(config)
    require_calibration_file(robot)
    CleanInput(robot.bus)
    try:
        with faults("reading the motors' calibration", robot.config.port, "Check the arm's power supply and cables"):
            robot.bus.connect()
            require_same_calibration(robot)
    finally:
        close_port(robot.bus)
    return Finding(Level.OK, "calibration", f"{robot.calibration_fpath} is what the motors hold")


def cameras(configs: Mapping[str, CameraConfig], wanted: Sequence[CameraSpec]) -> Iterator[Finding]:
    """What each camera gives: size, rate, exposure; that the task's crops fit, and that no two are the same one."""
    missing = [camera.name for camera in wanted if camera.name not in configs]
    if missing:
        yield Finding(
            Level.FAIL,
            "cameras",
            f"the task needs {', '.join(missing)}; --robot.cameras names {', '.join(configs) or 'none'}. "
            "See which there are with: lerobot-find-cameras",
        )
    with open_cameras(configs) as reader:
        yield from pictures(reader, {name: float(config.fps or 0) for name, config in configs.items()}, wanted, LOOK_S)


def pictures(
    reader: CameraReader, promised_fps: Mapping[str, float], wanted: Sequence[CameraSpec], look_s: float
) -> Iterator[Finding]:
    """What open cameras give, after a look of `look_s` at all of them at once."""
    specs, seen = {camera.name: camera for camera in wanted}, dict[str, np.ndarray]()
    for name, (frame, fps) in _watched(reader, look_s).items():
        yield exposed(name, frame, fps, promised_fps[name])
        if name in specs:
            preprocess(frame, specs[name])
        for other, picture in seen.items():
            if picture.shape == frame.shape and np.abs(picture.astype(int) - frame).mean() < _SAME:
                words = f"{name} and {other} show the same picture: is it one camera, named twice?"
                yield Finding(Level.FAIL, "cameras", f"{words} Tell them apart with: lerobot-find-cameras")
        seen[name] = frame


def exposed(name: str, frame: np.ndarray, fps: float, promised_fps: float) -> Finding:
    """What a camera's newest frame, uint8 [H, W, 3], and its measured rate say."""
    mean, white = frame.mean(), (frame == 255).all(axis=2).mean()
    words = f"{frame.shape[1]}x{frame.shape[0]} at {fps:.1f} fps, mean grey {mean:.0f} of 255, {white:.0%} white"
    if fps < _SLOW * promised_fps:
        advice = f"{promised_fps:g} fps were asked for: more light, a shorter exposure, or a USB port of its own"
    elif mean < _DARK:
        advice = "dark: more light, or a longer exposure"
    elif mean > _BRIGHT or white > _WHITE:
        advice = "overexposed: less light, or a shorter exposure"
    else:
        return Finding(Level.OK, f"camera {name}", words)
    return Finding(Level.LOOK, f"camera {name}", f"{words}. {advice}")


def _watched(reader: CameraReader, look_s: float) -> dict[str, tuple[np.ndarray, float]]:
    """Look at all cameras for a while; return the last frame of each, and how many there are in a second."""
    until_s, stamps_s = time.monotonic() + look_s, {name: list[float]() for name in reader.names}
    frames: dict[str, np.ndarray] = {}
    while time.monotonic() < until_s:
        for name, seen_s in stamps_s.items():
            frames[name], stamp_s = reader.newest(name)
            if not seen_s or stamp_s > seen_s[-1] + _APART_S:
                seen_s.append(stamp_s)
        time.sleep(_APART_S)
    return {name: (frames[name], (len(s) - 1) / max(look_s / 2, s[-1] - s[0])) for name, s in stamps_s.items()}
