"""What to show the classifier, and how much of it there is: a checklist with meters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from data.schema import Outcome
from data.store.reader import AnnotatedReader

SHOWS = "shows"  # the note of an episode that says what was asked for
POSITIVES, RATIO = 200, 2  # frames to aim for; so many times more of the others


class Kind(NamedTuple):
    """One thing that a classifier has to have seen."""

    name: str
    share: int  # of the episodes, relative to the others
    asks: str


KINDS = (
    Kind("success", 8, "succeed, and hold the success button as long as it shows; move about while it does"),
    Kind("near miss", 4, "nearly succeed: not high enough, half in the hand, beside the target"),
    Kind("closed on air", 2, "close the gripper beside the object and lift"),
    Kind("object moved", 2, "push the object about, drop it, let it lie at the edge"),
    Kind("empty scene", 1, "take the object away and move about"),
    Kind("occluded", 1, "keep a hand or the arm between camera and object for a while"),
    Kind("other light", 2, "switch a lamp, close the blinds; then succeed once and fail once"),
)


def counted(reader: AnnotatedReader) -> Counter[str]:
    """Return how many episodes of each kind there are that count."""
    done = (c for c in reader.commits("labels") if c.outcome is not Outcome.ABORTED)
    return Counter(str(c.notes.get(SHOWS, "")) for c in done)


def next_kind(done: Counter[str], kinds: Sequence[Kind] = KINDS) -> Kind:
    """Return the kind that is furthest behind its share; the first of them when several are."""
    return min(kinds, key=lambda kind: done[kind.name] / kind.share)


def meters(reader: AnnotatedReader) -> str:
    """Return what there is and what is wanted, in three lines of words and bars."""
    positives = negatives = 0
    for commit in reader.commits("labels"):
        if commit.outcome is not Outcome.ABORTED:
            marked = reader.read(commit).marked_success
            positives, negatives = positives + int(marked.sum()), negatives + int((~marked).sum())
    done = counted(reader)
    wanted = max(POSITIVES, positives) * RATIO
    shown = ", ".join(f"{k.name} {done[k.name]}" for k in KINDS)
    return (
        f"success frames {bar(positives, POSITIVES)} {positives}/{POSITIVES}\n"
        f"other frames   {bar(negatives, wanted)} {negatives}/{wanted}\n{shown}"
    )


def bar(value: int, aim: int, width: int = 20) -> str:
    """Return a bar that is full at `aim`."""
    full = min(width, width * value // aim)
    return "█" * full + "░" * (width - full)
