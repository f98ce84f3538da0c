"""A scripted operator for rehearsals on the emulated rig: it sees the truth, and uses the same buttons as a person.

It places the object, presses Start, takes over with the deadman when the policy makes no progress, hands back,
presses Failure when the object is out of reach, and holds Success while the task is done. Its eyes and hands are
the rig's `people.sock`, which no policy can reach.
"""

from __future__ import annotations

import json
import logging
import math
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from data.errors import UserError
from teleop.expert import ExpertConfig, lift
from teleop.inputs import Button, Follower, OperatorConfig, OperatorState, Prompt
from teleop.show import Show

logger = logging.getLogger(__name__)
SALT = 0x0B7EC7
Plays = Literal["watch", "help", "show"]
HANDS_OFF_S = 0.3  # between placing the object and Start: no camera shows the old place any more


@OperatorConfig.register_subclass("scripted")
@dataclass(frozen=True)
class ScriptedConfig(OperatorConfig):
    """`--teleop.type=scripted`: a stand-in for the person, on the emulated rig only."""

    rig: Path = Path("rig")  # directory of the running rig
    plays: Plays = "help"  # watch: never drives; help: takes over; show: labels
    presses_success: bool = False  # ends an episode by hand when it sees success (when no detector does)
    lift_height_m: float = 0.08  # the object's centre is above this: success
    patience: tuple[int, int] = (6, 10)  # ticks without progress before it takes over
    drives_for: tuple[int, int] = (12, 18)  # ticks of one take-over
    low_misaligned_m: float = 0.013  # too far off while low ...
    low_misaligned_chance: float = 0.5  # ... makes it take over with this chance per tick
    gain_spread: float = 0.2  # its commands are scaled by 1 ± this, per take-over and per tick
    bias: float = 0.05  # standard deviation of its constant error per take-over, in action units
    looks: int = 5  # readings in a tick: it makes up its mind once
    spawn_low_m: tuple[float, float] = (0.18, -0.05)  # where it puts the object
    spawn_high_m: tuple[float, float] = (0.28, 0.05)
    spawn_yaw_rad: float = 0.5
    seed: int = 0

    def connect(self) -> ScriptedOperator:
        """Open the rig's socket; UserError when no rig runs there."""
        return ScriptedOperator(self)


@OperatorConfig.register_subclass("clumsy")
@dataclass(frozen=True)
class ClumsyConfig(ScriptedConfig):
    """`--teleop.type=clumsy`: the same with poor hands and late; alone it fails in half of its episodes."""

    patience: tuple[int, int] = (7, 13)
    low_misaligned_chance: float = 0.35
    gain_spread: float = 0.4
    bias: float = 0.25


class Eyes(Protocol):
    """What a person beside the arm sees and does: the requests of a rig's `people.sock`."""

    def ask(self, **request: Any) -> dict[str, Any]:
        """Answer `op` truth, place, begin or end; ConnectionError when there is no table any more."""

    def close(self) -> None:
        """Look away."""


class ScriptedOperator:
    """Implements `teleop.inputs.Operator`."""

    def __init__(self, config: ScriptedConfig, eyes: Eyes | None = None) -> None:
        """Stand beside the rig in `config`, or beside another table that `eyes` see."""
        self._config = config
        self._eyes = eyes or _RigEyes(config.rig / "people.sock")
        self._rng = np.random.default_rng(config.seed)
        self._start_s = math.inf  # the rig's time at which it presses Start
        self._running = False
        self._episode = 0
        self._looked, self._last = 0, OperatorState(stamp_s=0.0)
        self._begin()

    def read(self) -> OperatorState:
        """Look at the table and decide what the hands do; in an episode once a tick, or it would be less patient."""
        self._looked += 1
        if self._running and self._looked % self._config.looks:
            return replace(self._last, stamp_s=time.monotonic(), pressed=frozenset())
        self._last = self._look()
        return self._last

    def _look(self) -> OperatorState:
        pressed: frozenset[Button] = frozenset()
        try:
            truth = self._eyes.ask(op="truth")
        except ConnectionError:
            return OperatorState(stamp_s=time.monotonic(), connected=False)
        if truth["time_s"] >= self._start_s:
            pressed, self._start_s = pressed | {Button.START}, math.inf
        idle = OperatorState(stamp_s=time.monotonic(), pressed=pressed, success_held=self._sees_success(truth))
        if not self._running:
            return idle
        if truth["lost"]:
            return self._state(idle, pressed | {Button.FAILURE})
        if truth["success"] and self._config.presses_success:
            return self._state(idle, pressed | {Button.SUCCESS})
        if self._config.plays == "show":
            return self._drive(idle, self._show.act(truth))
        if self._config.plays == "help":
            return self._help(idle, truth)
        return idle

    def tell(self, prompt: Prompt, **details: str | float | int) -> None:
        """Obey: place the object and press Start, notice that an episode begins or ends."""
        try:
            if prompt is Prompt.PLACE_OBJECT:
                self._episode = int(details.get("episode", 0))
                # The salt comes first: arm and operator may be given the same seed, and the object's place must
                # not follow from the start pose, or the task could be solved without looking.
                self._rng = np.random.default_rng([SALT, self._config.seed, self._episode])
                x, y = self._rng.uniform(self._config.spawn_low_m, self._config.spawn_high_m)
                yaw = self._rng.uniform(-self._config.spawn_yaw_rad, self._config.spawn_yaw_rad)
                self._eyes.ask(op="place", x_m=x, y_m=y, yaw_rad=yaw)
                self._start_s = self._eyes.ask(op="truth")["time_s"] + HANDS_OFF_S
            elif prompt is Prompt.EPISODE_STARTED:
                self._eyes.ask(op="begin", tag=str(details["uuid"]))
                self._running, self._looked, self._last = True, 0, OperatorState(stamp_s=0.0)
                self._begin()
            elif prompt is Prompt.EPISODE_ENDED:
                self._running = False
                self._eyes.ask(op="end", tag=str(details["uuid"]))
        except (ConnectionError, ValueError) as error:
            logger.warning("%s", error)  # when the rig is gone, the next reading says "not connected"

    def follow(self, follower: Follower) -> None:
        """Do nothing: it sees the truth."""

    def close(self) -> None:
        """Close the socket."""
        self._eyes.close()

    def _sees_success(self, truth: dict[str, Any]) -> bool:
        """What a person would call done: the object is up and in the hand. Contacts that flicker are not seen."""
        ee, cube = np.array(truth["ee_m"]), np.array(truth["cube_m"])
        return bool(cube[2] > self._config.lift_height_m and np.linalg.norm(ee - cube) < 0.03)

    def _begin(self) -> None:
        self._show = Show(self._rng, succeeds=self._episode % 5 < 3)
        self._best = -np.inf
        self._stuck = 0
        self._patience = int(self._rng.integers(*self._config.patience, endpoint=True))
        self._driving = 0
        self._rest_xy: np.ndarray | None = None

    def _help(self, idle: OperatorState, truth: dict[str, Any]) -> OperatorState:
        ee, cube = np.array(truth["ee_m"]), np.array(truth["cube_m"])
        if self._driving == 0 and self._needs_help(ee, cube, truth["grasped"]):
            self._driving = int(self._rng.integers(*self._config.drives_for, endpoint=True))
            self._gain = 1 + self._config.gain_spread * self._rng.uniform(-1, 1)
            self._bias = self._rng.normal(0, self._config.bias, 3)
        if self._driving == 0:
            return idle
        self._driving -= 1
        if self._driving == 0:  # hand back and give the policy time to show what it does
            self._best, self._stuck, self._rest_xy = -np.inf, 0, None
        action = lift(ee, cube, truth["grasped"], ExpertConfig())
        gain = self._gain * (1 + self._config.gain_spread * self._rng.uniform(-1, 1))
        action[:3] = np.clip(gain * action[:3] + self._bias, -1, 1)
        return self._drive(idle, action)

    def _needs_help(self, ee: np.ndarray, cube: np.ndarray, grasped: bool) -> bool:
        """No progress for a while, the cube was pushed, or low and beside the cube."""
        progress = 1.0 + cube[2] if grasped else -float(np.linalg.norm(ee - cube))
        if progress > self._best + 0.003:
            self._best, self._stuck = progress, 0
        else:
            self._stuck += 1
        if self._rest_xy is None:
            self._rest_xy = cube[:2].copy()
        pushed = not grasped and np.linalg.norm(cube[:2] - self._rest_xy) > 0.01
        beside = np.linalg.norm(ee[:2] - cube[:2]) > self._config.low_misaligned_m
        low = not grasped and ee[2] < cube[2] + 0.025
        careless = low and beside and self._rng.random() < self._config.low_misaligned_chance
        return bool(pushed or careless or self._stuck >= self._patience)

    def _drive(self, idle: OperatorState, action: np.ndarray) -> OperatorState:
        return OperatorState(
            stamp_s=idle.stamp_s,
            deadman=True,
            move=action[:3].astype(np.float32),
            gripper=float(action[3]),
            success_held=idle.success_held,
            pressed=idle.pressed,
        )

    def _state(self, idle: OperatorState, pressed: frozenset[Button]) -> OperatorState:
        return OperatorState(stamp_s=idle.stamp_s, success_held=idle.success_held, pressed=pressed)


class _RigEyes:
    """One JSON object per line, request and answer, on the rig's socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._open()
        except OSError as error:
            raise UserError(
                f"no rig answers at {path} ({error}). The scripted operator works on an emulated rig only; "
                "start one with: hilserl rig --directory=DIR, and pass --teleop.rig=DIR"
            ) from error

    def ask(self, **request: object) -> dict[str, Any]:
        """Send one request and return the answer; ConnectionError when the rig is gone."""
        try:
            if self._lines.closed:
                self._open()
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            answer = self._lines.readline()
            if not answer.endswith(b"\n"):
                raise ConnectionError("it closed its socket")
        except OSError as error:
            self.close()  # a late answer must not pass for the next one
            raise ConnectionError(f"the rig stopped answering: {error}") from error
        result: dict[str, Any] = json.loads(answer)
        if not result.get("ok", True):
            raise ValueError(f"the rig refused {request}: {result}")
        return result

    def close(self) -> None:
        """Close the socket."""
        self._lines.close()
        self._socket.close()

    def _open(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(5.0)
        self._socket.connect(str(self._path))
        self._lines = self._socket.makefile("rb")
