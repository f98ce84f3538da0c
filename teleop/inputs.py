"""What a person's hands say in one instant, and the protocol every input device fulfils."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import ClassVar, Protocol

import draccus
import numpy as np

from data.spec import ActionSpec


class Button(Enum):
    """Edges: each is reported once per press, also when it was shorter than a tick."""

    SUCCESS = "success"
    FAILURE = "failure"
    DISCARD = "discard"  # throw this episode away and redo it
    STOP = "stop"
    START = "start"  # ready, next, pause, resume
    REARM = "rearm"  # Start held for 1 s: leave STOPPED
    NEXT = "next"  # end this episode as if its time were over
    UNDO = "undo"  # between two episodes: take back what was said last about the one that ended
    PARK = "park"  # between two episodes: fold the arm and let it go limp; Start goes on


class Prompt(StrEnum):
    """What the session tells the person: shown, rumbled, or obeyed by the scripted operator."""

    PLACE_OBJECT = "put the object back, then press Start"
    EPISODE_STARTED = "episode running"
    EPISODE_ENDED = "episode over"
    HUMAN_IN_CONTROL = "you drive"
    POLICY_IN_CONTROL = "the policy drives"
    STOPPED = "stopped: the arm holds its pose"
    LIMIT = "a safety limit holds the arm back"
    RECORDING = "look: what is recorded is not what you do"


@dataclass(frozen=True)
class OperatorState:
    """One reading of the operator's device."""

    stamp_s: float  # monotonic
    connected: bool = True  # False: unplugged; the session holds the arm
    deadman: bool = False  # held: the person drives
    move: np.ndarray = field(default_factory=lambda: np.zeros(3, np.float32))  # [3] in [-1, 1], base frame
    gripper: float = 1.0  # absolute command in [-1 closed, 1 open]; keeps its value while untouched
    success_held: bool = False  # the success button is down right now
    pressed: frozenset[Button] = frozenset()  # edges since the last reading
    threshold: float | None = None  # of the success detector, asked for just now
    ready: bool = True  # False: the device has to align with the arm before anything starts
    note: str = ""  # what the device itself does or waits for, in words for the person


@dataclass(frozen=True)
class Follower:
    """The arm as a device sees it that moves along with it."""

    joints_rad: np.ndarray  # [6] measured
    limits_rad: np.ndarray  # [2, 6] lowest and highest angle by its calibration
    target_m: np.ndarray  # [3] commanded end effector, base frame
    gripper: float  # last executed gripper command
    action: ActionSpec  # what a unit of `OperatorState.move` is
    human: bool  # the person drives
    button: bool = False  # the deadman of a second device beside this one


class Operator(Protocol):
    """A source of operator states: gamepad, leader arm, scripted. Reading never blocks."""

    def read(self) -> OperatorState:
        """Return the newest state and consume the edges."""

    def tell(self, prompt: Prompt, **details: str | float | int) -> None:
        """Inform the person; must not block and must not raise."""

    def follow(self, follower: Follower) -> None:
        """See where the arm is, before each `read`; must not block.

        Raises:
            UserError: at the first call, before anything moves: device and arm do not fit together.
        """

    def close(self) -> None:
        """Release the device."""


@dataclass(frozen=True)
class OperatorConfig(draccus.ChoiceRegistry):
    """`--teleop.type=...`: which device the person uses. Subclasses register themselves by name."""

    has_buttons: ClassVar[bool] = True  # False: it needs a second device for them

    def glyphs(self) -> dict[str, str]:
        """Return {what: the control that does it, as printed on the device}, for `deadman` and the buttons."""
        return {}

    def connect(self) -> Operator:
        """Open the device; raise with the next command to run when it is not there."""
        raise NotImplementedError
