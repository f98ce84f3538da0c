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
from data.store.annotations import Annotations
from data.store.committer import Committer
from data.store.episode_store import EpisodeStore
from data.store.reader import open_reader
from hilserl.loop.afterthought import Afterthoughts
from hilserl.loop.control import Control
from hilserl.loop.diary import Diary
from hilserl.loop.env import ArmEnv, steady_gripper
from hilserl.loop.policy_runner import PolicyRunner
from hilserl.loop.session import SessionConfig, finished
from hilserl.loop.tick import Tick
from hilserl.loop.window import Window
from hilserl.robot.bus import ArmFault
from hilserl.robot.fault import RobotFault
from hilserl.robot.motion import MotionResult
from teleop.authority import Authority
from teleop.inputs import Button, Operator, OperatorState, Prompt

FAULTS_IN_A_ROW = 5  # without an episode between them: waiting does not help


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
        window: Window | None = None,
        journal: Callable[..., None] = lambda event, **details: None,
    ) -> None:
        self._env, self._operator, self._store = env, Afterthoughts(operator, Annotations(store.path)), store
        self._policy, self._detector, self._window = policy, detector, window or Window()
        self._journal = journal
        self._control = Control(env, self._operator, self._window)
        self._session_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"

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
        index, faults = self.count(session.kind), 0
        self._control.begin(session, say)
        self._operator.say = self._control.mention
        self._window.begin(session)
        with Committer(self._store) as committer:
            while index < session.episodes:
                try:
                    self._control.wait_until(ready, "the arm holds while the learner catches up")
                    episode = self._episode(session, index, committer)
                except RobotFault as fault:
                    faults += 1
                    if faults == FAULTS_IN_A_ROW:
                        raise
                    self._control.wait_for_hardware(fault)
                    continue
                faults = 0
                if episode is not None:  # else it was discarded: do it again
                    done(episode)
                    index += episode.meta.outcome is not Outcome.ABORTED
        self._operator.settle()

    def _episode(self, session: SessionConfig, index: int, committer: Committer) -> Episode | None:
        self._window.episode(index + 1, session.max_steps or self._env.task.time_limit_steps)
        reset, state, first = self._ready(index)
        diary = Diary(self._env.task, reset)
        self._move_threshold()
        meta = EpisodeMeta(
            outcome=Outcome.ABORTED,
            kind=session.kind,
            spec_fingerprint=self._env.task.fingerprint,
            detector_version=self._detector.version if self._detector else "",
            started_unix_s=time.time(),
            session=self._session_id,
            notes={"index": index, "seed": session.seed, **session.notes},
        )
        self._operator.tell(Prompt.EPISODE_STARTED, uuid=meta.uuid)
        self._window.note(last="")
        steps: list[Transition] = []
        journal = self._store.journal(first, meta)
        outcome: Outcome | None = Outcome.ABORTED
        try:
            outcome = self._drive(session, first, steps, diary, journal.add, state)
        except RobotFault as fault:
            diary.fault = str(fault)
            raise
        finally:
            meta = replace(meta, notes={**meta.notes, **diary.notes()})
            episode = finished(first, steps, meta, outcome if session.keep else None)
            if episode is None:
                journal.discard()
            else:
                committer.submit(episode)
                if outcome is Outcome.FAILURE and diary.suspected:
                    self._operator.suspect(meta.uuid)
            self._control.decide(OperatorState(stamp_s=time.monotonic()), running=True, episode_over=True)
            self._operator.tell(Prompt.EPISODE_ENDED, uuid=meta.uuid, outcome=str(outcome))
            self._window.note(last=str(outcome) if episode and outcome is not Outcome.ABORTED else "")
            self._window.say(f"episode {index + 1}: {outcome or 'thrown away'}, {len(steps)} steps")
            with contextlib.suppress(ArmFault):  # the fault that brought us here is on its way up
                self._env.arm.hold()
        return episode

    def _ready(self, index: int) -> tuple[MotionResult, OperatorState, Observation]:
        """Go to the start pose, wait for the person, and return both with what is seen as the episode begins."""
        warning = ""
        while True:
            reset = self._control.reset(index)
            if self._detector is not None:
                self._looks_done(self._env.begin())
            while (state := self._control.wait_for_start(index, warning)) is not None:
                first, warned = self._env.begin(), warning
                warning = self._looks_done(first)
                if warned or not warning:  # said once, it is the person's decision
                    return reset, state, first

    def _looks_done(self, start: Observation) -> str:
        """Return a warning when the detector sees success although no episode has begun, else ""."""
        if self._detector is None:
            return ""
        self._detector.reset()
        verdict = self._detector.step(start)
        self._window.note(p_start=round(verdict.probability, 3))
        again = "Put the object back, or press Start once more to begin all the same"
        return f"the classifier already sees success, p {verdict.probability:.2f}. {again}" if verdict.reached else ""

    def _move_threshold(self) -> None:
        """Let the detector have the threshold that the person asked for, if any."""
        threshold, self._control.threshold = self._control.threshold, None
        if threshold is not None and self._detector is not None:
            was, self._detector = self._detector.calibration.threshold, self._detector.at(threshold)
            self._window.note(threshold=threshold, threshold_next=None)
            self._journal("threshold", was=was, threshold=threshold, detector=self._detector.version)

    def _drive(
        self,
        session: SessionConfig,
        observation: Observation,
        steps: list[Transition],
        diary: Diary,
        record: Callable[[Transition], None],
        state: OperatorState,
    ) -> Outcome | None:
        """Tick until the episode ends; return how, or None to discard it."""
        limit, paused, control = session.max_steps or self._env.task.time_limit_steps, 0, self._control
        if self._detector:
            self._detector.reset()
        if self._policy:
            self._policy.begin()
        state = control.drive(state)
        while control.authority is not Authority.STOPPED:
            action, source, version = self._act(session, observation, state)
            tick = Tick(control, source, self._hands)
            step = self._env.step(action, tick.look)
            state, source = tick.state, tick.source
            if step.limited and source is Source.HUMAN:
                self._operator.tell(Prompt.LIMIT, limits=", ".join(step.hits))
            if words := diary.see(step, source):
                control.warn(words)
            observation = step.observation
            verdict = self._detector.step(observation) if self._detector else Verdict(float("nan"), False)
            if Button.DISCARD in state.pressed:
                return None
            paused += source is Source.HOLD  # a pause does not use up the episode ...
            if paused > session.give_up_s * self._env.task.rate_hz:  # ... but does not last for ever
                return Outcome.ABORTED
            diary.look(verdict)
            over = len(steps) + 1 - paused >= limit or Button.NEXT in state.pressed
            outcome = self._ending(session, state, verdict, last=over)
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
            self._window.step(source, verdict.probability, self._env.clock.now_s())
            if outcome is not None:
                return outcome
        return Outcome.ABORTED

    def _act(
        self, session: SessionConfig, observation: Observation, state: OperatorState
    ) -> tuple[np.ndarray, Source, int]:
        """Return the proposed action [4], whose it is, and the version of the weights if it is the policy's."""
        if self._control.authority is Authority.POLICY and self._policy:
            self._policy.refresh()
            return self._policy.act(observation, explore=session.explore), Source.POLICY, self._policy.version
        if self._policy:
            self._policy.see(observation)  # its frame stack has no gap when it is back in control
        return *self._hands(state), -1

    def _hands(self, state: OperatorState) -> tuple[np.ndarray, Source]:
        """Return the action [4] without a policy: the person's, if they are in control, else none."""
        hold = self._env.hold_action()
        if self._control.authority is not Authority.HUMAN:
            return hold, Source.HOLD
        gripper = steady_gripper(state.gripper, float(hold[3]))
        return np.array([*state.move, gripper], np.float32), Source.HUMAN

    def _ending(self, session: SessionConfig, state: OperatorState, verdict: Verdict, *, last: bool) -> Outcome | None:
        if Button.FAILURE in state.pressed:  # the person's word counts more than the detector's
            return Outcome.FAILURE
        if session.ends_on_success and (verdict.success or Button.SUCCESS in state.pressed):
            return Outcome.SUCCESS
        if session.ends_on_success and verdict.failure:
            return Outcome.FAILURE
        return Outcome.TIMEOUT if last else None
