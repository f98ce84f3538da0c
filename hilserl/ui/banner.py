"""What stands on top of the page: who is in control, why, and what the person can do about it. Words only."""

from __future__ import annotations

from dataclasses import dataclass

from hilserl.loop.snapshot import Snapshot
from teleop.authority import Authority
from teleop.inputs import Prompt

SILENT_S = 2.0  # a session that lives shows itself many times a second


@dataclass(frozen=True)
class Banner:
    """Three lines, and which of the looks of the style sheet they have."""

    look: str
    head: str  # read from two metres
    why: str
    can: str = ""


def banner(s: Snapshot | None, age_s: float, place: str = "") -> Banner:
    """Return the banner for a session that showed itself `age_s` ago; None: there was none yet.

    `place` says where the object is asked for, if anywhere.
    """
    if s is None:
        return Banner("gone", "NO SESSION YET", "waiting for the program that moves the arm")
    if s.ended:
        return Banner("gone", "SESSION OVER", f"the arm holds its pose; the last word was: {s.words}")
    if age_s > SILENT_S:
        why = f"the program that moves the arm has said nothing for {age_s:.0f} s"
        return Banner("lost", "NO WORD FROM THE ARM", why, "if it moves, use its power switch")
    key = {what: s.glyphs.get(what, word) for what, word in _WORDS.items()}
    match Authority(s.authority):
        case Authority.STOPPED:
            can = f"hold {key['start']} for one second to re-arm"
            return Banner("stopped", "STOPPED", "the arm is limp" if s.limp else "the arm holds its pose", can)
        case Authority.PARKED:
            return _parked(key)
        case Authority.PARKING:
            return Banner("resetting", "MOVING TO PARK", s.words, "touch any control, and it stops")
        case Authority.RESETTING:
            return Banner("resetting", "MOVING TO RESET", s.words, "touch any control, and it stops")
        case Authority.POLICY:
            may = f"hold {key['deadman']} to take over" if s.may_take_over else "hands off: this one is untouched"
            return Banner("policy", "POLICY IN CONTROL", _news(s, "the policy drives"), may)
        case Authority.HUMAN:
            back = "hand back" if s.drives == "policy" else "hold still"
            return Banner("human", "YOU ARE IN CONTROL", _news(s, "you drive"), f"let go of {key['deadman']} to {back}")
    return _holding(s, key, place)


_WORDS = {"deadman": "the deadman", "start": "Start"}  # for a device that has no names for its controls


def _holding(s: Snapshot, key: dict[str, str], place: str) -> Banner:
    if s.limp:  # stopped while it was parked, and re-armed
        return _parked(key)
    if not s.connected:
        return Banner("holding", "HOLDING", "your device is gone", f"plug it in, then press {key['start']}")
    if s.words == Prompt.PLACE_OBJECT:
        return Banner("holding", "PUT THE OBJECT BACK", place or "the arm holds", f"then press {key['start']}")
    if s.running and s.drives == "human":
        return Banner("holding", "HOLDING", s.words, f"hold {key['deadman']} to drive")
    return Banner("holding", "HOLDING", s.words, f"press {key['start']} to go on" if s.running else "")


def _parked(key: dict[str, str]) -> Banner:
    return Banner("parked", "PARKED, TORQUE OFF", "", f"{key['start']}: it gets its force back and moves")


def _news(s: Snapshot, stands: str) -> str:
    """Return the newest words unless they only repeat the headline; in a preview, what would end the episode here."""
    if s.kind == "preview" and s.note:
        return s.note
    return "" if stands in s.words else s.words
