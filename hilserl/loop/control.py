"""The person and the authority, as the actor meets them: decisions, and every wait in which the arm does not act."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hilserl.loop.env import ArmEnv, sample_start
from hilserl.loop.session import DEVICE_GONE, GO_ON, SessionConfig, SessionStopped
from hilserl.loop.starts import series_start
from hilserl.loop.window import Window
from hilserl.robot.bus import ArmFault
from hilserl.robot.cameras import CameraFault
from hilserl.robot.fault import RobotFault
from hilserl.robot.motion import MotionResult
from hilserl.robot.route import MotionRefused
from teleop.authority import PROMPTS, Authority, Inputs, moves, step
from teleop.inputs import Button, Operator, OperatorState, Prompt

RETRY_S = 0.5  # between two attempts to reach silent hardware
WAIT_S = 0.02  # between two looks at the operator while nothing moves


class Control:
    """Who is in control of one arm, in one session at a time."""

    def __init__(self, env: ArmEnv, operator: Operator, window: Window) -> None:
        self._env, self._operator, self._window, self.authority = env, operator, window, Authority.HOLDING
        self._session = SessionConfig(kind="", episodes=0)
        self._tell_command: Callable[[str], None] = lambda _: None
        self._folded = False  # by a park, all or part of the way, and perhaps limp
        self.threshold: float | None = None  # of the detector, as the person asked for it last

    def begin(self, session: SessionConfig, say: Callable[[str], None]) -> None:
        """Decide by this session's rules from now on; `say` is given a few words whenever something changes."""
        self._session, self._tell_command = session, say

    def read(self) -> OperatorState:
        """Show the person's device where the arm is, and return what the hands do."""
        self._operator.follow(self._env.follower(human=self.authority is Authority.HUMAN))
        state = self._operator.read()
        if state.threshold is not None:
            self.threshold = state.threshold
            self._window.note(threshold_next=self.threshold)
            self.mention(f"from the next episode on success needs p {self.threshold:.3g}")
        return state

    def decide(
        self, state: OperatorState, *, running: bool = False, fault: RobotFault | None = None, **events: bool
    ) -> None:
        """Ask the authority who is in control now; `events` are reset_requested, reset_done and the like."""
        inputs = Inputs(
            drives=self._session.drives,
            may_take_over=self._session.may_take_over or self._session.drives == "human",
            operator_ok=state.connected,
            bus_ok=not isinstance(fault, ArmFault),  # a silent bus or camera raises out of the tick
            camera_ok=not isinstance(fault, CameraFault),
            running=running,
            deadman=state.deadman,
            stop=Button.STOP in state.pressed,
            start=running and Button.START in state.pressed,
            rearm=Button.REARM in state.pressed,
            **events,
        )
        before, decision = self.authority, step(self.authority, inputs)
        self.authority = decision.authority
        if self.authority is not before:
            self._say(decision.reason)
        self._window.look(self.authority, state, running=running)

    def drive(self, state: OperatorState) -> OperatorState:
        """Decide while an episode runs, and tell the person's device who is in control when that changes.

        Returns:
            The reading; the gripper keeps its state at a take-over.
        """
        before = self.authority
        self.decide(state, running=True)
        if self.authority is before:
            return state
        gripper = float(self._env.hold_action()[3])
        if self.authority in PROMPTS:
            self._operator.tell(PROMPTS[self.authority], gripper=gripper)
        return replace(state, gripper=gripper) if self.authority is Authority.HUMAN else state

    def mention(self, words: str) -> None:
        """Tell the person; what is waited for stays in sight."""
        self._tell_command(words)
        self._window.mention(words)

    def warn(self, words: str) -> None:
        """Tell the person at once that what is recorded is odd."""
        self._say(words)
        self._operator.tell(Prompt.RECORDING, words=words)

    def wait_until(self, ready: Callable[[], bool], words: str) -> None:
        """Hold, and say what for, until `ready`; STOP counts meanwhile."""
        if not ready():
            self._say(words)
        while not ready():
            self._look()
            time.sleep(WAIT_S)

    def reset(self, index: int) -> MotionResult:
        """Planned, checked, speed-limited move to the start pose of episode `index`, verified by measurement.

        Whatever the person does stops it; it goes on from there when Start is pressed. So it does from a park.
        """
        task, session = self._env.task, self._session
        if session.series:
            start_m = series_start(task, index % session.series)
        else:
            start_m = sample_start(task, np.random.default_rng([session.seed, index]))
        while True:
            self._unfold()
            self._wait(lambda state: not state.deadman, "let go of the deadman, and the arm moves to its start pose")
            if self._folded:
                continue
            self.decide(self.read(), reset_requested=True)
            result = self._env.move_to_start(start_m, self._interrupted)
            if result.reached:
                self.decide(OperatorState(stamp_s=time.monotonic()), reset_done=True)
                return result
            if moves(self.authority):  # nobody interrupted it
                raise SessionStopped(f"the reset failed: {result.reason}. The arm holds; clear its way. {GO_ON}")
            self._wait(lambda state: bool(state.pressed & {Button.START, Button.REARM}))

    def wait_for_start(self, index: int, warning: str = "") -> OperatorState | None:
        """Ask for the object, with a warning, and wait for the button, as long as it takes; the arm holds meanwhile.

        Returns:
            The reading, or None: the person had the arm parked, so it is no longer at its start pose.
        """
        self._operator.tell(Prompt.PLACE_OBJECT, episode=index, kind=self._session.kind)
        self._say(Prompt.PLACE_OBJECT)
        if warning:
            self.mention(warning)
        state = self._wait(lambda state: state.pressed == {Button.START}, for_ever=True)
        return None if self._folded else state

    def wait_for_hardware(self, fault: RobotFault) -> None:
        """Hold until arm and cameras answer again; after `give_up_s`, raise the fault that there is by then."""
        since_s, why = time.monotonic(), str(fault).split(". ")[0]
        missing = "arm answers" if isinstance(fault, ArmFault) else "cameras answer"
        self._say(f"holding until the {missing} again: {why}")
        self._operator.tell(Prompt.STOPPED, why=why)
        while True:
            self.decide(self.read(), fault=fault)
            try:
                if isinstance(fault, ArmFault):
                    self._env.arm.reconnect()
                self._env.begin()
                return
            except RobotFault as still:
                fault = still
            if time.monotonic() - since_s > self._session.give_up_s:
                raise fault
            self._env.clock.sleep_until_s(self._env.clock.now_s() + RETRY_S)

    def _say(self, words: str) -> None:
        self._tell_command(words)
        self._window.say(words)

    def _look(self) -> OperatorState:
        """Read and decide while nothing moves; a park is done at once."""
        state = self.read()
        self.decide(state, park_requested=Button.PARK in state.pressed)
        if self.authority is Authority.PARKING:
            self._park()
        return state

    def _park(self) -> None:
        self._folded = True
        self._energise()  # it may be limp, if it was stopped while it was parked
        try:
            failed = self._env.park(self._interrupted).reason
        except MotionRefused as refused:
            failed = str(refused)
        if not failed:
            self._env.arm.release()
            self._window.note(limp=True)
            self.decide(OperatorState(stamp_s=time.monotonic()), park_done=True)
        elif moves(self.authority):  # nobody interrupted it
            self.decide(OperatorState(stamp_s=time.monotonic()), interrupted=True)
            self._say(f"not parked: {failed}. The arm holds; press Start to go on")

    def _energise(self) -> None:
        self._env.arm.hold()
        self._window.note(limp=False)

    def _unfold(self) -> None:
        """Once parked, the arm gets its force back, and moves, only when the person says so."""
        if self._folded:
            self._wait(lambda state: Button.START in state.pressed, for_ever=True)
            self._energise()
            self._folded = False

    def _interrupted(self) -> bool:
        state = self.read()
        self.decide(state, interrupted=state.deadman or bool(state.pressed))
        return not moves(self.authority)

    def _wait(self, until: Callable[[OperatorState], bool], words: str = "", for_ever: bool = False) -> OperatorState:
        """Hold until the person does something; never while stopped, or without a device. A park ends it, too.

        Raises:
            SessionStopped: nothing came for `give_up_s`; with `for_ever` only when the device is gone for so long.
        """
        since_s, said = time.monotonic(), False
        while True:
            folded, state = self._folded, self._look()
            if self._folded and not folded:
                return state
            if self.authority is not Authority.STOPPED and state.connected and until(state):
                return state
            if words and not said:
                self._say(words)
                said = True
            if for_ever and state.connected:
                since_s = time.monotonic()
            if time.monotonic() - since_s > self._session.give_up_s:
                raise SessionStopped(f"{self._what_is_missing(state)} {GO_ON}")
            time.sleep(WAIT_S)

    def _what_is_missing(self, state: OperatorState) -> str:
        if not state.connected:
            return DEVICE_GONE
        if self.authority is Authority.STOPPED:
            return "STOP was pressed and not re-armed; the arm holds its pose."
        return "the motion to the start pose was interrupted and not resumed; the arm holds its pose."
