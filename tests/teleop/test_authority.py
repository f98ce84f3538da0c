"""The properties of control that must survive any sequence of inputs."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from teleop.authority import TABLE, Authority, Decision, Event, Inputs, moves, step, table_markdown

A = Authority
QUIET = Inputs(drives="policy", may_take_over=True, operator_ok=True, bus_ok=True, camera_ok=True, running=False)
FLAGS = (
    *(
        "deadman",
        "stop",
        "start",
        "rearm",
        "reset_requested",
        "reset_done",
        "episode_over",
        "park_requested",
        "park_done",
        "interrupted",
        "running",
    ),
    *("operator_ok", "bus_ok", "camera_ok"),
)
WORK = ("start", "deadman", "reset_requested", "reset_done", "park_requested", "park_done")
LOSSES = ("operator_ok", "bus_ok", "camera_ok")
changes = st.fixed_dictionaries({f: st.booleans() for f in FLAGS})
any_inputs = st.builds(
    Inputs,
    drives=st.sampled_from(["policy", "human"]),
    may_take_over=st.booleans(),
    **{f: st.booleans() for f in FLAGS},
)


def after(authority: Authority, **change: object) -> Authority:
    return step(authority, replace(QUIET, **change)).authority


class AnySession(RuleBasedStateMachine):
    """Ticks with any inputs. `drives` and `may_take_over` are fixed in a session, as in the app."""

    @initialize(drives=st.sampled_from(["policy", "human"]), may_take_over=st.booleans())
    def begin(self, drives: str, may_take_over: bool) -> None:
        self.base = replace(QUIET, drives=drives, may_take_over=may_take_over)
        self.authority = A.PARKED
        self.stopped = False  # since the last STOP there was no re-arm
        self.started = False  # a Start since motion last had to end

    @rule(change=changes)
    def anything(self, change: dict[str, bool]) -> None:
        self.tick(replace(self.base, **change))

    @rule(flag=st.sampled_from(FLAGS))
    def one_thing(self, flag: str) -> None:
        """One deviation from a quiet tick, so that long runs of motion happen too."""
        self.tick(replace(self.base, **{flag: not getattr(self.base, flag)}))

    @rule(
        flag=st.sampled_from(WORK),
        running=st.booleans(),
    )
    def work(self, flag: str, running: bool) -> None:
        self.tick(replace(self.base, running=running, **{flag: True}))

    def tick(self, i: Inputs) -> None:
        before, decision = self.authority, step(self.authority, i)
        self.authority = now = decision.authority
        assert decision.reason
        lost = not (i.operator_ok and i.bus_ok and i.camera_ok)

        if i.stop:
            self.stopped = True
        elif i.rearm:
            self.stopped = False
        assert not (self.stopped and moves(now)), "motion after STOP and before a re-arm"
        assert (now is A.STOPPED) == self.stopped

        if i.start:
            self.started = True
        if lost or i.stop or i.episode_over or before is A.RESETTING:
            self.started = False
        assert now is not A.POLICY or self.started, "policy motion without a Start since it last had to end"
        assert now is not A.POLICY or i.drives == "policy"
        assert now is not A.POLICY or not (i.deadman and i.may_take_over), "the deadman wins over the policy"
        assert now is not A.HUMAN or (i.deadman and i.may_take_over), "human motion without the deadman"
        assert not (lost and moves(now)), "motion while something is lost"
        if lost and moves(before) and not i.stop:
            assert now is A.HOLDING
        if now is A.PARKED:
            assert before is A.PARKED or (before is A.PARKING and i.park_done), "limp, and not folded"
        if now is A.PARKING and before is not A.PARKING:
            assert before is A.HOLDING and i.park_requested and not i.running, "folding without being asked to"


AnySession.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestAnySession = AnySession.TestCase


@given(st.sampled_from(A), any_inputs)
def test_stop_wins_over_everything(authority: Authority, inputs: Inputs) -> None:
    assert step(authority, replace(inputs, stop=True)).authority is A.STOPPED


@given(any_inputs)
def test_stopped_is_left_only_by_rearm(inputs: Inputs) -> None:
    expected = A.HOLDING if inputs.rearm and not inputs.stop else A.STOPPED
    assert step(A.STOPPED, inputs).authority is expected


@given(st.sampled_from(A), any_inputs)
def test_an_ignored_deadman_changes_nothing(authority: Authority, inputs: Inputs) -> None:
    untouched = replace(inputs, may_take_over=False)
    held, released = (step(authority, replace(untouched, deadman=d)) for d in (True, False))
    assert held == released


@given(st.sampled_from(A), any_inputs)
def test_step_follows_the_table(authority: Authority, inputs: Inputs) -> None:
    now = step(authority, inputs).authority
    assert now is authority or now in {to for (at, _), to in TABLE.items() if at is authority}


@pytest.mark.parametrize("lost", LOSSES)
@pytest.mark.parametrize("moving", [A.POLICY, A.HUMAN, A.RESETTING, A.PARKING])
def test_a_loss_holds_with_a_reason_until_a_fresh_start(lost: str, moving: Authority) -> None:
    decision = step(moving, replace(QUIET, deadman=True, running=True, **{lost: False}))
    assert decision.authority is A.HOLDING
    assert decision.reason != step(A.HOLDING, replace(QUIET, running=True)).reason
    assert after(A.HOLDING, start=True, **{lost: False}) is A.HOLDING
    assert after(A.HOLDING, running=True) is A.HOLDING  # it is back, and nothing moves by itself
    assert after(A.HOLDING, start=True) is A.POLICY


def test_a_policy_session() -> None:
    told = [
        (dict(reset_requested=True), A.RESETTING),
        (dict(), A.RESETTING),
        (dict(reset_done=True), A.HOLDING),
        (dict(deadman=True), A.HOLDING),  # not before Start
        (dict(start=True), A.POLICY),
        (dict(running=True), A.POLICY),
        (dict(running=True, deadman=True), A.HUMAN),
        (dict(running=True, deadman=True), A.HUMAN),
        (dict(running=True), A.POLICY),
        (dict(running=True, start=True), A.HOLDING),  # pause
        (dict(running=True, start=True, deadman=True), A.HUMAN),  # resumed into the person's hand
        (dict(running=True), A.POLICY),
        (dict(episode_over=True, start=True), A.HOLDING),  # that Start came too early
        (dict(park_requested=True), A.PARKING),
        (dict(start=True), A.PARKING),
        (dict(interrupted=True), A.HOLDING),
        (dict(park_requested=True), A.PARKING),
        (dict(park_done=True), A.PARKED),
        (dict(start=True, deadman=True), A.PARKED),  # the session asks for the reset, and nobody else
        (dict(reset_requested=True), A.RESETTING),
    ]
    authority = A.PARKED
    for change, expected in told:
        authority = after(authority, **change)
        assert authority is expected, change


def test_a_recording_session() -> None:
    told = [
        (dict(deadman=True), A.HOLDING),  # no episode yet
        (dict(start=True), A.HOLDING),  # ready
        (dict(running=True), A.HOLDING),
        (dict(running=True, deadman=True), A.HUMAN),
        (dict(running=True), A.HOLDING),
        (dict(running=True, deadman=True), A.HUMAN),
        (dict(running=True, deadman=True, episode_over=True), A.HOLDING),
    ]
    authority = A.HOLDING
    for change, expected in told:
        authority = after(authority, drives="human", **change)
        assert authority is expected, change


def test_parking_is_only_from_holding_and_never_in_an_episode() -> None:
    assert [a for a in A if after(a, park_requested=True) is A.PARKING] == [A.HOLDING, A.PARKING]
    assert after(A.HOLDING, park_requested=True, running=True) is A.HOLDING


def test_moves() -> None:
    assert {a for a in A if moves(a)} == {A.POLICY, A.HUMAN, A.RESETTING, A.PARKING}


def test_an_unknown_driver_is_refused() -> None:
    with pytest.raises(ValueError, match="'policy' and 'human'"):
        replace(QUIET, drives="expert")


def test_the_drawn_table_says_what_the_table_says() -> None:
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in table_markdown().splitlines()]
    assert rows[0][1:] == [a.upper() for a in A]
    drawn = {
        (a, Event(row[0])): Authority(cell.lower())
        for row in rows[2:]
        for a, cell in zip(A, row[1:], strict=True)
        if cell
    }
    assert drawn == dict(TABLE)
    with pytest.raises(TypeError):
        TABLE[A.STOPPED, Event.START] = A.POLICY  # type: ignore[index]
    assert isinstance(step(A.PARKED, QUIET), Decision)


def test_the_policy_never_drives_a_session_of_the_person() -> None:
    for change in (dict(), dict(running=True), dict(start=True), dict(deadman=True, running=True)):
        for authority in A:
            assert after(authority, drives="human", **change) is not A.POLICY


def test_a_start_in_the_tick_that_ends_an_episode_starts_nothing() -> None:
    for authority in (A.HOLDING, A.POLICY, A.HUMAN):
        for deadman in (False, True):
            assert after(authority, episode_over=True, start=True, deadman=deadman) is A.HOLDING


def test_the_table_in_the_documentation_is_this_one():
    assert table_markdown() in (Path(__file__).parents[2] / "docs" / "authority.md").read_text()
