"""What helps the person during a session: hints after an episode, and where to put the object before the next."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data.errors import UserError
from data.schema import Episode, Outcome
from data.spec import TaskSpec
from data.store.reader import open_reader
from hilserl.runs import RunDirectory, find_checkpoint
from hilserl.ui.attempts import KINDS, Attempt, read_attempts, take
from hilserl.ui.coach import Coach, CoachConfig, Hint
from hilserl.ui.coverage import Coverage, CoverageConfig, Target, coverage, fixed, in_words, reach, suggest
from teleop.inputs import Prompt

FILE = "guide.json"  # in the run: what it says at present, for whoever shows it
SERIES = 10  # untouched episodes are asked for from the same so many places, again and again


class Guide:
    """Coach and map of one run; episodes of earlier sessions count, too.

    It only advises, so nothing that goes wrong with it, a full disk for example, ends a session.
    """

    def __init__(
        self, run: RunDirectory, task: TaskSpec, coach: CoachConfig, area: CoverageConfig, tell: Callable[[str], None]
    ) -> None:
        """Begin with what the store holds, which must exist; `tell` is given each new hint."""
        self._run, self._task, self._area, self._tell = run, task, area, tell
        self._reader, self._coach = open_reader(run.path), Coach(coach)
        commits = [c for c in self._reader.commits() if c.kind in KINDS]
        self.attempts: list[Attempt] = read_attempts(self._reader, commits, area.object, lambda _: None)
        self.hints: list[Hint] = []  # that hold now, the most urgent first
        for attempt in self.attempts:
            self.hints, _ = self._coach.see(attempt.stripe)
        self._write(None)  # what an earlier session asked for is over

    def coverage(self) -> Coverage:
        """Return the map so far."""
        return coverage(self.attempts, self._area, {})

    def then(self, done: Callable[[Episode], None]) -> Callable[[Episode], None]:
        """Return what to call after each episode: `done`, and then a look at how it went."""

        def both(episode: Episode) -> None:
            done(episode)
            try:
                self._see(episode)
            except Exception as error:
                self._tell(f"No hints after this episode: {error}")

        return both

    def on_top(self, say: Callable[[str], None], kind: str) -> Callable[[str], None]:
        """Return `say`, which also says where to put the object when it asks for it, in episodes of this kind."""

        def both(words: str) -> None:
            if words == Prompt.PLACE_OBJECT and self._area.prompts:
                target = self.place(kind)
                self._write(target)
                words = f"{words}, {in_words(target)}"
            say(words)

        return both

    def place(self, kind: str) -> Target:
        """Return where the object should lie in the next episode of this kind.

        Operated ones are wanted where the policy fails or was not tried. Untouched ones have a fixed series of places,
        so that one check can be compared with the next.
        """
        if kind != "online":
            return fixed(self._area, sum(a.kind == kind for a in self.attempts) % SERIES)
        found = self.coverage()
        if found.of != "object":  # nobody knows where it lay: any place will do
            found = coverage([], self._area, {})
        won = [a.stripe.won for a in self.attempts if a.kind == kind]
        return suggest(found, reach(won, self._area), np.random.default_rng(len(self.attempts)))

    def _see(self, episode: Episode) -> None:
        if episode.meta.outcome is Outcome.ABORTED or episode.meta.kind not in KINDS:
            return
        attempt = take(episode, self._index_of(episode.meta.uuid), self._task, self._area.object)
        self.attempts.append(attempt)
        self.hints, new = self._coach.see(attempt.stripe, self._best())
        for hint in new:
            self._run.journal("hint", **hint._asdict())
            self._tell(f"Coach: {hint.text}")
        self._write(None)

    def _write(self, target: Target | None) -> None:
        """Keep what it says now in `guide.json`: `hints`, the `place` that is asked for or null, and `coverage`."""
        hints, found = [hint._asdict() for hint in self.hints], self.coverage().to_json()
        place = target and {**target._asdict(), "words": in_words(target)}
        self._run.write_json(FILE, {"hints": hints, "place": place, "coverage": found})

    def _index_of(self, uuid: str) -> int:
        """Return the index of an episode, which may still be on its way into the store."""
        commits = self._reader.commits()
        after = commits[-1].index + 1 if commits else 0
        return next((c.index for c in reversed(commits) if c.uuid == uuid), after)

    def _best(self) -> str:
        try:
            return find_checkpoint(self._run.path, "best").name
        except UserError:
            return ""
