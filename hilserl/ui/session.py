"""The operator's page of a session: what the session publishes goes out to every tab, what one tab presses goes back.

Each picture is encoded once, whoever looks. Every tab has a task of its own that sends it the newest state and nothing
older, so one that does not read misses pictures and disturbs nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from hilserl.loop.slot import Slot, live_folder, mapped
from hilserl.loop.snapshot import PRESSES, SNAPSHOT, Snapshot
from hilserl.ui.address import Address
from hilserl.ui.banner import banner
from hilserl.ui.progress import Light, Progress, arm_light
from hilserl.ui.refusals import THRESHOLD, refusal
from hilserl.ui.resume import RESUME
from hilserl.ui.scene_check import SceneCheck
from hilserl.ui.web import application, page
from teleop.inputs import Button
from teleop.page_buttons import MAX_AGE_S, SIZE, Presses

POLL_S = 0.01  # between two looks at the slot
QUIET_S = 0.5  # a tab hears this often at least
PROGRESS_S = 1.0  # between two readings of the run
WIDTH_PX, QUALITY = 480, 80  # of a picture on the page, at most
BETWEEN_S = 0.02  # two commands of one tab; faster ones wait in its own connection
HOLDS = "holds"  # the command that success is held down


class Tab:
    """One browser tab."""

    def __init__(self) -> None:
        self.replies: deque[str] = deque(maxlen=4)  # why what it pressed was not done
        self.sent: dict[int, float] = {}  # camera: stamp of the picture that it has
        self.progress = 0  # number of the progress that it has


class Session:
    """What all tabs share."""

    def __init__(self, run: Path) -> None:
        """Watch the sessions of a run directory, one after the other."""
        folder = live_folder(run)
        self._slot = Slot(folder / SNAPSHOT)
        self._presses = Presses(memoryview(mapped(folder / PRESSES, SIZE)))
        self._run, self._reader, self.scene = run, Progress(run), SceneCheck(run)
        self._began = False  # an episode has run in this session
        self._begun_s = time.monotonic()  # what was shown before is of an earlier session
        self._operator: Tab | None = None
        self._changed = asyncio.Event()  # set, and replaced, at every change
        self.snapshot: Snapshot | None = None
        self.pixels: dict[str, np.ndarray] = {}
        self.jpegs: list[bytes] = []
        nothing: dict[str, Any] = {"run": run.name, "tiles": {}, "bars": [], "lights": [], "guide": {}, "scene": []}
        self.progress = (0, nothing)

    async def watch(self) -> None:
        """Follow the slot."""
        seen, snapshot, pixels = -1, None, list[np.ndarray]()
        while True:
            found = self._slot.get() if self._slot.sequence != seen else None
            if found is not None:
                seen, value = found
                with contextlib.suppress(TypeError, ValueError, KeyError):  # what an older program left behind
                    snapshot, pixels = Snapshot.decode(value)
                if snapshot is not None and snapshot.stamp_s >= self._begun_s:
                    self.snapshot, self.jpegs = snapshot, [jpeg(p) for p in pixels]
                    self._began |= snapshot.running
                    self.pixels = {p.name: image for p, image in zip(snapshot.pictures, pixels, strict=True)}
                    self.tell()
            await asyncio.sleep(POLL_S)

    async def read_progress(self) -> None:
        """Follow the run directory."""
        while True:
            try:
                found = await asyncio.to_thread(self._look)
            except Exception as error:  # whatever a damaged file leads to; the session is shown all the same
                found = {**self.progress[1], "lights": [vars(Light("run", "bad", f"cannot be read: {error}"))]}
            if found != self.progress[1]:
                self.progress = (self.progress[0] + 1, found)
                self.tell()
            await asyncio.sleep(PROGRESS_S)

    def _look(self) -> dict[str, Any]:
        scene, found, s = self.scene.look(self.snapshot, self.pixels), self._reader.read(), self.snapshot
        warm = [vars(arm_light(s.celsius))] if s is not None and s.celsius else []
        card = self._run / RESUME
        resume = json.loads(card.read_text()) if not self._began and card.exists() else None
        return {**found, "lights": warm + found["lights"], "scene": [vars(light) for light in scene], "resume": resume}

    async def ghost(self, request: Request) -> Response:
        """Answer with what a camera usually sees at a start, within its crop."""
        reference = self.scene.reference(request.path_params["camera"])
        if reference is None:
            return Response(status_code=404)
        return Response(jpeg(reference), media_type="image/jpeg")

    def tell(self) -> None:
        """Wake every tab's task."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def socket(self, ws: WebSocket) -> None:
        """Serve one tab until it is closed."""
        await ws.accept()
        tab = Tab()
        self._operator = self._operator or tab
        sends = asyncio.create_task(self._send(ws, tab))
        sends.add_done_callback(lambda task: None if task.cancelled() else task.exception())
        try:
            while not sends.done():
                text = await ws.receive_text()
                if why := self.command(tab, text):
                    tab.replies.append(why)
                self.tell()
                await asyncio.sleep(BETWEEN_S)
        except (WebSocketDisconnect, RuntimeError, KeyError):  # closed; dropped by `_send`; sent us bytes
            pass
        finally:
            sends.cancel()
            if self._operator is tab:
                self._operator = None
            self.tell()

    async def _send(self, ws: WebSocket, tab: Tab) -> None:
        while True:
            changed = self._changed
            for part in self.news(tab):
                await (ws.send_bytes(part) if isinstance(part, bytes) else ws.send_text(part))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), QUIET_S)

    def news(self, tab: Tab) -> list[str | bytes]:
        """Return what a tab does not have yet: the state always, pictures and progress when they are new."""
        now_s, s = time.monotonic(), self.snapshot
        age_s = now_s - s.stamp_s if s else 0.0
        state: dict[str, Any] = {"now_s": now_s, "operates": tab is self._operator, "taken": self._operator is not None}
        place = self.progress[1].get("guide", {}).get("place") or {}
        state["banner"] = vars(banner(s, age_s, place.get("words", "")))
        if s is not None:
            state["session"] = {k: v for k, v in vars(s).items() if k != "pictures"}
            state["pictures"] = [{**vars(p), "age_s": round(now_s - p.stamp_s, 3)} for p in s.pictures]
        if tab.progress != self.progress[0]:
            tab.progress, state["progress"] = self.progress
        parts: list[str | bytes] = [json.dumps({"reply": tab.replies.popleft()}) for _ in range(len(tab.replies))]
        parts.append(json.dumps(state))
        for number, (picture, data) in enumerate(zip(s.pictures if s else (), self.jpegs, strict=False)):
            if tab.sent.get(number) != picture.stamp_s:
                tab.sent[number] = picture.stamp_s
                parts.append(bytes([number]) + data)
        return parts

    def command(self, tab: Tab, text: str) -> str:
        """Do what a tab says, or return why not. STOP counts from any tab, however late."""
        try:
            said = json.loads(text)
            does, at_s, threshold = str(said["do"]), float(said["at_s"]), float(said.get("threshold", 0))
        except (ValueError, TypeError, KeyError):
            return "not understood"
        now_s = time.monotonic()
        if does == Button.STOP.value:
            self._presses.give(Button.STOP, now_s)
            return ""
        if not abs(now_s - at_s) <= MAX_AGE_S:  # NaN, too
            return f"too late, not done: {does} was pressed {now_s - at_s:.1f} s ago"
        if does == "take over":
            self._operator = tab
            return ""
        if tab is not self._operator:
            return "another tab operates; take over the page first. STOP works from everywhere"
        if does == HOLDS:
            self._presses.hold_success(at_s)
            return ""
        if does not in {THRESHOLD, *(b.value for b in Button)}:
            return f"not done: there is no {does!r}"
        if self.snapshot is not None and said.get("authority") != self.snapshot.authority:
            return f"not done: meanwhile it is {self.snapshot.authority}. Look again"
        if self.snapshot is not None and (why := refusal(does, self.snapshot)):
            return f"not done: {why}"
        if does != THRESHOLD:
            self._presses.give(Button(does), at_s)
        elif not 0 < threshold < 1:
            return f"not done: a threshold is between 0 and 1, not {threshold}"
        else:
            self._presses.ask_threshold(threshold, at_s)
        return ""


def jpeg(pixels: np.ndarray) -> bytes:
    """Return uint8 [H, W, 3] RGB as JPEG, no wider than `WIDTH_PX`."""
    height, width = pixels.shape[:2]
    if width > WIDTH_PX:
        pixels = cv2.resize(pixels, (WIDTH_PX, height * WIDTH_PX // width), interpolation=cv2.INTER_AREA)
    done, found = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return found.tobytes()


def session_app(run: Path, address: Address) -> tuple[Starlette, Session]:
    """Return the app, and the session whose `watch` and `read_progress` run beside it."""
    session = Session(run)
    routes = [
        Route("/", page("session.html")),
        Route("/ghost/{camera}", session.ghost),
        WebSocketRoute("/socket", session.socket),
    ]
    return application(routes, address), session
