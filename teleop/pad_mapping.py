"""From raw pad readings to operator states: dead zone, signs, gripper; `teleop.gamepad` is the shell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from teleop.inputs import Button, OperatorState

# SDL's names for the controls, in SDL's order; the same on Xbox, PlayStation, Switch and 8BitDo pads.
AXES = ("leftx", "lefty", "rightx", "righty", "lefttrigger", "righttrigger")
BUTTONS = (
    *("a", "b", "x", "y", "back", "guide", "start", "leftstick", "rightstick"),
    *("leftshoulder", "rightshoulder", "dpup", "dpdown", "dpleft", "dpright"),
)
LABELS = {  # as printed on an Xbox pad
    **{name: name.upper() for name in "abxy"},
    **{"back": "Back", "guide": "Guide", "start": "Start", "leftstick": "L3", "rightstick": "R3"},
    **{"leftshoulder": "LB", "rightshoulder": "RB", "lefttrigger": "LT", "righttrigger": "RT"},
    **{"dpup": "D-pad ↑", "dpdown": "D-pad ↓", "dpleft": "D-pad ←", "dpright": "D-pad →"},
}
_MAX_STEP_S = 0.1  # a stalled loop must not turn one reading into a long squeeze


@dataclass(frozen=True)
class PadMap:
    """Which control does what, by SDL name; `a b x y` are the buttons as printed on an Xbox pad."""

    deadman: str = "rightshoulder"  # held: the person drives
    slow: str = "leftshoulder"  # held: motion × slow_factor
    success: str = "y"
    failure: str = "a"
    discard: str = "x"
    stop: str = "b"
    start: str = "start"
    undo: str = "back"
    forward: str = "lefty"  # stick up: +x, away from the arm's base
    left: str = "leftx"  # stick left: +y
    up: str = "righty"  # stick up: +z
    close: str = "righttrigger"  # squeeze to grasp
    open: str = "lefttrigger"

    def __post_init__(self) -> None:
        """Refuse unknown names and controls with two meanings."""
        used: dict[str, str] = {}
        for f in fields(self):
            control = getattr(self, f.name)
            accepted = AXES[:4] if f.name in _STICKS else AXES[4:] if f.name in _TRIGGERS else BUTTONS
            if control not in accepted:
                raise ValueError(f"pad map: {f.name}={control!r}; accepted are {', '.join(accepted)}")
            if control in used:
                raise ValueError(f"pad map: {control!r} is both {used[control]} and {f.name}; use another")
            used[control] = f.name


_STICKS = ("forward", "left", "up")
_TRIGGERS = ("close", "open")
_EDGES = ("success", "failure", "stop", "start", "undo")  # reported when the button goes down


@dataclass(frozen=True)
class PadFeel:
    """How the pad answers the hand."""

    dead_zone: float = 0.1  # fraction of stick travel without effect; the rest is rescaled to begin at zero
    cubic: float = 0.3  # 0: linear; towards 1: finer near the centre; full deflection is always 1
    slow_factor: float = 0.3  # motion while the slow button is held
    gripper_speed: float = 3.0  # command units per second at full squeeze; closed to open is 2 units
    rearm_hold_s: float = 1.0  # Start held this long re-arms after STOP
    discard_hold_s: float = 0.5  # discard needs a hold: it throws work away

    def __post_init__(self) -> None:
        if not 0 <= self.dead_zone < 1 or not 0 <= self.cubic <= 1 or not 0 <= self.slow_factor <= 1:
            raise ValueError(f"{self}: accepted are dead_zone in [0, 1), cubic and slow_factor in [0, 1]")
        if min(self.gripper_speed, self.rearm_hold_s, self.discard_hold_s) <= 0:
            raise ValueError(f"{self}: gripper_speed and the hold times must be positive")


@dataclass(frozen=True)
class PadReading:
    """What the device says: SDL's signs (right and down are positive), unmapped."""

    stamp_s: float  # monotonic
    axes: Mapping[str, float]  # {SDL name: sticks in [-1, 1], triggers in [0, 1]}
    held: frozenset[str] = frozenset()  # SDL names of buttons that are down
    pressed: frozenset[str] = frozenset()  # those that went down since the last reading, also when up again
    connected: bool = True


@dataclass(frozen=True)
class PadMemory:
    """What one reading has to know of those before it."""

    stamp_s: float = float("inf")
    gripper: float = 1.0
    rested: frozenset[str] = frozenset()  # controls seen at rest since the pad was connected
    down_since_s: Mapping[str, float] = field(default_factory=dict)  # buttons with a hold time


def interpret(reading: PadReading, memory: PadMemory, pad: PadMap, feel: PadFeel) -> tuple[OperatorState, PadMemory]:
    """Return the operator's state in the base frame (x forward, y left, z up) and the next memory.

    A control counts only once it was seen at rest since the pad was connected: some pads report half a
    squeeze until first touched, and a deadman that is down while the cable goes in is no decision to drive.
    """
    pressed = {Button(name) for name in _EDGES if getattr(pad, name) in reading.pressed}
    if not reading.connected:
        idle = OperatorState(reading.stamp_s, False, gripper=memory.gripper, pressed=frozenset(pressed))
        return idle, PadMemory(reading.stamp_s, memory.gripper)

    at_rest = {a for a, value in reading.axes.items() if abs(value) <= max(feel.dead_zone, 0.05)}
    rested = memory.rested | at_rest | (frozenset(BUTTONS) - reading.held)
    held = reading.held & rested
    axis = {a: reading.axes.get(a, 0.0) if a in rested else 0.0 for a in AXES}

    move = np.array([*_shape((-axis[pad.forward], -axis[pad.left]), feel), *_shape((-axis[pad.up],), feel)])
    if pad.slow in held:
        move *= feel.slow_factor

    deadman = pad.deadman in held
    gripper = memory.gripper
    if deadman:  # the gripper is motion too
        squeeze = _shape((axis[pad.open],), feel)[0] - _shape((axis[pad.close],), feel)[0]
        elapsed_s = min(max(reading.stamp_s - memory.stamp_s, 0.0), _MAX_STEP_S)
        gripper = float(np.clip(gripper + squeeze * feel.gripper_speed * elapsed_s, -1, 1))

    since: dict[str, float] = {}
    for name, button, hold_s in (
        (pad.start, Button.REARM, feel.rearm_hold_s),
        (pad.discard, Button.DISCARD, feel.discard_hold_s),
    ):
        if name not in held:
            continue
        fresh = name in reading.pressed or name not in memory.down_since_s
        since[name] = reading.stamp_s if fresh else memory.down_since_s[name]
        if since[name] + hold_s <= reading.stamp_s:
            pressed.add(button)
            since[name] = float("inf")  # once per hold

    state = OperatorState(
        stamp_s=reading.stamp_s,
        deadman=deadman,
        move=move.astype(np.float32),
        gripper=gripper,
        success_held=pad.success in held,
        pressed=frozenset(pressed),
    )
    return state, PadMemory(reading.stamp_s, gripper, rested, since)


def _shape(stick: tuple[float, ...], feel: PadFeel) -> np.ndarray:
    """Apply the radial dead zone and the curve: continuous, odd, direction-preserving, norm at most 1."""
    vector = np.asarray(stick, np.float64)
    radius = float(np.linalg.norm(vector))
    if radius <= feel.dead_zone:
        return np.zeros_like(vector)
    travel = min(1.0, (radius - feel.dead_zone) / (1 - feel.dead_zone))
    return vector / radius * ((1 - feel.cubic) * travel + feel.cubic * travel**3)
