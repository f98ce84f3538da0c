"""An actor on a simulated arm with a scripted hand, for the tests of the actor; loaded by path."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from classifier.detector import Verdict
from data.schema import Episode, Outcome, Source
from data.store.episode_store import EpisodeStore
from hilserl.loop.actor import Actor
from hilserl.loop.session import SessionConfig
from teleop.inputs import Button, OperatorState, Prompt

IDLE = OperatorState(stamp_s=0.0)
GONE = replace(IDLE, connected=False)


def press(*buttons: Button) -> OperatorState:
    return replace(IDLE, pressed=frozenset(buttons))


def drive(move=(0.0, 1.0, 0.0), gripper=1.0, **fields: object) -> OperatorState:
    return replace(IDLE, deadman=True, move=np.array(move, np.float32), gripper=gripper, **fields)


class Hand:
    """Answers "place the object" with Start, then plays one script per episode, one state per tick, then idles.

    A tick looks at the hand five times; with `looks` 1 a script has a state for each of them.
    """

    def __init__(self, *scripts: Iterable[OperatorState]) -> None:
        self.scripts = [list(s) for s in scripts]
        self.told: list[tuple[Prompt, dict]] = []
        self._queue: list[OperatorState] = []
        self.started = press(Button.START)  # what it answers with
        self.looks, self._looks, self._running, self._last = 5, 0, False, IDLE

    def read(self) -> OperatorState:
        self._looks += 1
        if self._running and self._looks % self.looks:
            return replace(self._last, pressed=frozenset())
        self._last = self._queue.pop(0) if self._queue else IDLE
        return self._last

    def tell(self, prompt: Prompt, **details: object) -> None:
        self.told.append((prompt, details))
        if prompt is Prompt.PLACE_OBJECT:
            self._queue = [IDLE, self.started]
        if prompt is Prompt.EPISODE_STARTED:
            self._queue = self.scripts.pop(0) if self.scripts else []
            self._looks, self._running, self._last = 0, True, IDLE
        if prompt is Prompt.EPISODE_ENDED:
            self._running = False

    def follow(self, follower: object) -> None:
        pass

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

    def begin(self) -> None: ...

    def see(self, observation) -> None: ...

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

        def watched(action, revise):
            result = step(action, revise)
            self.executed.append(result.executed)
            return result

        env.step = watched

    def run(self, **fields: object) -> list[Episode]:
        """Run one session and return what the store holds."""
        session = SessionConfig(
            **({"kind": "online", "episodes": 1, "max_steps": 6, "may_take_over": True, "give_up_s": 0.9} | fields)
        )
        self.actor.run(session, self.done.append)
        return self.stored()

    def stored(self) -> list[Episode]:
        return [self.store.read(c) for c in self.store.commits()]


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
