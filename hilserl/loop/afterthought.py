"""What the person says about an episode after it has ended: that was no success; leave it out; take it in again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from data.schema import Outcome
from data.store.annotations import Annotations, Verdict
from teleop.inputs import Button, Follower, Operator, OperatorState, Prompt

VETO = "the operator: that was no success"
DROPPED = "the operator: leave it out"


class Afterthoughts:
    """Implements `Operator` around another one. Between two episodes, Failure and Discard are about the last one.

    Failure takes a success back: the episode failed, and every frame of it is a hard negative for the next training
    of the classifier. Discard leaves the episode out, and pressed again takes it in. Both are entries in the sidecar,
    written beside the control thread.
    """

    def __init__(self, operator: Operator, annotations: Annotations) -> None:
        self._operator, self._annotations = operator, annotations
        self._last, self._succeeded = "", False  # uuid of the episode that has ended
        self._writer = ThreadPoolExecutor(1)
        self._writes: list[Future[object]] = []
        self.say: Callable[[str], None] = lambda _: None

    def read(self) -> OperatorState:
        """Read the device; what is about the last episode goes no further."""
        state = self._operator.read()
        meant = state.pressed & {Button.FAILURE, Button.DISCARD} if self._last else frozenset()
        if Button.FAILURE in meant and self._succeeded:
            self._succeeded = False
            self._submit(self.veto, self._last)
            self.say("taken back: that was no success")
        if Button.DISCARD in meant:
            self._submit(self._toggle, self._last)
            self.say("the last episode is left out; the same again takes it back")
        return replace(state, pressed=state.pressed - meant) if meant else state

    def tell(self, prompt: Prompt, **details: str | float | int) -> None:
        """Notice where episodes begin and end."""
        if prompt is Prompt.EPISODE_STARTED:
            self._last = ""
        elif prompt is Prompt.EPISODE_ENDED:
            self._last = str(details["uuid"]) if details["outcome"] not in ("None", Outcome.ABORTED) else ""
            self._succeeded = details["outcome"] == Outcome.SUCCESS
        self._operator.tell(prompt, **details)

    def follow(self, follower: Follower) -> None:
        """Show the arm to the device."""
        self._operator.follow(follower)

    def close(self) -> None:
        """Release the device."""
        self.settle()
        self._writer.shutdown()
        self._operator.close()

    def settle(self) -> None:
        """Wait until everything is on disk; raise what went wrong there."""
        while self._writes:
            self._writes.pop().result()

    def veto(self, uuid: str) -> None:
        """Write down that an episode did not succeed, in any frame."""
        self._annotations.judge(uuid, Outcome.FAILURE, VETO)
        self._annotations.relabel(uuid, (), VETO)

    def suspect(self, uuid: str) -> None:
        """Write down, later, that no frame of an episode shows success, although the detector began to think so."""
        self._submit(lambda u: self._annotations.relabel(u, (), VETO), uuid)

    def _toggle(self, uuid: str) -> None:
        excluded = self._annotations.verdicts().get(uuid, Verdict()).excluded
        if excluded is None:
            self._annotations.exclude(uuid, DROPPED)
        else:
            self._annotations.undo(excluded.number, DROPPED)

    def _submit(self, write: Callable[[str], object], uuid: str) -> None:
        self._writes.append(self._writer.submit(write, uuid))
