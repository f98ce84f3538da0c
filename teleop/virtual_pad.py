"""A gamepad inside SDL: the real stack above the kernel, without a device, a display or root.

It exists in the process that reads it. `--teleop.type=virtual_pad` is such a pad, steered by the lines that an
emulated rig writes to a file, and read by the very class that reads all other gamepads.
"""

from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import UserError
from teleop.gamepad import Gamepad, GamepadConfig, start_sdl
from teleop.inputs import Operator, OperatorConfig, OperatorState
from teleop.pad_mapping import AXES, BUTTONS

NAME = "Virtual Rig Pad"
_CONTROLS = {"press": BUTTONS, "release": BUTTONS, "tap": BUTTONS, "axis": AXES, "plug": ("",), "unplug": ("",)}
_NUMBERS = ("version", "type", "naxes", "nbuttons", "nhats", "vendor", "product", "padding")
_MASKS = ("button_mask", "axis_mask")
_POINTERS = ("userdata", "update", "player", "rumble", "triggers", "led", "effect")


def pad_event(act: str, control: str = "", value: float = 0.0) -> dict[str, Any]:
    """Return a line for the file: press, release or tap a button, set an axis, unplug or plug.

    Raises:
        ValueError: there is no such act, or no such control for it; the message lists what is accepted.
    """
    if act not in _CONTROLS:
        raise ValueError(f"act is {act!r}; accepted are {', '.join(_CONTROLS)}")
    if control not in _CONTROLS[act] or not -1 <= value <= 1:
        raise ValueError(
            f"control is {control!r}, value {value}; {act} accepts {', '.join(_CONTROLS[act]) or 'none'} and [-1, 1]"
        )
    return {"act": act, "control": control, "value": value}


@OperatorConfig.register_subclass("virtual_pad")
@dataclass(frozen=True)
class VirtualPadConfig(GamepadConfig):
    """`--teleop.type=virtual_pad`: the gamepad of an emulated rig."""

    device: str = NAME
    events: Path = Path("runs/rig/pad.events")  # where the rig writes what is done to it

    def connect(self) -> Operator:
        """Plug it in and open it; UserError when there is no rig with a gamepad."""
        if not self.events.exists():
            raise UserError(
                f"no rig writes to {self.events}; start one with: hilserl rig --gamepad --directory=DIR, and name "
                "its file as it says: --teleop.events=DIR/pad.events"
            )
        return SteeredPad(self)


class SteeredPad(Gamepad):
    """A `Gamepad` on a pad in this process, which does what is written to the file from now on."""

    def __init__(self, config: VirtualPadConfig) -> None:
        """Plug the pad in, then open it."""
        start_sdl()
        found = library()
        if found is None:
            raise UserError("pygame's own SDL2 library was not found, so there is no virtual gamepad on this machine")
        self._virtual = VirtualPad(found, NAME).plug()
        self._events = config.events.open()
        self._events.seek(0, 2)
        super().__init__(config)

    def read(self) -> OperatorState:
        """Do what is new in the file, then read the pad."""
        for line in () if self._events.closed else self._events.readlines():
            event = json.loads(line)
            if event["act"] == "axis":
                self._virtual.axis(event["control"], event["value"])
            elif event["control"]:
                getattr(self._virtual, event["act"])(event["control"])
            else:
                getattr(self._virtual, event["act"])()
        return super().read()

    def close(self) -> None:
        """Release pad and file."""
        if not self._events.closed:
            self._events.close()
            self._virtual.unplug()
        super().close()


def library() -> Path | None:
    """Return the SDL that pygame itself has loaded (another copy would have its own devices), or None."""
    import pygame

    root = Path(pygame.__file__).parent
    places = (root.parent / "pygame.libs", root / ".dylibs", root)  # Linux, macOS, Windows wheels
    found = (f for place in places for f in place.glob("*SDL2-2*" if place != root else "SDL2.dll"))
    return next(found, None)


class _Description(ctypes.Structure):
    """SDL_VirtualJoystickDesc of SDL 2.28."""

    _fields_ = (
        *((n, ctypes.c_uint16) for n in _NUMBERS),
        *((n, ctypes.c_uint32) for n in _MASKS),
        ("name", ctypes.c_char_p),
        *((n, ctypes.c_void_p) for n in _POINTERS),
    )


class VirtualPad:
    """A controller that exists only inside SDL, driven through pygame's own library. Unplugged, it does nothing."""

    def __init__(self, library: Path, name: str = "Virtual Test Pad", kind: int = 1) -> None:
        """Describe a pad (SDL's joystick type `kind`; 1 is a game controller); `start_sdl` comes first."""
        self._sdl = sdl = ctypes.CDLL(str(library))
        sdl.SDL_JoystickOpen.restype = ctypes.c_void_p
        sdl.SDL_JoystickSetVirtualAxis.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int16]
        sdl.SDL_JoystickSetVirtualButton.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint8]
        sdl.SDL_JoystickClose.argtypes = [ctypes.c_void_p]
        self.rumbles: list[tuple[int, int]] = []
        callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint16, ctypes.c_uint16)
        self._on_rumble = callback(self._rumble)
        self._description = _Description(version=1, type=kind, naxes=6, nbuttons=15, name=name.encode())
        self._description.rumble = ctypes.cast(self._on_rumble, ctypes.c_void_p).value
        self._index = -1

    def plug(self) -> VirtualPad:
        """Attach it, also again after `unplug`; a second call does nothing."""
        if self._index >= 0:
            return self
        self._index = self._sdl.SDL_JoystickAttachVirtualEx(ctypes.byref(self._description))
        if self._index < 0:
            raise RuntimeError("SDL refused the virtual pad")
        self._handle = self._sdl.SDL_JoystickOpen(self._index)
        return self

    def unplug(self) -> None:
        """Detach it; a second call does nothing."""
        if self._index >= 0:
            self._sdl.SDL_JoystickClose(self._handle)
            self._sdl.SDL_JoystickDetachVirtual(self._index)
            self._index = -1

    def axis(self, name: str, value: float) -> None:
        """Set a stick in [-1, 1], SDL's signs, or a trigger in [0, 1]."""
        raw = 2 * value - 1 if name.endswith("trigger") else value
        if self._index >= 0:
            self._sdl.SDL_JoystickSetVirtualAxis(self._handle, AXES.index(name), round(raw * 32767))

    def press(self, name: str, down: bool = True) -> None:
        """Press a button, and keep it down."""
        if self._index >= 0:
            self._sdl.SDL_JoystickSetVirtualButton(self._handle, BUTTONS.index(name), down)

    def release(self, name: str) -> None:
        """Let a button go."""
        self.press(name, False)

    def tap(self, name: str) -> None:
        """Press and release, both seen by SDL, both before the next reading."""
        for down in (True, False):
            self.press(name, down)
            self._sdl.SDL_JoystickUpdate()

    def _rumble(self, _: object, low: int, high: int) -> int:
        self.rumbles.append((low, high))
        return 0
