"""Between two episodes, Failure and Discard are about the one that ended; in an episode they pass."""

from dataclasses import replace

import pytest

from data.store.annotations import Annotations
from hilserl.loop.afterthought import Afterthoughts
from teleop.inputs import Button, OperatorState, Prompt

IDLE = OperatorState(stamp_s=0.0)


class Fingers:
    """A device that presses what it is told to, once each."""

    def __init__(self):
        self.presses = []

    def read(self):
        return replace(IDLE, pressed=frozenset({self.presses.pop(0)} if self.presses else ()))

    def tell(self, prompt, **details): ...

    def follow(self, follower): ...

    def close(self): ...


@pytest.fixture
def hands(tmp_path):
    fingers, notes = Fingers(), Annotations(tmp_path)
    operator = Afterthoughts(fingers, notes)

    def press(*buttons):
        fingers.presses += buttons
        seen = frozenset[Button]().union(*(operator.read().pressed for _ in buttons))
        operator.settle()
        return seen

    yield operator, press, notes
    operator.close()


def test_a_success_that_was_none_is_taken_back_and_is_a_hard_negative(hands):
    operator, press, notes = hands
    operator.tell(Prompt.EPISODE_ENDED, uuid="u", outcome="success")
    assert press(Button.FAILURE, Button.START) == {Button.START}
    verdict = notes.verdicts()["u"]
    assert verdict.outcome.outcome == "failure"
    assert verdict.labels["success"].intervals == ()
    press(Button.FAILURE)  # once is enough
    assert len(notes.entries()) == 2


@pytest.mark.parametrize("outcome", ["failure", "timeout", "aborted"])
def test_what_did_not_succeed_cannot_be_taken_back(hands, outcome):
    operator, press, notes = hands
    operator.tell(Prompt.EPISODE_ENDED, uuid="u", outcome=outcome)
    press(Button.FAILURE)
    assert not notes.entries()


def test_the_last_episode_is_left_out_and_taken_in_again(hands):
    operator, press, notes = hands
    operator.tell(Prompt.EPISODE_ENDED, uuid="u", outcome="timeout")
    press(Button.DISCARD)
    assert notes.verdicts()["u"].excluded
    press(Button.DISCARD)
    assert "u" not in notes.verdicts() or not notes.verdicts()["u"].excluded


def test_in_an_episode_and_before_the_first_both_pass(hands):
    operator, press, notes = hands
    assert press(Button.FAILURE) == {Button.FAILURE}
    operator.tell(Prompt.EPISODE_ENDED, uuid="u", outcome="success")
    operator.tell(Prompt.EPISODE_STARTED, uuid="v")
    assert press(Button.FAILURE, Button.DISCARD) == {Button.FAILURE, Button.DISCARD}
    assert not notes.entries()
