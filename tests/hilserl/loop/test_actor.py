"""Episodes on a simulated arm with a scripted hand: how they end, and what is stored of them."""

import contextlib
import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from classifier.detector import Verdict
from data.schema import Outcome, Source
from data.store.annotations import Annotations
from hilserl.loop.session import SessionStopped
from hilserl.robot.kinematics import ee_position
from teleop.inputs import Button, Prompt

_spec = importlib.util.spec_from_file_location("actor_bench", Path(__file__).with_name("actor_bench.py"))
_bench = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_bench)
IDLE, GONE, press, drive, Countdown, sources, ends = (
    _bench.IDLE,
    _bench.GONE,
    _bench.press,
    _bench.drive,
    _bench.Countdown,
    _bench.sources,
    _bench.ends,
)


# How an episode ends


@pytest.mark.parametrize(
    "script, expected, length",
    [
        ([IDLE, IDLE, press(Button.SUCCESS)], (Outcome.SUCCESS, 1.0, True, False), 3),
        ([IDLE, press(Button.FAILURE)], (Outcome.FAILURE, 0.0, True, False), 2),
        ([], (Outcome.TIMEOUT, 0.0, False, True), 6),
        ([IDLE] * 5 + [press(Button.SUCCESS)], (Outcome.SUCCESS, 1.0, True, False), 6),
        ([IDLE, IDLE, press(Button.STOP)], (Outcome.ABORTED, 0.0, False, True), 3),
    ],
    ids=["success", "failure", "timeout", "success in the last step", "stop"],
)
def test_an_episode_ends_as_the_person_says(bench, script, expected, length):
    b = bench(script)
    if expected[0] is Outcome.ABORTED:
        with pytest.raises(SessionStopped, match="STOP"):
            b.run()
    else:
        b.run()
    (episode,) = b.stored()
    assert ends(episode) == expected and len(episode) == length
    assert b.hand.told[-1] == (Prompt.EPISODE_ENDED, {"uuid": episode.meta.uuid, "outcome": str(expected[0])})


def test_the_detector_pays_once_and_ends_the_episode(bench):
    (episode,) = bench(detector=Countdown(4)).run()
    assert ends(episode) == (Outcome.SUCCESS, 1.0, True, False) and len(episode) == 4
    assert episode.meta.detector_version == "countdown"
    np.testing.assert_allclose(episode.p_success, [0.1, 0.1, 0.1, 0.9], atol=1e-6)


class Sees(Countdown):
    """A detector that says the same of every frame."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict

    def reset(self): ...

    def step(self, observation):
        return self._verdict


def test_a_reward_cannot_be_farmed(bench):
    """Whoever stays in success is paid once: the first frame of it ends the episode."""
    for episode in bench(detector=Sees(Verdict(1.0, True))).run(episodes=2):
        assert ends(episode) == (Outcome.SUCCESS, 1.0, True, False) and len(episode) == 1


def test_a_failure_that_the_detector_sees_ends_the_episode(bench):
    (episode,) = bench(detector=Sees(Verdict(0.0, False, failure="fell"))).run()
    assert ends(episode) == (Outcome.FAILURE, 0.0, True, False) and len(episode) == 1


class Plays(Sees):
    """A detector that says these things in turn."""

    def __init__(self, *verdicts: Verdict) -> None:
        self._verdicts = verdicts

    def reset(self):
        self._left = list(self._verdicts)

    def step(self, observation):
        return self._left.pop(0)


def test_stages_are_noted_when_they_are_passed_and_the_last_one_is_success(bench):
    said = [Verdict(0.0, False, stage=stage) for stage in (0, 1, 1, 2)]
    (episode,) = bench(detector=Plays(*said, Verdict(1.0, True, stage=3))).run()
    assert ends(episode) == (Outcome.SUCCESS, 1.0, True, False) and len(episode) == 5
    assert {k: v for k, v in episode.meta.notes.items() if k.startswith("stage_")} == {"stage_1": 1, "stage_2": 3}


def test_the_persons_failure_outdoes_the_detector_and_is_a_hard_negative(bench):
    b = bench([press(Button.FAILURE)], detector=Countdown(1))
    (episode,) = b.run()
    assert ends(episode) == (Outcome.FAILURE, 0.0, True, False)
    verdict = Annotations(b.store.path).verdicts()[episode.meta.uuid]
    assert verdict.labels["success"].intervals == ()


def test_a_failure_that_nobody_took_for_success_is_no_label(bench):
    b = bench([press(Button.FAILURE)], detector=Countdown(4))
    b.run()
    assert not Annotations(b.store.path).entries()


def test_drift_of_the_pictures_is_stored(bench):
    (episode,) = bench(detector=Sees(Verdict(0.0, False, drift=1.8, brightness=0.7))).run()
    assert (episode.meta.notes["drift"], episode.meta.notes["brightness"]) == (1.8, 0.7)


def test_the_detector_starts_afresh_in_every_episode(bench):
    assert [len(e) for e in bench(detector=Countdown(3)).run(episodes=3)] == [3, 3, 3]


def test_while_labels_are_collected_success_does_not_end_the_episode(bench):
    marked = replace(press(Button.SUCCESS), success_held=True)
    (episode,) = bench([IDLE, marked, marked], detector=Countdown(1)).run(ends_on_success=False)
    assert ends(episode) == (Outcome.TIMEOUT, 0.0, False, True) and len(episode) == 6
    assert episode.marked_success.tolist() == [False, False, True, True, False, False, False]


def test_without_a_detector_there_is_no_probability(bench):
    (episode,) = bench().run()
    assert np.isnan(episode.p_success).all() and episode.meta.detector_version == ""


def test_the_tasks_time_limit_counts_when_the_session_has_none(bench, task):
    assert len(bench().run(max_steps=0)[0]) == task.time_limit_steps


def test_a_discarded_episode_leaves_nothing_and_is_done_again(bench):
    b = bench([IDLE, press(Button.DISCARD)], [press(Button.FAILURE)])
    (episode,) = b.run()
    assert episode.meta.outcome is Outcome.FAILURE and len(b.done) == 1
    assert list(b.store.path.glob("journal-*")) == []
    places = [d["episode"] for p, d in b.hand.told if p is Prompt.PLACE_OBJECT]
    assert places == [0, 0]  # the same episode, placed again


# Who acts, and what is stored


def test_what_is_stored_is_what_was_executed(bench, task):
    b = bench([IDLE, drive((0, 0, 1)), drive((0, 0, 1)), IDLE] + [drive((0, 0, 1))] * 20)
    (episode,) = b.run(max_steps=24)
    np.testing.assert_array_equal(episode.executed, b.executed)
    human = episode.source == Source.HUMAN
    np.testing.assert_allclose(episode.proposed[human][:, 2], 1.0)
    assert episode.executed[human][-1, 2] < 0.5  # the ceiling of the workspace took the rest away


def test_the_person_is_the_source_exactly_while_the_deadman_is_held(bench):
    h, p = Source.HUMAN, Source.POLICY
    b = bench([drive(), drive(), IDLE, IDLE, drive()])
    (episode,) = b.run()
    # What is read after a tick acts in the next one.
    assert sources(episode) == [p, h, h, p, p, h]
    assert [v == 7 for v in episode.policy_version] == [s is p for s in sources(episode)]
    assert len(b.policy.seen) == b.policy.refreshed == 3
    assert b.store.commits()[0].human_steps == 3
    prompts = [x for x, _ in b.hand.told if x in (Prompt.HUMAN_IN_CONTROL, Prompt.POLICY_IN_CONTROL)]
    assert prompts == [Prompt.POLICY_IN_CONTROL, Prompt.HUMAN_IN_CONTROL] * 2 + [Prompt.POLICY_IN_CONTROL]


def test_the_policy_acts_on_the_observation_that_is_stored(bench):
    b = bench([IDLE, drive(), IDLE])
    (episode,) = b.run()
    seen = iter(b.policy.seen)
    for t, source in enumerate(sources(episode)):
        if source is Source.POLICY:
            np.testing.assert_array_equal(next(seen), episode.state[t])


def test_the_previous_action_of_every_row_is_what_was_executed_before_it(bench):
    """The seams, at a take-over and at the ends: one contiguous run of observations."""
    (episode,) = bench([IDLE, drive(), drive(gripper=-1.0), IDLE]).run()
    assert len(episode.state) == len(episode) + 1
    np.testing.assert_allclose(episode.state[1:, -4:], episode.executed, atol=1e-6)
    np.testing.assert_allclose(np.diff(episode.stamp_s), 0.1, atol=1e-6)


def test_two_episodes_do_not_run_into_each_other(bench):
    first, second = bench([drive((0, 1, 0))] * 6, []).run(episodes=2)
    assert second.stamp_s[0] > first.stamp_s[-1]
    np.testing.assert_allclose(second.state[0, 15:18], 0.0, atol=1e-6)  # no lead left over
    assert sources(second)[0] is Source.POLICY


@pytest.mark.parametrize("kept", [-1.0, 1.0])
def test_a_take_over_keeps_the_gripper(bench, kept):
    b = bench([drive((0, 0, 0), gripper=kept), IDLE, drive((0, 1, 0), gripper=-kept), drive(gripper=-kept)])
    (episode,) = b.run()
    assert sources(episode)[1] is Source.HUMAN and sources(episode)[3] is Source.HUMAN
    for t in (1, 3):  # the first tick of each take-over
        assert episode.proposed[t, 3] == episode.executed[t - 1, 3]
    assert episode.proposed[4, 3] == -kept  # from then on the person's
    told = [d["gripper"] for p, d in b.hand.told if p is Prompt.HUMAN_IN_CONTROL]
    np.testing.assert_allclose(told, episode.executed[[0, 2], 3])


def test_where_taking_over_is_not_allowed_the_deadman_is_ignored(bench):
    b = bench([drive()] * 6)
    b.hand.started = replace(press(Button.START), deadman=True)
    (episode,) = b.run(may_take_over=False)
    assert set(sources(episode)) == {Source.POLICY}


def test_where_only_the_person_drives_the_policy_is_never_asked(bench):
    b = bench([drive(), drive(), IDLE, *[drive()] * 4])
    (episode,) = b.run(drives="human", may_take_over=False)
    h, hold = Source.HUMAN, Source.HOLD
    assert sources(episode) == [hold, h, h, hold, h, h, h, h]  # the 6 steps that are allowed, pauses apart
    assert b.policy.seen == []


def test_a_pause_holds_until_start(bench):
    (episode,) = bench([IDLE, press(Button.START), IDLE, press(Button.START)]).run()
    p, hold = Source.POLICY, Source.HOLD
    assert sources(episode) == [p, p, hold, hold, p, p, p, p]  # the 6 steps that are allowed, pauses apart
    np.testing.assert_array_equal(episode.executed[2:4, :3], 0.0)
    assert (episode.executed[2:4, 3] == episode.executed[1, 3]).all()


@pytest.mark.parametrize("explore", [False, True])
def test_exploration_is_the_sessions_choice(bench, explore):
    b = bench()
    b.run(explore=explore)
    assert set(b.policy.explored) == {explore}


# Within a tick, of which the person's device is looked at five times


def goals(b) -> list[list[np.ndarray]]:
    """Where the end effector was told to be, tick by tick: before it, and with each of its five goals."""
    ticks, step, write = [], b.env.step, b.env.arm.write

    def ticking(action, revise):
        ticks.append([b.env._target])
        return step(action, revise)

    def noted(goal):
        if ticks:
            ticks[-1].append(ee_position(goal))
        return write(goal)

    b.env.step, b.env.arm.write = ticking, noted
    return ticks


def moves(tick: list[np.ndarray]) -> np.ndarray:
    """The motion with each goal of a tick, [5, 3] m."""
    return np.diff(np.array(tick), axis=0)[:5]


@pytest.mark.parametrize("look", range(5))
def test_a_take_over_drives_from_the_next_goal_on(bench, task, look):
    b = bench([IDLE] * look + [drive((0, 0, 1))] * (10 - look))
    b.hand.looks, b.policy.act = 1, lambda observation, explore: np.array([0, 1, 0, 1], np.float32)
    ticks, policys = goals(b), look + 1
    (episode,) = b.run(max_steps=2)
    expected = task.action.step_m / 5 * np.array([[0, 1, 0]] * policys + [[0, 0, 1]] * (10 - policys))
    np.testing.assert_allclose(np.concatenate([moves(tick) for tick in ticks]), expected, atol=5e-4)
    np.testing.assert_allclose(episode.executed[0, :3], [0, policys / 5, 1 - policys / 5], atol=0.01)
    assert sources(episode) == [Source.POLICY if policys > 2 else Source.HUMAN, Source.HUMAN]


@pytest.mark.parametrize("after", [press(Button.STOP), press(Button.START), GONE], ids=["stop", "pause", "unplugged"])
@pytest.mark.parametrize("look", range(5))
def test_the_next_goal_holds(bench, look, after):
    b = bench([IDLE] * look + [after] + [replace(after, pressed=frozenset())] * 20)
    b.hand.looks, ticks = 1, goals(b)
    with contextlib.suppress(SessionStopped):
        b.run(give_up_s=0.1)
    episode = b.stored()[0]
    assert episode.meta.outcome is Outcome.ABORTED
    made = np.linalg.norm(np.concatenate([moves(tick) for tick in ticks[: len(episode)]]), axis=1)
    assert (made[: look + 1] > 1e-4).all() and (made[look + 1 :] < 5e-5).all()
    assert np.abs(episode.executed[0, :3]).max() <= 0.5 * (look + 1) / 5 + 1e-6, "it asks for up to a half"
    assert not episode.executed[1:, :3].any()


def test_a_release_holds_until_the_policy_has_looked(bench):
    b = bench([drive((1, 0, 0))] * 7 + [IDLE] * 20)
    b.hand.looks, ticks = 1, goals(b)
    (episode,) = b.run(max_steps=4)
    assert sources(episode)[1:] == [Source.HUMAN, Source.POLICY, Source.POLICY]
    made = np.linalg.norm(moves(ticks[1]), axis=1)
    assert (made[:3] > 1e-3).all() and (made[3:] < 5e-5).all()
    np.testing.assert_allclose(episode.executed[1, :3], [0.6, 0, 0], atol=0.01)


def test_presses_between_two_ticks_are_all_seen_once(bench):
    quick = [IDLE, press(Button.START), IDLE, press(Button.START), IDLE]  # pause, and go on, within one tick
    b = bench([*quick, IDLE, press(Button.SUCCESS), IDLE, IDLE, IDLE])
    b.hand.looks = 1
    (episode,) = b.run()
    assert ends(episode) == (Outcome.SUCCESS, 1.0, True, False) and len(episode) == 2


@pytest.mark.parametrize("look", range(5))
def test_what_a_slow_arm_has_not_made_is_not_made_up_for_after_stop(bench, task, look):
    """Speed and acceleration limits make an arm lag behind what it is told, the jaw by most of its way."""
    b = bench([IDLE] * look + [press(Button.STOP)] + [IDLE] * 20)
    b.hand.looks, b.policy.act = 1, lambda observation, explore: np.array([0, 1, 0, -1], np.float32)
    sent, write = [], b.env.arm.write

    def slowly(goal):
        last = sent[-1] if sent else b.env.arm.read().positions_rad
        sent.append(write(last + np.clip(goal - last, -0.01, 0.01)))
        return sent[-1]

    b.env.arm.write = slowly
    with pytest.raises(SessionStopped):
        b.run(give_up_s=0.1)
    (episode,) = b.stored()
    ours = np.array(sent[-5 * len(episode) :])
    assert np.abs(ours[look + 1 :] - ours[look]).max(initial=0.0) < 1e-3
    assert ours[look, 5] == pytest.approx(task.action.gripper_open_rad - 0.01 * (look + 1), abs=0.005), "it closed"
