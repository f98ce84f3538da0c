"""Where a session shows itself: it says what it does, and the newest of that lies in a slot for whoever looks."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import cv2
import numpy as np

from data.schema import Source
from data.spec import CameraSpec
from hilserl.loop.session import SessionConfig
from hilserl.loop.slot import Slot
from hilserl.loop.snapshot import Picture, Snapshot
from hilserl.robot.fault import RobotFault
from teleop.authority import Authority
from teleop.inputs import OperatorState

RATE_HZ = 15.0  # at most; faster is not seen
WIDTH_PX = 640  # of a published picture at most
EVENTS = 12  # the newest ones
TEXT = 1 << 16  # bytes that are kept for the snapshot itself
TICKS = 100  # over which lateness is counted
LATE = 0.1  # of a period
_LETTERS = {Source.POLICY: "p", Source.HUMAN: "h", Source.EXPERT: "h", Source.HOLD: "-"}


class Newest(Protocol):
    """Cameras whose newest frame can be looked at."""

    def newest(self, name: str) -> tuple[np.ndarray, float]:
        """Return a frame, uint8 [H, W, 3] RGB, and its stamp [s]; RobotFault when there is none."""


class Window:
    """One session's. Without a slot nobody looks, and nothing is shown; nothing else is different."""

    def __init__(
        self,
        slot: Slot | None = None,
        cameras: Newest | None = None,
        specs: Sequence[CameraSpec] = (),
        first: Snapshot | None = None,
        celsius: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """Show these cameras in `slot`; `first` holds what stays as it is; `celsius` tells how warm each motor is."""
        self._slot, self._cameras, self._specs = slot, cameras, specs
        self._now, self._celsius = first or Snapshot(), celsius
        self._shown_s = -math.inf
        self._ticks: deque[float] = deque(maxlen=TICKS)  # when each was over [s of the arm's clock]

    def begin(self, session: SessionConfig) -> None:
        """Another stretch of episodes begins."""
        self._now = replace(
            self._now,
            kind=session.kind,
            drives=session.drives,
            may_take_over=session.may_take_over,
            episodes=session.episodes,
            episode=0,
            sources="",
            p_success=(),
        )

    def say(self, words: str) -> None:
        """Show a few words until the next ones."""
        self._now = replace(self._now, words=words)
        self.mention(words)

    def mention(self, words: str) -> None:
        """Show a few words among what happened; what is waited for stays in sight."""
        self._now = replace(self._now, events=(*self._now.events, (time.monotonic(), words))[-EVENTS:])

    def note(self, **fields: object) -> None:
        """Show these fields of the snapshot until they are noted again."""
        self._now = replace(self._now, **fields)  # type: ignore[arg-type]

    def episode(self, number: int, limit_steps: int) -> None:
        """Episode `number`, from 1, is next: nothing has happened in it yet."""
        self._now = replace(self._now, episode=number, limit_steps=limit_steps, sources="", p_success=())
        self._ticks.clear()

    def step(self, source: Source, probability: float, now_s: float) -> None:
        """One step of the episode is over; `now_s` by the arm's clock."""
        p = None if math.isnan(probability) else round(probability, 3)
        self._ticks.append(now_s)
        self._now = replace(
            self._now,
            sources=self._now.sources + _LETTERS[source],
            p_success=(*self._now.p_success, p),
            late_share=late_share(self._ticks, self._now.rate_hz),
        )

    def look(self, authority: Authority, state: OperatorState, *, running: bool) -> None:
        """Show what there is: at once when the authority changed, else `RATE_HZ` times a second at most."""
        now_s = time.monotonic()
        if self._slot is None or (authority == self._now.authority and now_s - self._shown_s < 1 / RATE_HZ):
            return
        self._now = replace(
            self._now,
            authority=authority,
            running=running,
            connected=state.connected,
            deadman=state.deadman,
            success_held=state.success_held,
            note=state.note.partition("\n")[0],
            celsius=dict(self._celsius()),
        )
        self._show(now_s)

    def end(self) -> None:
        """The session is over."""
        self._now = replace(self._now, ended=True, running=False)
        self._show(time.monotonic())

    def _show(self, now_s: float) -> None:
        if self._slot is None:
            return
        self._shown_s = now_s
        found = [(spec, *frame) for spec in self._specs if (frame := self._newest(spec.name)) is not None]
        while sum(frame.nbytes for _, frame, _ in found) > self._slot.capacity - TEXT:  # rather too few than none
            found.pop()
        pictures = (Picture(s.name, stamp_s, f.shape[1], f.shape[0], s.crop) for s, f, stamp_s in found)
        self._now = replace(self._now, stamp_s=now_s, pictures=tuple(pictures))
        self._slot.put(self._now.encode(), *(frame for _, frame, _ in found))

    def _newest(self, name: str) -> tuple[np.ndarray, float] | None:
        if self._cameras is None:
            return None
        try:
            frame, stamp_s = self._cameras.newest(name)
        except RobotFault:  # the tick finds it, too, and acts on it; here it is only not shown
            return None
        height, width = frame.shape[:2]
        if width > WIDTH_PX:
            frame = cv2.resize(frame, (WIDTH_PX, height * WIDTH_PX // width), interpolation=cv2.INTER_NEAREST)
        return frame, stamp_s


def late_share(ticks_s: Sequence[float], rate_hz: float) -> float:
    """Return the share of ticks that came more than `LATE` of a period after their turn; 0 before the second one."""
    periods = np.diff(ticks_s) * rate_hz
    return round(float((periods > 1 + LATE).mean()), 3) if len(periods) else 0.0
