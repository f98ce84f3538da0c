"""A gamepad inside SDL: the real stack above the kernel, without a device, a display or root.

Tests get a factory for it as the fixture `new_pad` (tests/teleop/conftest.py).
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import pygame

from teleop.pad_mapping import AXES, BUTTONS


def library() -> Path | None:
    """Return the SDL that pygame itself has loaded (another copy would have its own devices), or None."""
    root = Path(pygame.__file__).parent
    places = (root.parent / "pygame.libs", root / ".dylibs", root)  # Linux, macOS, Windows wheels
    found = (f for place in places for f in place.glob("*SDL2-2*" if place != root else "SDL2.dll"))
    return next(found, None)


_NUMBERS = ("version", "type", "naxes", "nbuttons", "nhats", "vendor", "product", "padding")
_MASKS = ("button_mask", "axis_mask")
_POINTERS = ("userdata", "update", "player", "rumble", "triggers", "led", "effect")


class _Description(ctypes.Structure):
    """SDL_VirtualJoystickDesc of SDL 2.28."""

    _fields_ = (
        *((n, ctypes.c_uint16) for n in _NUMBERS),
        *((n, ctypes.c_uint32) for n in _MASKS),
        ("name", ctypes.c_char_p),
        *((n, ctypes.c_void_p) for n in _POINTERS),
    )


class VirtualPad:
    """A controller that exists only inside SDL, driven through the library that pygame itself has loaded."""

    def __init__(self, library: Path, name: str = "Virtual Test Pad", kind: int = 1) -> None:
        self._sdl = sdl = ctypes.CDLL(str(library))
        sdl.SDL_JoystickOpen.restype = ctypes.c_void_p
        sdl.SDL_JoystickSetVirtualAxis.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int16]
        sdl.SDL_JoystickSetVirtualButton.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint8]
        sdl.SDL_JoystickClose.argtypes = [ctypes.c_void_p]
        self.rumbles: list[tuple[int, int]] = []
        callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint16, ctypes.c_uint16)
        self._on_rumble = callback(lambda _, low, high: self.rumbles.append((low, high)) or 0)
        self._description = _Description(version=1, type=kind, naxes=6, nbuttons=15, name=name.encode())
        self._description.rumble = ctypes.cast(self._on_rumble, ctypes.c_void_p).value
        self._index = -1

    def plug(self) -> VirtualPad:
        self._index = self._sdl.SDL_JoystickAttachVirtualEx(ctypes.byref(self._description))
        assert self._index >= 0
        self._handle = self._sdl.SDL_JoystickOpen(self._index)
        return self

    def unplug(self) -> None:
        if self._index >= 0:
            self._sdl.SDL_JoystickClose(self._handle)
            self._sdl.SDL_JoystickDetachVirtual(self._index)
            self._index = -1

    def axis(self, name: str, value: float) -> None:
        """Set a stick in [-1, 1], SDL's signs, or a trigger in [0, 1]."""
        raw = 2 * value - 1 if name.endswith("trigger") else value
        assert self._sdl.SDL_JoystickSetVirtualAxis(self._handle, AXES.index(name), round(raw * 32767)) == 0

    def press(self, name: str, down: bool = True) -> None:
        assert self._sdl.SDL_JoystickSetVirtualButton(self._handle, BUTTONS.index(name), down) == 0

    def release(self, name: str) -> None:
        self.press(name, False)

    def tap(self, name: str) -> None:
        """Press and release, both seen by SDL, both before the next reading."""
        for down in (True, False):
            self.press(name, down)
            self._sdl.SDL_JoystickUpdate()
