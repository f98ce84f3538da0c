"""Episodes on a simulated arm with a scripted hand: how they end, and what is stored of them."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest

import hilserl.loop.actor as actor_module
from classifier.detector import Verdict
from data.episode_store import EpisodeStore
from data.schema import Episode, Outcome, Source
from hilserl.loop.actor import Actor, SessionConfig, SessionStopped
from hilserl.robot.bus import ArmFault
from teleop.inputs import Button, OperatorState, Prompt

IDLE = OperatorState(stamp_s=0.0)
GONE = replace(IDLE, connected=False)


def press(*buttons: Button) -> OperatorState:
    return replace(IDLE, pressed=frozenset(buttons))


def drive(move=(0.0, 1.0, 0.0), gripper=1.0, **fields: object) -> OperatorState:
    return replace(IDLE, deadman=True, move=np.array(move, np.float32), gripper=gripper, **fields)


class Hand:
    """Answers "place the object" with Start, then plays one script per episode, one state per tick, then idles."""

    def __init__(self, *scripts: Iterable[OperatorState]) -> None:
        self.scripts = [list(s) for s in scripts]
        self.told: list[tuple[Prompt, dict]] = []
        self._queue: list[OperatorState] = []
        self.started = press(Button.START)  # what it answers with

    def read(self) -> OperatorState:
        return self._queue.pop(0) if self._queue else IDLE

    def tell(self, prompt: Prompt, **details: object) -> None:
        self.told.append((prompt, details))
        if prompt is Prompt.PLACE_OBJECT:
            self._queue = [IDLE, self.started]
        if prompt is Prompt.EPISODE_STARTED:
            self._queue = self.scripts.pop(0) if self.scripts else []

    def close(self) -> None:
        pass


class Wanderer:
    """A policy that wanders; it remembers what it saw."""

    version = 7

    def __init__(self) -> None:
        self.refreshed, self.explored, self.seen = 0, [], []
        self._rng = np.random.default_rng(0)

    def refresh(self) -> None:
        self.refreshed += 1

    def act(self, observation, *, explore: bool) -> np.ndarray:
        self.seen.append(observation.state)
        self.explored.append(explore)
        return self._rng.uniform(-0.5, 0.5, 4).astype(np.float32)


class Countdown:
    """A detector that sees success in the n-th frame of each episode."""

    version = "countdown"

    def __init__(self, n: int) -> None:
        self._n, self._left = n, -1

    def reset(self) -> None:
        self._left = self._n

    def step(self, observation) -> Verdict:
        self._left -= 1
        return Verdict(0.9 if self._left <= 0 else 0.1, self._left <= 0)


class Bench:
    """An actor on a simulated arm; `run` records the episodes it hands out."""

    def __init__(self, env, store: EpisodeStore, hand: Hand, detector: object = None) -> None:
        self.env, self.store, self.hand, self.policy = env, store, hand, Wanderer()
        self.actor = Actor(env, hand, store, policy=self.policy, detector=detector)
        self.done: list[Episode] = []
        self.executed: list[np.ndarray] = []
        step = env.step

        def watched(action):
            result = step(action)
            self.executed.append(result.executed)
            return result

        env.step = watched

    def run(self, **fields: object) -> list[Episode]:
        """Run one session and return what the store holds."""
        session = SessionConfig(**({"kind": "online", "episodes": 1, "max_steps": 6, "may_take_over": True} | fields))
        self.actor.run(session, self.done.append)
        return self.stored()

    def stored(self) -> list[Episode]:
        return [self.store.read(c) for c in self.store.commits()]


@pytest.fixture
def bench(new_world, blind_env, task, tmp_path, monkeypatch) -> Callable[..., Bench]:
    monkeypatch.setattr(actor_module, "WAIT_S", 0.0)
    stores = []

    def make(*scripts: Iterable[OperatorState], detector: object = None, world=None) -> Bench:
        if not stores:
            stores.append(EpisodeStore.create_or_open(tmp_path / "store", task))
        return Bench(blind_env(world or new_world()), stores[0], Hand(*scripts), detector)

    yield make
    for store in stores:
        assert store.verify() == []
        store.close()


def sources(episode: Episode) -> list[Source]:
    return [Source(s) for s in episode.source]


def ends(episode: Episode) -> tuple[Outcome, float, bool, bool]:
    assert not episode.terminated[:-1].any() and not episode.truncated[:-1].any()
    assert not episode.reward[:-1].any()
    return (
        episode.meta.outcome,
        float(episode.reward[-1]),
        bool(episode.terminated[-1]),
        bool(episode.truncated[-1]),
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
    assert prompts == [Prompt.POLICY_IN_CONTROL, Prompt.HUMAN_IN_CONTROL] * 2


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
    b = bench([drive(), drive(), IDLE, drive()])
    (episode,) = b.run(drives="human", may_take_over=False)
    h, hold = Source.HUMAN, Source.HOLD
    assert sources(episode) == [hold, h, h, hold, h, hold]
    assert b.policy.seen == []


def test_a_pause_holds_until_start(bench):
    (episode,) = bench([IDLE, press(Button.START), IDLE, press(Button.START)]).run()
    p, hold = Source.POLICY, Source.HOLD
    assert sources(episode) == [p, p, hold, hold, p, p]
    np.testing.assert_array_equal(episode.executed[2:4, :3], 0.0)
    assert (episode.executed[2:4, 3] == episode.executed[1, 3]).all()


@pytest.mark.parametrize("explore", [False, True])
def test_exploration_is_the_sessions_choice(bench, explore):
    b = bench()
    b.run(explore=explore)
    assert set(b.policy.explored) == {explore}


# What goes wrong


def test_stop_holds_the_arm_and_ends_the_session(bench, new_world):
    world = new_world()
    b = bench([drive(), press(Button.STOP)], world=world)
    with pytest.raises(SessionStopped):
        b.run(episodes=5)
    assert len(b.executed) == 2 and len(b.done) == 0
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
    with pytest.raises(SessionStopped, match="reset"):
        b.run()
    assert b.stored() == [] and b.executed == []


def test_a_lost_device_holds_and_never_gives_the_arm_to_the_policy(bench):
    b = bench([drive(), GONE, GONE, IDLE, IDLE, press(Button.START), IDLE])
    (episode,) = b.run(max_steps=9)
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


@pytest.mark.parametrize("after", [0, 3])
def test_a_fault_commits_what_there_is_and_goes_up(bench, after):
    b = bench()
    step, calls = b.env.step, []

    def failing(action):
        calls.append(action)
        if len(calls) > after:
            raise ArmFault("no answer")
        return step(action)

    b.env.step = failing
    with pytest.raises(ArmFault, match="no answer"):
        b.run()
    episodes = b.stored()
    assert [(len(e), ends(e)) for e in episodes] == [(3, (Outcome.ABORTED, 0.0, False, True))] * (after > 0)
    assert list(b.store.path.glob("journal-*")) == []


def test_a_fault_that_also_fails_to_hold_is_still_the_first_fault(bench):
    b = bench()

    def fault(*_: object):
        raise ArmFault("first")

    def second():
        raise ArmFault("second")

    b.env.step, b.env.arm.hold = fault, second
    with pytest.raises(ArmFault, match="first"):
        b.run()


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
