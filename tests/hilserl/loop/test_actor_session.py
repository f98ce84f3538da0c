"""What goes wrong in an episode, and how a session goes on."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data.schema import Outcome, Source
from hilserl.loop.session import SessionConfig, SessionStopped
from hilserl.robot.bus import ArmFault
from hilserl.robot.cameras import CameraFault
from hilserl.robot.motion import PARK_RAD, PARK_TOLERANCE_RAD
from teleop.inputs import Button, Prompt

_spec = importlib.util.spec_from_file_location("actor_bench", Path(__file__).with_name("actor_bench.py"))
_bench = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_bench)
IDLE, GONE, press, drive, Wanderer, Countdown, sources, ends = (
    _bench.IDLE,
    _bench.GONE,
    _bench.press,
    _bench.drive,
    _bench.Wanderer,
    _bench.Countdown,
    _bench.sources,
    _bench.ends,
)


# What goes wrong


def test_stop_holds_the_arm_and_ends_the_session(bench, new_world):
    world = new_world()
    b = bench([drive(), press(Button.STOP)], world=world)
    with pytest.raises(SessionStopped):
        b.run(episodes=5)
    assert len(b.executed) == 2 and len(b.done) == 1
    assert Prompt.STOPPED in [p for p, _ in b.hand.told]
    stopped = world.joint_positions()
    world.advance(0.5)
    np.testing.assert_allclose(world.joint_positions(), stopped, atol=0.05)
    assert b.actor.count("online") == 0  # aborted: kept, not counted
    assert [e.meta.outcome for e in b.stored()] == [Outcome.ABORTED]


@pytest.mark.parametrize("other", [Button.SUCCESS, Button.FAILURE, Button.DISCARD])
def test_stop_in_the_last_tick_of_an_episode_is_not_lost(bench, other):
    b = bench([IDLE, press(Button.STOP, other)])
    with pytest.raises(SessionStopped):
        b.run(episodes=3)
    assert sum(p is Prompt.PLACE_OBJECT for p, _ in b.hand.told) == 1  # no reset: nothing moved after it


def test_stop_together_with_the_detectors_success_or_the_time_limit_is_not_lost(bench):
    for detector, script in (
        (Countdown(2), [IDLE, press(Button.STOP)]),
        (None, [IDLE] * 5 + [press(Button.STOP)]),
    ):
        b = bench(script, detector=detector)
        with pytest.raises(SessionStopped):
            b.run(episodes=9)
        assert sum(p is Prompt.PLACE_OBJECT for p, _ in b.hand.told) == 1


def test_stop_before_the_first_tick_stores_nothing(bench):
    b = bench()
    b.hand.started = press(Button.START, Button.STOP)
    places = []

    def tell(prompt: Prompt, **details: object) -> None:  # STOP instead of Start, and later re-armed
        places.append(prompt)
        if prompt is Prompt.PLACE_OBJECT:
            b.hand._queue = [
                press(Button.STOP),
                press(Button.START),
                press(Button.REARM),
                press(Button.START),
            ]

    b.hand.tell = tell
    (episode,) = b.run()
    assert episode.meta.outcome is Outcome.TIMEOUT  # after re-arming and a fresh Start
    assert b.hand._queue == []


def test_stop_during_the_reset_stops_the_arm(bench, new_world):
    b = bench(world=new_world())
    b.hand._queue = [IDLE] * 3 + [press(Button.STOP)]
    with pytest.raises(SessionStopped, match="STOP"):
        b.run()
    assert b.stored() == [] and b.executed == []


def test_a_lost_device_holds_and_never_gives_the_arm_to_the_policy(bench):
    b = bench([drive(), GONE, GONE, IDLE, IDLE, press(Button.START), IDLE])
    (episode,) = b.run(max_steps=5)
    p, h, hold = Source.POLICY, Source.HUMAN, Source.HOLD
    assert sources(episode) == [p, h, hold, hold, hold, hold, p, p, p]
    assert (episode.executed[2:6, :3] == 0).all()


def test_a_device_that_stays_away_ends_the_session(bench):
    b = bench()
    b.hand.tell = lambda prompt, **details: None
    b.hand._queue = [IDLE] * 2000  # the reset reads, too
    read = b.hand.read
    b.hand.read = lambda: GONE if b.hand.waiting else read()
    b.hand.waiting = False
    b.hand.tell = lambda prompt, **d: setattr(b.hand, "waiting", prompt is Prompt.PLACE_OBJECT)
    with pytest.raises(SessionStopped, match="device is gone"):
        b.run(give_up_s=0.02)


def test_a_device_that_drops_out_during_the_reset_is_waited_for(bench, new_world):
    b = bench(world=new_world())
    b.hand._queue = [IDLE] * 3 + [GONE] * 3 + [IDLE] * 3 + [press(Button.START)]
    (episode,) = b.run()
    assert len(episode) == 6 and b.hand._queue == []  # it did not move on before Start


@pytest.mark.parametrize("touch", [press(Button.START), press(Button.SUCCESS), press(Button.DISCARD), drive()])
def test_whatever_the_person_does_stops_the_reset_until_start_is_pressed(bench, new_world, touch):
    world = new_world()
    b, poses, said = bench(world=world), [], []
    b.hand._queue = [IDLE] * 12 + [touch] + [IDLE] * 20 + [press(Button.START)]
    read = b.hand.read

    def watched():
        if 2 <= len(b.hand._queue) <= 15:
            world.advance(0.02)
            poses.append(world.joint_positions())
        return read()

    b.hand.read = watched
    b.actor.run(SessionConfig(kind="online", episodes=1, max_steps=2), b.done.append, say=said.append)
    assert len(poses) >= 14 and np.ptp(poses, axis=0).max() < 0.03  # it stands
    assert any("you touched the controls" in words for words in said)
    assert len(b.done) == 1


def test_an_interrupted_reset_that_nobody_resumes_ends_the_session(bench, new_world):
    b = bench(world=new_world())
    b.hand._queue = [IDLE] * 5 + [press(Button.START)] + [IDLE] * 100000
    with pytest.raises(SessionStopped, match="interrupted and not resumed"):
        b.run(give_up_s=0.05)


def test_no_reset_begins_while_the_deadman_is_held(bench, new_world):
    world = new_world()
    b, said = bench(world=world), []
    before = world.joint_positions()
    b.hand._queue = [drive()] * 20
    read = b.hand.read

    def watched():
        if b.hand._queue and b.hand._queue[-1].deadman:
            np.testing.assert_allclose(world.joint_positions(), before, atol=0.02)
        return read()

    b.hand.read = watched
    b.actor.run(SessionConfig(kind="online", episodes=1, max_steps=2), b.done.append, say=said.append)
    assert said[0].startswith("let go of the deadman") and len(b.done) == 1


def test_a_device_that_stays_away_during_the_reset_ends_the_session(bench, new_world):
    b = bench(world=new_world())
    b.hand._queue = [IDLE] * 3 + [GONE] * 2000
    with pytest.raises(SessionStopped, match="device is gone"):
        b.run(give_up_s=0.02)
    assert b.stored() == [] and b.executed == []


@pytest.mark.parametrize("after", [0, 3])
def test_a_fault_commits_what_there_is_and_goes_up(bench, after):
    b = bench()
    step, calls = b.env.step, []

    def failing(action, revise):
        calls.append(action)
        if len(calls) > after:
            raise ArmFault("no answer")
        return step(action, revise)

    b.env.step = failing
    with pytest.raises(ArmFault, match="no answer"):
        b.run()
    episodes = b.stored()  # it tried again, and gave up when that did not help
    assert [(len(e), ends(e)) for e in episodes] == [(3, (Outcome.ABORTED, 0.0, False, True))] * (after > 0)
    assert len(calls) == after + 5
    assert list(b.store.path.glob("journal-*")) == []


def test_a_fault_that_also_fails_to_hold_is_still_the_first_fault(bench):
    b = bench()

    def fault(*_: object):
        raise ArmFault("first")

    def second():
        raise ArmFault("second")

    b.env.step, b.env.arm.hold, b.env.arm.reconnect = fault, second, lambda: None
    with pytest.raises(ArmFault, match="first"):
        b.run()


@pytest.mark.parametrize("fault", [ArmFault("no answer"), CameraFault("no frame")])
def test_hardware_that_comes_back_is_waited_for(bench, fault):
    b, said = bench(), []
    step, begin, reconnect, calls = b.env.step, b.env.begin, b.env.arm.reconnect, []

    def failing(action, revise):
        calls.append(0)
        if len(calls) == 4:
            b.env.begin = still_away
            raise fault
        return step(action, revise)

    def still_away():
        b.env.begin = begin
        raise fault

    b.env.step, b.env.arm.reconnect = failing, lambda: (said.append("reconnect"), reconnect())
    b.actor.run(SessionConfig(kind="online", episodes=1, max_steps=6), b.done.append, say=said.append)
    cut, whole = b.stored()
    assert (len(cut), ends(cut)) == (3, (Outcome.ABORTED, 0.0, False, True))
    assert (len(whole), cut.meta.notes["index"], whole.meta.notes["index"]) == (6, 0, 0)
    assert said.count("reconnect") == (2 if isinstance(fault, ArmFault) else 0)
    assert any("holding until the" in words for words in said)


def test_hardware_that_stays_away_ends_the_session(bench):
    b = bench()
    begin = b.env.begin

    def gone(*_: object):
        raise ArmFault("no answer")

    b.env.step = gone
    b.env.arm.reconnect = gone
    with pytest.raises(ArmFault, match="no answer"):
        b.run(give_up_s=0.02)
    b.env.begin = begin


# Sessions


def test_a_session_goes_on_where_the_store_is(bench):
    bench().run(episodes=2)
    b = bench([IDLE, press(Button.STOP)])
    with pytest.raises(SessionStopped):
        b.run(episodes=4)
    again = bench()
    again.run(episodes=4)
    assert again.actor.count("online") == 4 and len(again.done) == 2
    assert [c.notes["index"] for c in again.store.commits()] == [0, 1, 2, 2, 3]
    bench().run(episodes=4)
    assert again.actor.count("online") == 4  # nothing left to do


def test_kinds_are_counted_apart(bench):
    b = bench()
    b.run(kind="baseline", episodes=1)
    b.run(kind="online", episodes=2)
    assert (b.actor.count("baseline"), b.actor.count("online"), b.actor.count("eval")) == (1, 2, 0)


def test_start_poses_follow_seed_and_index_alone(bench):
    b = bench([press(Button.FAILURE)] * 1)
    one = b.run(kind="a", episodes=2, max_steps=1, seed=5)
    two = b.run(kind="b", episodes=2, max_steps=1, seed=5)[2:]
    other = b.run(kind="c", episodes=1, max_steps=1, seed=6)[4:]
    for first, second in zip(one, two, strict=True):
        np.testing.assert_allclose(first.state[0, 12:15], second.state[0, 12:15], atol=0.004)
    assert np.linalg.norm(one[0].state[0, 12:15] - one[1].state[0, 12:15]) > 0.006
    assert np.linalg.norm(one[0].state[0, 12:15] - other[0].state[0, 12:15]) > 0.006


def test_no_episode_begins_before_it_is_ready(bench):
    b, answers = bench(), [False, False, True]
    session = SessionConfig(kind="online", episodes=1, max_steps=2)
    b.actor.run(session, b.done.append, ready=lambda: answers.pop(0))
    assert answers == [] and len(b.done) == 1


def test_another_policy_can_take_its_place(bench):
    b, better = bench(), Wanderer()
    b.run()
    b.actor.use(better)
    b.run(episodes=2)
    assert len(b.policy.seen) == len(better.seen) == 6


# Park, next, another threshold


def presses_at_the_start(b, *states):
    """The hand does this instead of its first Start, and then presses Start."""
    b.hand.waits = [[IDLE, *states, press(Button.START)]]
    tell = b.hand.tell

    def told(prompt: Prompt, **details: object) -> None:
        tell(prompt, **details)
        if prompt is Prompt.PLACE_OBJECT and b.hand.waits:
            b.hand._queue = b.hand.waits.pop(0)

    b.hand.tell = told


@pytest.mark.parametrize("afterwards", [[], [press(Button.STOP), press(Button.START), press(Button.REARM), IDLE]])
def test_parked_it_is_limp_and_start_leads_back_to_the_start_pose(bench, new_world, afterwards):
    world = new_world()
    b = bench(world=world)
    presses_at_the_start(b, press(Button.PARK), *[IDLE] * 10_000)
    seen, release = [], b.env.arm.release

    def released() -> None:
        seen.append(world.joint_positions())
        b.hand._queue = [IDLE, press(Button.DISCARD), *afterwards, press(Button.START)]
        release()

    b.env.arm.release = released
    (episode,) = b.run()
    (folded,) = seen
    np.testing.assert_allclose(folded[:4], PARK_RAD, atol=PARK_TOLERANCE_RAD)
    assert len(episode) == 6 and np.linalg.norm(episode.state[0][:5] - folded[:5]) > 0.5
    asked = [p for p, _ in b.hand.told].count(Prompt.PLACE_OBJECT)
    assert asked == 2  # it is asked for again, when the arm is back


def test_whatever_is_pressed_while_it_folds_makes_it_hold_and_start_goes_on(bench, new_world):
    b = bench(world=new_world())
    presses_at_the_start(b, press(Button.PARK), *[IDLE] * 5, press(Button.FAILURE))
    released = []
    b.env.arm.release = lambda: released.append(1)
    (episode,) = b.run()
    assert len(episode) == 6 and not released


def test_stopped_while_it_folds_it_moves_only_after_a_rearm_and_a_start(bench, new_world):
    b = bench(world=new_world())
    presses_at_the_start(b, press(Button.PARK), IDLE, press(Button.STOP), press(Button.START), press(Button.REARM))
    (episode,) = b.run()
    assert len(episode) == 6 and b.hand._queue == []


def test_no_park_in_an_episode(bench):
    (episode,) = bench([IDLE, press(Button.PARK)]).run()
    assert episode.meta.outcome is Outcome.TIMEOUT and len(episode) == 6


@pytest.mark.parametrize("pause", [False, True])
def test_next_ends_the_episode_as_if_its_time_were_over(bench, pause):
    script = [IDLE, *([press(Button.START)] if pause else []), press(Button.NEXT)]
    b = bench(script)
    first, second = b.run(episodes=2)
    assert ends(first) == (Outcome.TIMEOUT, 0.0, False, True) and len(first) == len(script)
    assert len(second) == 6


def test_success_before_the_start_is_said_and_a_second_start_begins_all_the_same(bench):
    class Eager(Countdown):
        def step(self, observation):
            return replace(super().step(observation), reached=True)

    for detector, asked in ((Countdown(3), 1), (Eager(3), 2)):
        b = bench(detector=detector)
        before = len(b.stored())
        said = []
        b.actor.run(SessionConfig(kind=f"online{asked}", episodes=1), b.done.append, say=said.append)
        assert len(b.stored()) == before + 1 and len(b.done[0]) == 3
        assert [p for p, _ in b.hand.told].count(Prompt.PLACE_OBJECT) == asked
        assert any("already sees success" in words for words in said) == (asked == 2)


def test_another_threshold_counts_from_the_next_episode_on_and_is_noted(bench):
    class Movable(Countdown):
        calibration = SimpleNamespace(threshold=0.9)

        def at(self, threshold):
            moved = Movable(self._n)
            moved.calibration, moved.version = SimpleNamespace(threshold=threshold), f"at {threshold}"
            return moved

    b = bench([IDLE, replace(IDLE, threshold=0.7)], detector=Movable(4))
    noted = []
    b.actor._journal = lambda event, **details: noted.append((event, details))
    first, second = b.run(episodes=2)
    assert (first.meta.detector_version, second.meta.detector_version) == ("countdown", "at 0.7")
    assert noted == [("threshold", {"was": 0.9, "threshold": 0.7, "detector": "at 0.7"})]
