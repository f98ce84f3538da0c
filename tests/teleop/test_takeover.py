"""Who holds the leader: grabs with hysteresis, hand-backs in order, and never a step without the arm's consent."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleop.takeover import Grip, LeaderFeel, LeaderMemory, LeaderReading, Mode, advance, deadman, feel_grip

_spec = importlib.util.spec_from_file_location("made_followers", Path(__file__).with_name("made_followers.py"))
_made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_made)
follower = _made.follower

FEEL, EE = LeaderFeel(), np.zeros(3)


def reading(at_s=0.0, pan=0.0, load=0.0, energised=True, **joints: float) -> LeaderReading:
    angles, loads = np.zeros(6), np.zeros(6)
    angles[0], loads[0], angles[5] = pan, load, joints.get("trigger", 0.0)
    return LeaderReading(at_s, angles, loads, energised)


def feel(*readings: LeaderReading) -> list[bool]:
    grip, held = Grip(), []
    for r in readings:
        grip = feel_grip(grip, r, np.zeros(6), FEEL)
        held.append(grip.held)
    return held


def test_a_grab_has_to_last_and_so_has_letting_go() -> None:
    pulled, at_rest = {"pan": 0.2, "load": -0.3}, {"pan": 0.01, "load": 0.0}
    assert feel(*(reading(0.02 * i, **pulled) for i in range(5))) == [False, False, False, True, True]
    assert not any(feel(*(reading(0.02 * i, **(pulled if i % 3 else at_rest)) for i in range(30))))
    there = [reading(0.02 * i, **pulled) for i in range(5)]
    assert feel(*there, *(reading(0.1 + 0.02 * i, **at_rest) for i in range(5)))[5:] == [True, True, True, False, False]


@pytest.mark.parametrize(
    "seen",
    [{"pan": 0.3, "load": 0.05}, {"pan": 0.1, "load": 0.3}, {"trigger": 0.5, "load": 0.3}],
    ids=["lags without a push", "pushes without a lag: its own weight", "a finger on the trigger"],
)
def test_what_is_no_grab(seen: dict[str, float]) -> None:
    assert not any(feel(*(reading(0.02 * i, **seen) for i in range(50))))


@given(st.lists(st.floats(0.0, 0.4), min_size=1, max_size=80))
def test_between_the_two_thresholds_nothing_changes(offs: list[float]) -> None:
    grip = Grip()
    for i, off in enumerate(offs):
        before = grip.held
        grip = feel_grip(grip, reading(0.02 * i, pan=off, load=1.0), np.zeros(6), FEEL)
        if FEEL.let_go * FEEL.grab_rad < off <= FEEL.grab_rad:
            assert grip.held is before


def run(memory: LeaderMemory, *steps: tuple[LeaderReading, dict], button: bool = False) -> LeaderMemory:
    for seen, arm in steps:
        memory = advance(memory, seen, EE, follower(**arm, button=button), FEEL)
    return memory


FOLLOWING = LeaderMemory(Mode.FOLLOWING, 0.0, np.zeros(6))
LEADING = run(FOLLOWING, (reading(0.02), {"human": True}), button=True)
GRABBED = replace(LEADING, button=False)


def test_it_aligns_slowly_and_only_then_follows() -> None:
    memory, pan, goals = LeaderMemory(), -1.0, []
    for i in range(100):
        memory = advance(memory, reading(0.02 * i, pan, energised=i > 0), EE, follower(), FEEL)
        assert not deadman(memory, follower())
        assert (memory.mode is Mode.FOLLOWING) == (i > 0 and abs(pan) <= FEEL.aligned_rad)
        goals.append(memory.goal_rad[0])
        pan = goals[-1]  # a leader that is where it is held
    assert np.isclose(pan, 0)
    assert np.diff(goals).max() <= 0.02 * FEEL.speed_rad_s + 1e-9


def test_a_limp_leader_that_lies_right_is_not_aligned() -> None:
    assert run(LeaderMemory(), (reading(0.0, energised=False), {})).mode is Mode.ALIGNING


def test_the_person_leads_only_once_the_session_says_so() -> None:
    pulled = [(reading(0.02 * i, 0.3, -0.3), {}) for i in range(10)]
    memory = run(FOLLOWING, *pulled)
    assert memory.mode is Mode.FOLLOWING and memory.goal_rad is not None
    assert deadman(memory, follower())
    memory = run(memory, (pulled[-1][0], {"human": True}))
    assert memory.mode is Mode.LEADING and memory.goal_rad is None


def test_the_way_back_is_force_alignment_policy() -> None:
    arm = {"joints_rad": (0.5, 0, 0, 0, 0, 0), "human": True}
    rested = GRABBED.stamp_s + FEEL.hand_back_s
    memory = run(GRABBED, (reading(rested - 0.1, energised=False), arm))
    assert memory.mode is Mode.LEADING
    memory = run(memory, (reading(rested, energised=False), arm))
    assert memory.mode is Mode.ALIGNING and np.allclose(memory.goal_rad, 0), "it is held where it is"
    assert deadman(memory, follower(**arm)), "the policy does not drive yet"
    memory = run(memory, (reading(rested + 0.02, energised=True), arm))
    assert memory.mode is Mode.ALIGNING and deadman(memory, follower(**arm))
    memory = run(memory, (reading(rested + 0.04, pan=0.45), arm))
    assert memory.mode is Mode.FOLLOWING and not deadman(memory, follower(**arm))


def test_a_hand_that_moves_keeps_it_and_the_button_outlasts_rest() -> None:
    still = [(reading(t, 0.2, energised=False), {"human": True}) for t in np.arange(0.1, 9.0, 0.1)]
    moving = [(reading(t, 0.05 * t, energised=False), {"human": True}) for t in np.arange(0.1, 9.0, 0.1)]
    assert run(GRABBED, *still).mode is not Mode.LEADING
    assert run(LEADING, *moving, button=True).mode is Mode.LEADING
    assert run(GRABBED, *moving).mode is Mode.LEADING
    assert run(LEADING, *still, button=True).mode is Mode.LEADING
    assert run(LEADING, still[0]).mode is Mode.ALIGNING, "the button went up: at once"


@st.composite
def story(draw: st.DrawFn) -> tuple[LeaderReading, bool, bool]:
    numbers = st.floats(-1.5, 1.5)
    seen = reading(0.0, draw(numbers), draw(st.floats(-1, 1)), draw(st.booleans()), trigger=draw(numbers))
    return seen, draw(st.booleans()), draw(st.booleans())


@given(st.lists(st.tuples(story(), st.floats(0, 3)), max_size=60))
def test_no_sequence_leads_without_consent_or_hands_back_limp(steps) -> None:
    memory, now_s, driving = LeaderMemory(), 0.0, False
    for (seen, human, button), elapsed_s in steps:
        now_s += elapsed_s
        arm = follower(human=human, button=button)
        memory = advance(memory, replace(seen, stamp_s=now_s), EE, arm, FEEL)
        held = deadman(memory, arm)
        if memory.mode is Mode.LEADING:
            assert human and held and memory.anchor is not None and memory.goal_rad is None
        else:
            assert memory.anchor is None and memory.goal_rad is not None
            assert np.abs(memory.goal_rad - seen.joints_rad).max() <= 0.3 + 1e-9
        if driving and human and not held:
            assert seen.energised, "the policy goes on only when the leader has its force"
        if memory.mode is Mode.ALIGNING:
            assert held == human
        driving = held and human
