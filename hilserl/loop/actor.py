"""The actor: resets the arm, waits for the person, and runs episodes tick by tick. It records what was executed."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from classifier.detector import SuccessDetector, Verdict
from data.schema import Episode, EpisodeMeta, Observation, Outcome, Source, Transition
from data.store.committer import Committer
from data.store.episode_store import EpisodeStore
from data.store.reader import open_reader
from hilserl.loop.env import ArmEnv, sample_start
from hilserl.loop.policy_runner import PolicyRunner
from hilserl.loop.session import DEVICE_GONE, GO_ON, SessionConfig, SessionStopped, finished
from hilserl.robot.bus import ArmFault
from hilserl.robot.cameras import CameraFault
from hilserl.robot.fault import RobotFault
from teleop.authority import PROMPTS, Authority, Inputs, moves, step
from teleop.inputs import Button, Operator, OperatorState, Prompt

RETRY_S = 0.5  # between two attempts to reach silent hardware
FAULTS_IN_A_ROW = 5  # without an episode between them: waiting does not help
WAIT_S = 0.02  # between two looks at the operator while nothing moves


class Actor:
    """Runs sessions of one arm. The store must be open for writing; the arm holds whenever nothing is said to move."""

    def __init__(
        self,
        env: ArmEnv,
        operator: Operator,
        store: EpisodeStore,
        *,
        policy: PolicyRunner | None = None,
        detector: SuccessDetector | None = None,
    ) -> None:
        self._env, self._operator, self._store = env, operator, store
        self._policy, self._detector, self._authority = policy, detector, Authority.HOLDING
        self._session_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
        self._say: Callable[[str], None] = lambda _: None

    def use(self, policy: PolicyRunner) -> None:
        """Let another policy drive from now on."""
        self._policy = policy

    def count(self, kind: str) -> int:
        """Return how many finished episodes of a kind the store holds; aborted and excluded ones do not count."""
        return sum(c.outcome != Outcome.ABORTED for c in open_reader(self._store.path).commits(kind))

    def run(
        self,
        session: SessionConfig,
        done: Callable[[Episode], None],
        ready: Callable[[], bool] = lambda: True,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Run episodes until the store holds `session.episodes` of this kind; so a restart goes on.

        Args:
            session: what to run.
            done: called after each episode is handed to the store.
            ready: asked until true before each episode; a wait for the learner, for example.
            say: given a few words whenever what happens, or what is waited for, changes.

        Raises:
            SessionStopped: by the person, or by a device that stays away.
            ArmFault, CameraFault: the hardware failed and stays away, or fails again and again; the episode so far
                is stored, the arm holds.
        """
        index, self._say, faults = self.count(session.kind), say, 0
        with Committer(self._store) as committer:
            while index < session.episodes:
                if not ready():
                    say("the arm holds while the learner catches up")
                while not ready():
                    self._decide(session, self._ask_operator(), running=False)
                    time.sleep(WAIT_S)
                try:
                    episode = self._episode(session, index, committer)
                except RobotFault as fault:
                    faults += 1
                    if faults == FAULTS_IN_A_ROW:
                        raise
                    self._wait_for_hardware(session, fault)
                    continue
                faults = 0
                if episode is not None:  # else it was discarded: do it again
                    done(episode)
                    index += episode.meta.outcome is not Outcome.ABORTED

    def _episode(self, session: SessionConfig, index: int, committer: Committer) -> Episode | None:
        meta = EpisodeMeta(
            outcome=Outcome.ABORTED,
            kind=session.kind,
            spec_fingerprint=self._env.task.fingerprint,
            detector_version=self._detector.version if self._detector else "",
            started_unix_s=time.time(),
            session=self._session_id,
            notes={"index": index, "seed": session.seed, **session.notes},
        )
        self._reset(session, index)
        state = self._wait_for_start(session, index)
        self._operator.tell(Prompt.EPISODE_STARTED, uuid=meta.uuid)
        steps: list[Transition] = []
        first = self._env.begin()
        journal = self._store.journal(first, meta)
        outcome: Outcome | None = Outcome.ABORTED
        try:
            outcome = self._drive(session, first, steps, journal.add, state)
        finally:
            episode = finished(first, steps, meta, outcome if session.keep else None)
            if episode is None:
                journal.discard()
            else:
                committer.submit(episode)
            self._decide(session, OperatorState(stamp_s=time.monotonic()), running=True, episode_over=True)
            self._operator.tell(Prompt.EPISODE_ENDED, uuid=meta.uuid, outcome=str(outcome))
            with contextlib.suppress(ArmFault):  # the fault that brought us here is on its way up
                self._env.arm.hold()
        return episode

    def _drive(
        self,
        session: SessionConfig,
        observation: Observation,
        steps: list[Transition],
        record: Callable[[Transition], None],
        state: OperatorState,
    ) -> Outcome | None:
        """Tick until the episode ends; return how, or None to discard it."""
        limit, paused = session.max_steps or self._env.task.time_limit_steps, 0
        if self._detector:
            self._detector.reset()
        if self._policy:
            self._policy.begin()
        while True:
            before = self._authority
            self._decide(session, state, running=True)
            if self._authority is Authority.STOPPED:
                return Outcome.ABORTED
            if self._authority is not before:
                self._announce()
            if self._authority is Authority.HUMAN is not before:  # the gripper keeps its state at a take-over
                state = replace(state, gripper=float(self._env.hold_action()[3]))
            action, source, version = self._act(session, observation, state)
            step = self._env.step(action)
            if step.limited and source is Source.HUMAN:
                self._operator.tell(Prompt.LIMIT)
            observation = step.observation
            verdict = self._detector.step(observation) if self._detector else Verdict(float("nan"), False)
            state = self._ask_operator()
            if Button.STOP in state.pressed:  # latched at once: this tick may be the last of the episode
                self._decide(session, state, running=True)
                self._announce()
            if Button.DISCARD in state.pressed:
                return None
            paused += source is Source.HOLD  # a pause does not use up the episode ...
            if paused > session.give_up_s * self._env.task.rate_hz:  # ... but does not last for ever
                return Outcome.ABORTED
            outcome = self._ending(session, state, verdict, last=len(steps) + 1 - paused >= limit)
            transition = Transition(
                proposed=action,
                executed=step.executed,
                source=source,
                next_observation=observation,
                reward=float(outcome is Outcome.SUCCESS),
                terminated=outcome in (Outcome.SUCCESS, Outcome.FAILURE),
                truncated=outcome is Outcome.TIMEOUT,
                p_success=verdict.probability,
                policy_version=version,
                marked_success=state.success_held,
            )
            steps.append(transition)
            record(transition)
            if outcome is not None:
                return outcome

    def _act(
        self, session: SessionConfig, observation: Observation, state: OperatorState
    ) -> tuple[np.ndarray, Source, int]:
        """Return the proposed action [4], whose it is, and the version of the weights if it is the policy's."""
        if self._authority is Authority.POLICY and self._policy:
            self._policy.refresh()
            return self._policy.act(observation, explore=session.explore), Source.POLICY, self._policy.version
        if self._policy:
            self._policy.see(observation)  # its frame stack has no gap when it is back in control
        if self._authority is Authority.HUMAN:
            return np.array([*state.move, state.gripper], np.float32), Source.HUMAN, -1
        return self._env.hold_action(), Source.HOLD, -1

    def _ending(self, session: SessionConfig, state: OperatorState, verdict: Verdict, *, last: bool) -> Outcome | None:
        if session.ends_on_success and (verdict.success or Button.SUCCESS in state.pressed):
            return Outcome.SUCCESS
        if Button.FAILURE in state.pressed:
            return Outcome.FAILURE
        return Outcome.TIMEOUT if last else None

    def _reset(self, session: SessionConfig, index: int) -> None:
        """Planned, speed-limited, height-checked move to this episode's start pose, verified by measurement."""
        self._decide(session, self._ask_operator(), running=False, reset_requested=True)

        def interrupted() -> bool:
            self._decide(session, self._ask_operator(), running=False)
            return not moves(self._authority)

        start_m = sample_start(self._env.task, np.random.default_rng([session.seed, index]))
        result = self._env.move_to_start(start_m, interrupted)
        if result.reached:
            return self._decide(session, OperatorState(stamp_s=time.monotonic()), running=False, reset_done=True)
        if moves(self._authority):  # nobody interrupted it
            raise SessionStopped(f"the reset failed: {result.reason}. The arm holds; clear its way. {GO_ON}")
        self._wait_out_interruption(session)
        self._reset(session, index)

    def _wait_for_start(self, session: SessionConfig, index: int) -> OperatorState:
        """Ask for the object and wait for the button; the arm holds meanwhile."""
        self._operator.tell(Prompt.PLACE_OBJECT, episode=index, kind=session.kind)
        self._say(Prompt.PLACE_OBJECT)
        while True:
            state = self._ask_operator()
            if self._authority is Authority.HOLDING and state.connected and state.pressed == {Button.START}:
                return state
            self._decide(session, state, running=False)
            if not state.connected:
                self._wait_out_interruption(session)
            time.sleep(WAIT_S)

    def _wait_out_interruption(self, session: SessionConfig) -> None:
        """Hold: after STOP until Start was held for a second, without the operator's device until it is back."""
        since_s = time.monotonic()
        while True:
            state = self._ask_operator()
            self._decide(session, state, running=False)
            if self._authority is not Authority.STOPPED and state.connected:
                return
            if time.monotonic() - since_s > session.give_up_s:
                stopped = "STOP was pressed and not re-armed; the arm holds its pose."
                raise SessionStopped(f"{stopped if state.connected else DEVICE_GONE} {GO_ON}")
            time.sleep(WAIT_S)

    def _wait_for_hardware(self, session: SessionConfig, fault: RobotFault) -> None:
        """Hold until arm and cameras answer again; after `give_up_s`, raise the fault that there is by then."""
        since_s = time.monotonic()
        self._say(f"holding until the {'arm answers' if isinstance(fault, ArmFault) else 'cameras answer'} again")
        while True:
            self._decide(session, self._ask_operator(), running=False, fault=fault)
            try:
                if isinstance(fault, ArmFault):
                    self._env.arm.reconnect()
                self._env.begin()
                return
            except RobotFault as still:
                fault = still
            if time.monotonic() - since_s > session.give_up_s:
                raise fault
            self._env.clock.sleep_until_s(self._env.clock.now_s() + RETRY_S)

    def _ask_operator(self) -> OperatorState:
        """Show the operator's device where the arm is, and return what the hands do."""
        self._operator.follow(self._env.follower(human=self._authority is Authority.HUMAN))
        return self._operator.read()

    def _decide(
        self,
        session: SessionConfig,
        state: OperatorState,
        *,
        running: bool,
        fault: RobotFault | None = None,
        **events: bool,
    ) -> None:
        """Ask the authority who is in control now; `events` are reset_requested, reset_done and episode_over."""
        inputs = Inputs(
            drives=session.drives,
            may_take_over=session.may_take_over or session.drives == "human",
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
        before, decision = self._authority, step(self._authority, inputs)
        self._authority = decision.authority
        if self._authority is not before:
            self._say(decision.reason)

    def _announce(self) -> None:
        if self._authority in PROMPTS:
            self._operator.tell(PROMPTS[self._authority], gripper=float(self._env.hold_action()[3]))
