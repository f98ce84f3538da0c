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


def test_undo_takes_back_one_after_the_other_and_in_the_end_the_label_itself(hands):
    operator, press, notes = hands
    operator.tell(Prompt.EPISODE_STARTED, uuid="u")
    assert press(Button.SUCCESS, Button.UNDO) == {Button.SUCCESS, Button.UNDO}  # it runs: nothing to take back
    operator.tell(Prompt.EPISODE_ENDED, uuid="u", outcome="success")
    press(Button.FAILURE, Button.DISCARD)
    assert notes.verdicts()["u"].excluded and notes.verdicts()["u"].outcome.outcome == "failure"
    said = []
    operator.say = said.append
    assert press(Button.UNDO) == frozenset()
    assert notes.verdicts()["u"].excluded is None and notes.verdicts()["u"].outcome.outcome == "failure"
    press(Button.UNDO)
    assert "u" not in notes.verdicts()  # a success again
    press(Button.UNDO)
    assert notes.verdicts()["u"].outcome.outcome == "timeout"
    entries = len(notes.entries())
    press(Button.UNDO, Button.FAILURE)
    assert len(notes.entries()) == entries
    assert said[:2] == ["taken back: the last episode counts", "taken back: it was a success"]
    assert said[2].startswith("taken back: success") and said[3] == "there is nothing to take back"


def test_a_success_that_the_detector_saw_is_no_label_to_take_back(hands):
    operator, press, notes = hands
    operator.tell(Prompt.EPISODE_STARTED, uuid="u")
    operator.tell(Prompt.EPISODE_ENDED, uuid="u", outcome="success")
    press(Button.UNDO)
    assert not notes.entries()


def test_a_suspicion_goes_with_the_failure_that_it_came_from(hands):
    operator, press, notes = hands
    operator.tell(Prompt.EPISODE_STARTED, uuid="u")
    press(Button.FAILURE)
    operator.suspect("u")
    operator.tell(Prompt.EPISODE_ENDED, uuid="u", outcome="failure")
    press(Button.UNDO)
    assert notes.verdicts()["u"].outcome.outcome == "timeout" and not notes.verdicts()["u"].labels


def test_in_an_episode_and_before_the_first_both_pass(hands):
    operator, press, notes = hands
    assert press(Button.FAILURE) == {Button.FAILURE}
    operator.tell(Prompt.EPISODE_ENDED, uuid="u", outcome="success")
    operator.tell(Prompt.EPISODE_STARTED, uuid="v")
    assert press(Button.FAILURE, Button.DISCARD) == {Button.FAILURE, Button.DISCARD}
    assert not notes.entries()
