"""The set-up page: a crop per camera, workspace and start pose, shown by moving the arm by hand; then it is kept.

It reads pictures and joints, and moves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, Protocol

import cv2
import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from data.errors import UserError
from data.images import crop_px
from data.spec import TaskSpec
from hilserl.robot.fault import RobotFault
from hilserl.robot.kinematics import ee_position
from hilserl.task_edit import problems, with_crop, with_start, with_workspace
from hilserl.ui.web import answering, page

QUALITY = 85  # of a picture, which has its native size


class Cameras(Protocol):
    """Open cameras."""

    @property
    def names(self) -> tuple[str, ...]:
        """The open cameras."""

    def newest(self, name: str) -> tuple[np.ndarray, float]:
        """Return a frame, uint8 [H, W, 3] RGB, and its stamp [s]."""


class HandArm(Protocol):
    """An arm that a person moves."""

    def joints_rad(self) -> np.ndarray:
        """Return where the joints are, [6]."""

    def limp(self) -> bool:
        """Return whether it can be moved by hand."""


class Setup:
    """A task as it is edited, by one page at a time; the arm is asked by one request at a time."""

    def __init__(self, task: TaskSpec, cameras: Cameras, arm: HandArm, keep: Callable[[TaskSpec], str]) -> None:
        """Begin with `task`; `keep` writes one, and returns the flags that name it to other commands."""
        self._task, self._cameras, self._arm, self._keep = task, cameras, arm, keep
        self._corners: dict[str, np.ndarray] = {}
        self._lock = Lock()
        self._kept: tuple[TaskSpec, str] | None = None  # what was written, and its flags

    def state(self) -> dict[str, Any]:
        """Return what the page shows of the task."""
        task, known = self._task, set(self._cameras.names)
        return {
            "task": task.name,
            "cameras": [self._camera(c.name) for c in task.observation.cameras if c.name in known],
            "missing": [c.name for c in task.observation.cameras if c.name not in known],
            "corners": {name: list(corner) for name, corner in self._corners.items()},
            "workspace_m": [task.workspace_low_m, task.workspace_high_m],
            "start_m": [task.start_low_m, task.start_high_m],
            "problems": problems(task),
            "flags": self._kept[1] if self._kept and self._kept[0] == task else "",
        }

    def hand(self) -> dict[str, Any]:
        """Return where the hand is [m], by forward kinematics of the measured joints, and whether the arm is limp."""
        with self._lock:
            try:
                hand_m = ee_position(self._arm.joints_rad())
                return {"hand_m": [round(float(p), 4) for p in hand_m], "limp": self._arm.limp()}
            except RobotFault as fault:
                return {"error": str(fault)}

    def picture(self, camera: str) -> bytes:
        """Return the newest picture of a camera as JPEG, in its native size."""
        bgr = cv2.cvtColor(self._cameras.newest(camera)[0], cv2.COLOR_RGB2BGR)
        return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()

    def crop(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Take another crop of a camera."""
        shape = self._cameras.newest(asked["camera"])[0].shape
        self._task = with_crop(self._task, asked["camera"], asked["crop"], shape)
        return self.state()

    def corner(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Take the present position of the hand as a corner; the second one makes the box."""
        if asked["which"] not in ("one", "opposite"):
            raise UserError(f"there is no corner {asked['which']!r}; accepted are one and opposite")
        corners = {**self._corners, asked["which"]: self._hand_m()}
        if len(corners) == 2:
            self._task = with_workspace(self._task, corners["one"], corners["opposite"])
        self._corners = corners
        return self.state()

    def start(self, _: dict[str, Any]) -> dict[str, Any]:
        """Take the present position of the hand as the middle of the starts."""
        self._task = with_start(self._task, self._hand_m())
        return self.state()

    def save(self, _: dict[str, Any]) -> dict[str, Any]:
        """Write the task, unless something is wrong with it."""
        if found := problems(self._task):
            raise UserError("; ".join(found))
        self._kept = self._task, self._keep(self._task)
        return self.state()

    def _hand_m(self) -> np.ndarray:
        with self._lock:
            return ee_position(self._arm.joints_rad())

    def _camera(self, name: str) -> dict[str, Any]:
        spec = next(c for c in self._task.observation.cameras if c.name == name)
        frame = self._cameras.newest(name)[0]
        return {"name": name, "crop": spec.crop, "side_px": crop_px(frame.shape, spec)[2], "size_px": spec.size_px}


def setup_routes(setup: Setup) -> list[BaseRoute]:
    """Return what the page asks for; what cannot be done is answered with 400 and why not."""

    async def picture(request: Request) -> Response:
        try:
            data = await run_in_threadpool(setup.picture, request.path_params["camera"])
        except (RobotFault, KeyError):
            return Response(status_code=404)
        return Response(data, media_type="image/jpeg")

    async def whole(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(setup.state))

    async def hand(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(setup.hand))

    changes = {name: getattr(setup, name) for name in ("crop", "corner", "start", "save")}
    return [
        Route("/", page("setup.html")),
        Route("/api/setup", whole),
        Route("/api/hand", hand),
        Route("/api/picture/{camera}.jpg", picture),
        *(Route(f"/api/{name}", answering(change), methods=["POST"]) for name, change in changes.items()),
    ]
