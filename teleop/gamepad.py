"""The gamepad, read through SDL's game-controller layer: no window, hot plug, edges from the event queue."""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

from data.errors import UserError
from teleop import haptics
from teleop.inputs import Follower, Operator, OperatorConfig, OperatorState, Prompt
from teleop.pad_mapping import AXES, BUTTONS, LABELS, PadFeel, PadMap, PadMemory, PadReading, interpret


class NoGamepad(UserError, ConnectionError):
    """No usable pad; the message lists what SDL sees and what to do."""


@OperatorConfig.register_subclass("gamepad")
@dataclass(frozen=True)
class GamepadConfig(OperatorConfig):
    """`--teleop.type=gamepad`: any pad that SDL knows (Xbox, PlayStation, Switch Pro, 8BitDo, ...)."""

    device: str = ""  # part of the pad's name, any case; empty: the first pad
    map: PadMap = field(default_factory=PadMap)  # which control does what, as in --teleop.map.success=y
    feel: PadFeel = field(default_factory=PadFeel)  # dead zone, curve, speeds and hold times
    rumble: bool = True  # speak to the hand

    def glyphs(self) -> dict[str, str]:
        """Return what the mapped controls are called on an Xbox pad."""
        return {what: LABELS.get(control, control) for what, control in vars(self.map).items()}

    def connect(self) -> Operator:
        """Open the pad.

        Raises:
            NoGamepad: no pad of that name is there.
        """
        return Gamepad(self)


class Gamepad:
    """One open pad, and the only owner of SDL's event queue: nothing else may read pygame's events.

    `read` comes from one thread; `tell` may come from any. `tell(HUMAN_IN_CONTROL, gripper=g)` sets the
    gripper command to the last executed one, so that taking over never opens a closed gripper.
    """

    def __init__(self, config: GamepadConfig) -> None:
        self._config = config
        self._pygame, self._sdl = start_sdl()
        self._pad: Any = None
        self._instance: int | None = None  # SDL's name for this plugging-in of this pad
        self._memory = PadMemory()
        self._rumbles = haptics.Schedule()
        self._gripper: float | None = None  # a new base for the gripper command, set by `tell`
        try:
            self._pad = self._open()
            if self._pad is None:
                raise NoGamepad(_what_sdl_sees(self._pygame, self._sdl, config.device))
            self.read()  # learns which controls are at rest
        except BaseException:
            self.close()
            raise

    def read(self) -> OperatorState:
        """Return the newest state and consume the edges; never blocks.

        After an unplug at least one state says `connected=False`, also when the pad is back already.
        """
        pressed, lost = self._drain() if self._sdl else (frozenset[str](), True)
        if lost and self._pad is not None:
            self._pad.quit()
            self._pad = None
        elif self._pad is None and self._sdl:
            self._pad = self._open()
        now_s = time.monotonic()
        self._play(now_s)
        gripper, self._gripper = self._gripper, None
        if gripper is not None:
            self._memory = replace(self._memory, gripper=gripper)
        state, self._memory = interpret(self._sample(now_s, pressed), self._memory, self._config.map, self._config.feel)
        return state

    def tell(self, prompt: Prompt, **details: str | float | int) -> None:
        """Schedule the rumble that belongs to a prompt; it plays during the next reads."""
        gripper = details.get("gripper")
        if prompt is Prompt.HUMAN_IN_CONTROL and isinstance(gripper, (int, float)) and -1 <= gripper <= 1:
            self._gripper = float(gripper)
        self._rumbles.ask(haptics.pattern(prompt, details), time.monotonic())

    def follow(self, follower: Follower) -> None:
        """Nothing moves along with the arm."""

    def close(self) -> None:
        """Release the pad and SDL; a second call does nothing, and later reads say `connected=False`."""
        if not self._sdl:
            return
        if self._pad is not None:
            self._pad.stop_rumble()
            self._pad.quit()
            self._pad = None
        self._sdl.quit()
        self._pygame.display.quit()
        self._sdl = None

    def _open(self) -> Any:
        """Return the first pad whose name fits, opened, or None."""
        for index in range(self._pygame.joystick.get_count()):
            if not self._sdl.is_controller(index):
                continue
            if self._config.device.lower() in (self._sdl.name_forindex(index) or "").lower():
                pad = self._sdl.Controller(index)
                self._instance = pad.as_joystick().get_instance_id()
                # What is down while the pad is opened is a state, not a press.
                self._pygame.event.clear(self._pygame.CONTROLLERBUTTONDOWN, pump=True)
                return pad
        return None

    def _drain(self) -> tuple[frozenset[str], bool]:
        """Empty the event queue: our pad's buttons that went down, and whether it was removed."""
        pressed, lost = set(), self._pad is not None and not self._pad.attached()
        for event in self._pygame.event.get():
            if getattr(event, "instance_id", None) != self._instance:
                continue
            if event.type == self._pygame.CONTROLLERBUTTONDOWN and event.button < len(BUTTONS):
                pressed.add(BUTTONS[event.button])
            elif event.type == self._pygame.CONTROLLERDEVICEREMOVED:
                lost = True
        return frozenset(pressed), lost

    def _sample(self, now_s: float, pressed: frozenset[str]) -> PadReading:
        if self._pad is None:
            return PadReading(now_s, {}, pressed=pressed, connected=False)
        axes = {a: max(-1.0, self._pad.get_axis(i) / 32767) for i, a in enumerate(AXES)}
        held = frozenset(b for i, b in enumerate(BUTTONS) if self._pad.get_button(i))
        return PadReading(now_s, axes, held, pressed)

    def _play(self, now_s: float) -> None:
        pulse = self._rumbles.due(now_s)
        if pulse is not None and self._pad is not None and self._config.rumble:
            # The answer is not used: a pad without motors is fine, and the page says the same things.
            self._pad.rumble(pulse.low, pulse.high, round(pulse.length_s * 1000))


def start_sdl() -> tuple[Any, Any]:
    """Import and start the parts of SDL that we need; returns pygame and its controller module."""
    os.environ["SDL_VIDEODRIVER"] = "dummy"  # the event queue needs a video driver, but no window
    os.environ["SDL_JOYSTICK_ALLOW_BACKGROUND_EVENTS"] = "1"  # without focus a pad would silently read zero
    os.environ["SDL_NO_SIGNAL_HANDLERS"] = "1"  # SDL would turn SIGTERM into an event that nobody obeys
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pygame 2.6.1 imports the deprecated pkg_resources
        import pygame
        from pygame._sdl2 import controller
    pygame.display.init()
    pygame.joystick.init()
    controller.init()
    return pygame, controller


def _what_sdl_sees(pygame: Any, controller: Any, wanted: str) -> str:
    seen = []
    for index in range(pygame.joystick.get_count()):
        joystick = pygame.joystick.Joystick(index)
        known = "" if controller.is_controller(index) else " (a joystick that SDL has no pad layout for)"
        seen.append(f"  {joystick.get_name()}{known}")
        joystick.quit()
    return (
        ("no gamepad found" if not wanted else f"no gamepad with {wanted!r} in its name found")
        + "; SDL sees:\n"
        + ("\n".join(seen) or "  nothing")
        + "\nAccepted is any pad with an SDL layout (Xbox, PlayStation, Switch Pro, 8BitDo in X mode)."
        "\nPlug one in or wake it up, then run the same command again. On Linux your user needs read access to"
        " its input device; for an unknown pad set SDL_GAMECONTROLLERCONFIG to its layout line."
    )
