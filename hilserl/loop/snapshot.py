"""What a person may see of a session, many times a second: a `Snapshot` and the newest picture of each camera.

The session overwrites them; it knows nobody who looks, and nobody who looks can hold it up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from teleop.authority import Authority

SNAPSHOT, PRESSES = "snapshot", "presses"  # files in the live folder of a run


@dataclass(frozen=True)
class Picture:
    """One camera, as published; its pixels, uint8 [height_px, width_px, 3] RGB, follow the snapshot."""

    name: str
    stamp_s: float  # monotonic; when it was taken
    width_px: int
    height_px: int
    crop: tuple[float, float, float, float]  # what the policy or the classifier sees, as fractions: `CameraSpec.crop`


@dataclass(frozen=True)
class Snapshot:
    """A session in one instant."""

    stamp_s: float = 0.0  # monotonic
    authority: str = Authority.HOLDING
    words: str = ""  # what happens, or is waited for
    kind: str = ""  # of the episodes
    drives: str = "policy"
    may_take_over: bool = False
    episode: int = 0  # counts from 1
    episodes: int = 0  # asked for
    running: bool = False  # an episode is open
    limit_steps: int = 0
    rate_hz: float = 10.0
    sources: str = ""  # who acted, a letter a step: p policy, h human, - nobody
    p_success: tuple[float | None, ...] = ()  # one a step
    threshold: float | None = None  # of the detector; none: the person's button decides
    threshold_next: float | None = None  # of the next episode, when the person asked for another one
    p_start: float | None = None  # of success, when the arm was at its start pose last
    hold: int = 0  # frames in a row that it asks for
    connected: bool = True  # the person's device
    deadman: bool = False
    success_held: bool = False
    note: str = ""  # of the device
    late_share: float = 0.0  # of the last ticks: more than a tenth of a period late
    events: tuple[tuple[float, str], ...] = ()  # (monotonic s, words), oldest first
    pictures: tuple[Picture, ...] = ()
    glyphs: Mapping[str, str] = field(default_factory=dict)  # {what: the control on the device that does it}
    last: str = ""  # how the last episode ended, as long as something can be said about it
    limp: bool = False  # the arm was parked and has no force
    celsius: Mapping[str, int] = field(default_factory=dict)  # {joint: temperature} as looked at last
    findings: tuple[tuple[str, str], ...] = ()  # (what, words) of what the look before the session found worth knowing
    ended: bool = False  # the session is over

    def encode(self) -> bytes:
        """Return what the pixels of its pictures follow in a slot: the length of some JSON, and that JSON."""
        text = json.dumps({**vars(self), "pictures": [vars(p) for p in self.pictures]}).encode()
        return len(text).to_bytes(8, "little") + text

    @staticmethod
    def decode(value: bytes) -> tuple[Snapshot, list[np.ndarray]]:
        """Return a snapshot, and the pixels of each of its pictures, that lie in a slot one after the other."""
        size = int.from_bytes(value[:8], "little")
        fields: dict[str, Any] = json.loads(value[8 : 8 + size])
        pictures = tuple(Picture(**{**p, "crop": tuple(p["crop"])}) for p in fields["pictures"])
        pixels, start = [], 8 + size
        for p in pictures:
            shape = (p.height_px, p.width_px, 3)
            pixels.append(np.frombuffer(value, np.uint8, math.prod(shape), start).reshape(shape))
            start += math.prod(shape)
        lists = {"pictures": pictures, "p_success": tuple(fields["p_success"])}
        lists |= {name: tuple(map(tuple, fields[name])) for name in ("events", "findings")}
        return Snapshot(**{**fields, **lists}), pixels
