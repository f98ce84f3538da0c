"""Domain randomisation: a distribution over tables, drawn anew at every reset (research page, sections 3.4 and 5.64).

Every axis draws a fixed number of uniforms, whether it is switched on or not: with equal seeds, an axis alone takes
the values that it takes among the others.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data.errors import UserError
from sim_pretrain.world.profile import Vec3, WorldProfile

TABLES: tuple[Vec3, ...] = (  # from dark to light
    (0.16, 0.15, 0.15),  # black mat
    (0.42, 0.28, 0.17),  # dark wood
    (0.46, 0.46, 0.47),  # grey
    (0.66, 0.50, 0.33),  # light wood
    (0.74, 0.68, 0.57),  # beige
    (0.86, 0.86, 0.84),  # white
)
ROBOTS: tuple[Vec3, ...] = (
    (0.13, 0.13, 0.14),  # black
    (0.93, 0.45, 0.10),  # orange
    (0.88, 0.66, 0.15),  # dark yellow
    (0.96, 0.84, 0.30),  # light yellow
    (0.90, 0.90, 0.88),  # white
)
TARGETS: tuple[Vec3, ...] = ((0.62, 0.66, 0.70), (0.90, 0.86, 0.76), (0.94, 0.94, 0.93))  # grey, cream, white


@dataclass(frozen=True)
class Randomization:
    """How far a table may be from its base profile; each field but `scale` is named after the field that it moves.

    Draws are uniform. 0 switches an axis off. Factors are shares of the base value.

    Raises:
        UserError: a width that is negative or not finite.
    """

    scale: float = 1.0  # multiplies every width below: 0 is always the base table, 0.5 half as far, 2 twice as far
    # What the cameras see
    wrist_position_m: float = 0.005  # ± on each axis
    wrist_tilt_deg: float = 4.0  # ± about each axis
    wrist_fovy_deg: float = 4.0  # ±
    front_position_m: float = 0.05  # ± on each axis
    front_target_m: float = 0.02  # ± on each axis
    front_fovy_deg: float = 4.0  # ±
    brightness: float = 0.3  # ± as a factor: the camera's exposure
    white_balance: float = 0.08  # ± as a factor, channel by channel
    gamma: float = 0.15  # ± as a factor
    image_noise: float = 6.0  # up to this much more
    light_diffuse: float = 0.35  # ± as a factor
    light_ambient: float = 0.35  # ± as a factor
    light_position_m: float = 0.8  # ± along x and y, a third of it upwards: where light and shade fall
    table_rgb: float = 1.0  # of the way to a colour of `TABLES`; its checker's contrast varies along
    robot_rgb: float = 1.0  # of the way to a colour of `ROBOTS`
    target_rgb: float = 1.0  # of the way to a colour of `TARGETS`
    cube_rgb: float = 12.0  # ± degrees of hue; saturation and value lose up to 2.5 percent per degree
    # How the metal moves
    servo_gain: float = 0.3  # ± as a factor
    servo_damping: float = 0.3  # ± as a factor
    servo_torque_nm: float = 0.15  # ± as a factor
    gripper_torque_nm: float = 0.2  # ± as a factor
    joint_offset_deg: float = 1.5  # ± on each joint
    backlash_deg: float = 1.0  # up to this much more
    action_latency_s: float = 0.06  # up to this much more
    observation_latency_s: float = 0.02  # up to this much more
    camera_latency_s: float = 0.08  # up to this much more
    pad_friction: float = 0.4  # ± as a factor
    cube_half_m: float = 0.003  # ±
    cube_mass_kg: float = 0.5  # ± as a factor

    def __post_init__(self) -> None:
        for name, width in vars(self).items():
            if not (math.isfinite(width) and width >= 0):
                raise UserError(f"randomization.{name} is {width}; accepted is 0, which switches it off, or more")

    @staticmethod
    def axes() -> tuple[str, ...]:
        """Return the names of everything that varies."""
        return tuple(_AXES)

    def only(self, *names: str) -> Randomization:
        """Return this distribution with every axis but these switched off.

        Raises:
            UserError: an unknown axis; the message lists those that exist.
        """
        unknown = sorted(set(names) - set(_AXES))
        if unknown:
            raise UserError(f"there is no randomisation of {', '.join(unknown)}; accepted are {', '.join(_AXES)}")
        return replace(self, **{name: 0.0 for name in _AXES if name not in names})

    def sample[P: WorldProfile](self, rng: np.random.Generator, base: P) -> P:
        """Draw a table around `base`."""
        units = rng.uniform(-1.0, 1.0, sum(axis.draws for axis in _AXES.values()))
        return self._at(base, units)

    def extremes[P: WorldProfile](self, name: str, base: P) -> tuple[P, P]:
        """Return `base` with one axis at its lower end and at its upper end; a colour's ends are its first and last."""
        alone = self.only(name)
        up = np.concatenate([axis.upwards or (1.0,) * axis.draws for axis in _AXES.values()])
        return alone._at(base, -up), alone._at(base, up)

    def _at[P: WorldProfile](self, base: P, units: np.ndarray) -> P:
        """Return the table that belongs to draws in [-1, 1]."""
        changes: dict[str, Any] = {}
        taken = 0
        for name, axis in _AXES.items():
            draws, taken = units[taken : taken + axis.draws], taken + axis.draws
            width = getattr(self, name) * self.scale
            if width > 0:
                moved = axis.move(base, name, width, draws)
                changes |= {n: np.minimum(np.maximum(v, axis.low), axis.high).tolist() for n, v in moved.items()}
        for field, values in changes.items():
            changes[field] = tuple(values) if isinstance(getattr(base, field), tuple) else values[0]
        table = replace(base, **changes)
        if {"table_rgb", "target_rgb"} & set(changes) and _apart(table.target_rgb, table.table_rgb) < 0.2:
            # Nobody lays out white paper on a white table.
            table = replace(table, target_rgb=max(TARGETS, key=lambda rgb: _apart(rgb, table.table_rgb)))
        return table


Move = Callable[[WorldProfile, str, float, np.ndarray], dict[str, Any]]


@dataclass(frozen=True)
class _Axis:
    draws: int
    move: Move
    low: float = -math.inf
    high: float = math.inf
    upwards: tuple[float, ...] = ()  # draws at its upper end; the lower end is opposite; default: all 1


def _offset(base: WorldProfile, name: str, width: float, draws: np.ndarray) -> dict[str, Any]:
    return {name: np.add(getattr(base, name), width * draws)}


def _factor(base: WorldProfile, name: str, width: float, draws: np.ndarray) -> dict[str, Any]:
    return {name: np.multiply(getattr(base, name), 1 + width * draws)}


def _more(base: WorldProfile, name: str, width: float, draws: np.ndarray) -> dict[str, Any]:
    return {name: np.add(getattr(base, name), width * (draws + 1) / 2)}


def _light(base: WorldProfile, name: str, width: float, draws: np.ndarray) -> dict[str, Any]:
    return {name: np.add(getattr(base, name), width * draws * (1, 1, 1 / 3))}


def _cube(base: WorldProfile, name: str, width: float, draws: np.ndarray) -> dict[str, Any]:
    """Keep what the cube is called, red or green: turn its hue, fade and darken it."""
    hue, saturation, value = colorsys.rgb_to_hsv(*getattr(base, name))
    hue, loss = hue + width / 360 * draws[0], 0.025 * width * (1 - draws[1:]) / 2
    return {name: np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation * (1 - loss[0]), value * (1 - loss[1])))}


def _table(base: WorldProfile, name: str, width: float, draws: np.ndarray) -> dict[str, Any]:
    first = _picked(TABLES, draws)
    second = first * (1 + 0.25 * draws[4])
    return {"table_rgb": _towards(base.table_rgb, first, width), "table_rgb2": _towards(base.table_rgb2, second, width)}


def _paint(palette: tuple[Vec3, ...]) -> Move:
    return lambda base, name, width, draws: {name: _towards(getattr(base, name), _picked(palette, draws), width)}


def _picked(palette: tuple[Vec3, ...], draws: np.ndarray) -> np.ndarray:
    """Return a colour of the palette, a little off."""
    return np.array(palette[min(len(palette) - 1, int((draws[0] + 1) / 2 * len(palette)))]) + 0.05 * draws[1:4]


def _apart(a: Vec3, b: Vec3) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def _towards(base: Vec3, there: np.ndarray, share: float) -> np.ndarray:
    return np.array(base) + share * (there - base)


_AXES = {  # limits: what no table exceeds, whatever the base and the scale
    "wrist_position_m": _Axis(3, _offset),
    "wrist_tilt_deg": _Axis(3, _offset),
    "wrist_fovy_deg": _Axis(1, _offset, 30.0, 110.0),
    "front_position_m": _Axis(3, _offset),
    "front_target_m": _Axis(3, _offset),
    "front_fovy_deg": _Axis(1, _offset, 20.0, 100.0),
    "brightness": _Axis(1, _factor, 0.2, 3.0),
    "white_balance": _Axis(3, _factor, 0.5, 2.0, upwards=(1.0, 0.0, -1.0)),
    "gamma": _Axis(1, _factor, 0.4, 2.5),
    "image_noise": _Axis(1, _more, 0.0, 60.0),
    "light_diffuse": _Axis(1, _factor, 0.1, 2.0),
    "light_ambient": _Axis(1, _factor, 0.1, 1.0),
    "light_position_m": _Axis(3, _light),
    "table_rgb": _Axis(5, _table, 0.0, 1.0),
    "robot_rgb": _Axis(4, _paint(ROBOTS), 0.0, 1.0),
    "target_rgb": _Axis(4, _paint(TARGETS), 0.0, 1.0),
    "cube_rgb": _Axis(3, _cube, 0.0, 1.0),
    "servo_gain": _Axis(1, _factor, 15.0, 200.0),
    "servo_damping": _Axis(1, _factor, 0.3, 10.0),
    "servo_torque_nm": _Axis(1, _factor, 1.0, 10.0),
    "gripper_torque_nm": _Axis(1, _factor, 0.4, 10.0),
    "joint_offset_deg": _Axis(6, _offset),
    "backlash_deg": _Axis(1, _more),
    "action_latency_s": _Axis(1, _more),
    "observation_latency_s": _Axis(1, _more),
    "camera_latency_s": _Axis(1, _more),
    "pad_friction": _Axis(1, _factor, 0.4, 3.0),
    "cube_half_m": _Axis(1, _offset, 0.010, 0.020),
    "cube_mass_kg": _Axis(1, _factor, 0.005, 0.2),
}
