"""What the person says about an episode after it has ended: that was no success; leave it out; I take that back."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from data.schema import Outcome
from data.store.annotations import SUCCESS, Annotations, Entry, Verdict
from teleop.inputs import Button, Follower, Operator, OperatorState, Prompt

VETO = "the operator: that was no success"
DROPPED = "the operator: leave it out"
UNDONE = "the operator: I take that back"
_MEANT = {Button.FAILURE, Button.DISCARD, Button.UNDO}
_LABELS = {Outcome.SUCCESS: Button.SUCCESS, Outcome.FAILURE: Button.FAILURE}


class Afterthoughts:
    """Implements `Operator` around another one. Between two episodes Failure, Discard and Undo are about the last one.

    Failure takes a success back: the episode failed, and every frame of it is a hard negative for the next training
    of the classifier. Discard leaves the episode out, and pressed again takes it in. Undo takes back the newest of
    these, and in the end the label with which the person ended the episode: it then counts as one whose time was over.
    All are entries in the sidecar, written beside the control thread.
    """

    def __init__(self, operator: Operator, annotations: Annotations) -> None:
        self._operator, self._annotations = operator, annotations
        self._last, self._outcome = "", ""  # uuid of the episode that has ended, and how
        self._pressed = frozenset[Button]()  # in the newest episode
        self._said: list[Button] = []  # about the last one, and not taken back: Failure, Discard
        self._writer = ThreadPoolExecutor(1)
        self._writes: list[Future[object]] = []
        self.say: Callable[[str], None] = lambda _: None

    def read(self) -> OperatorState:
        """Read the device; what is about the last episode goes no further."""
        state = self._operator.read()
        meant = state.pressed & _MEANT if self._last else frozenset()
        self._pressed |= state.pressed - meant
        for button in sorted(meant, key=lambda b: b.value):
            self.say(self._mean(button))
        return replace(state, pressed=state.pressed - meant) if meant else state

    def _mean(self, button: Button) -> str:
        """Do what a button means between two episodes; return that in words."""
        if button is Button.DISCARD and button in self._said:
            return self._take_back(button)
        if button is Button.UNDO:
            return self._take_back(self._said[-1]) if self._said else self._unlabel()
        if button is Button.FAILURE and (self._outcome != Outcome.SUCCESS or button in self._said):
            return "the last episode does not count as a success anyway"
        self._said.append(button)
        self._submit(self.veto if button is Button.FAILURE else self._drop, self._last)
        return "that was no success" if button is Button.FAILURE else "the last episode is left out"

    def _take_back(self, button: Button) -> str:
        self._said.remove(button)
        self._submit(self._unveto if button is Button.FAILURE else self._take_in, self._last)
        return "taken back: it was a success" if button is Button.FAILURE else "taken back: the last episode counts"

    def _unlabel(self) -> str:
        label = next((b for outcome, b in _LABELS.items() if outcome == self._outcome), None)
        if label is None or label not in self._pressed:
            return "there is nothing to take back"
        self._outcome = Outcome.TIMEOUT
        self._submit(self._forget_label, self._last)
        return f"taken back: {label.value}. The last episode counts as one whose time was over"

    def tell(self, prompt: Prompt, **details: str | float | int) -> None:
        """Notice where episodes begin and end."""
        if prompt is Prompt.EPISODE_STARTED:
            self._last, self._pressed = "", frozenset()
        elif prompt is Prompt.EPISODE_ENDED:
            self._last = str(details["uuid"]) if details["outcome"] not in ("None", Outcome.ABORTED) else ""
            self._outcome, self._said = str(details["outcome"]), []
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

    def _drop(self, uuid: str) -> None:
        self._annotations.exclude(uuid, DROPPED)

    def _take_in(self, uuid: str) -> None:
        self._undo(self._annotations.verdicts()[uuid].excluded)

    def _unveto(self, uuid: str) -> None:
        verdict = self._annotations.verdicts().get(uuid, Verdict())
        self._undo(verdict.outcome)
        self._undo(verdict.labels.get(SUCCESS))

    def _forget_label(self, uuid: str) -> None:
        self._unveto(uuid)
        self._annotations.judge(uuid, Outcome.TIMEOUT, UNDONE)

    def _undo(self, entry: Entry | None) -> None:
        if entry is not None and entry.why in (VETO, DROPPED):  # nobody else's
            self._annotations.undo(entry.number, UNDONE)

    def _submit(self, write: Callable[[str], object], uuid: str) -> None:
        self._writes.append(self._writer.submit(write, uuid))
