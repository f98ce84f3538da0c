"""Every state of the authority has its words, and they say what the person can do."""

from dataclasses import replace

import pytest

from hilserl.loop.snapshot import Snapshot
from hilserl.ui.banner import SILENT_S, Banner, banner
from teleop.authority import Authority
from teleop.inputs import Prompt
from teleop.pad_mapping import LABELS, PadMap

GLYPHS = {what: LABELS[c] for what, c in vars(PadMap()).items() if c in LABELS}
NOW = Snapshot(stamp_s=5.0, may_take_over=True, glyphs=GLYPHS, running=True)
PAUSED = "paused; press Start to resume"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"authority": Authority.POLICY}, Banner("policy", "POLICY IN CONTROL", "", "hold RB to take over")),
        (
            {"authority": Authority.POLICY, "may_take_over": False},
            Banner("policy", "POLICY IN CONTROL", "", "hands off: this one is untouched"),
        ),
        ({"authority": Authority.HUMAN}, Banner("human", "YOU ARE IN CONTROL", "", "let go of RB to hand back")),
        (
            {"authority": Authority.HUMAN, "drives": "human"},
            Banner("human", "YOU ARE IN CONTROL", "", "let go of RB to hold still"),
        ),
        (
            {"authority": Authority.HUMAN, "glyphs": {"deadman": "the leader"}},
            Banner("human", "YOU ARE IN CONTROL", "", "let go of the leader to hand back"),
        ),
        (
            {"authority": Authority.RESETTING, "words": "moving to the start pose"},
            Banner("resetting", "MOVING TO RESET", "moving to the start pose", "touch any control, and it stops"),
        ),
        (
            {"authority": Authority.STOPPED},
            Banner("stopped", "STOPPED", "the arm holds its pose", "hold Start for one second to re-arm"),
        ),
        (
            {"authority": Authority.STOPPED, "limp": True},
            Banner("stopped", "STOPPED", "the arm is limp", "hold Start for one second to re-arm"),
        ),
        (
            {"authority": Authority.HOLDING, "limp": True},
            Banner("parked", "PARKED, TORQUE OFF", "", "Start: it gets its force back and moves"),
        ),
        (
            {"authority": Authority.PARKING, "words": "folding"},
            Banner("resetting", "MOVING TO PARK", "folding", "touch any control, and it stops"),
        ),
        (
            {"authority": Authority.PARKED, "words": "parked"},
            Banner("parked", "PARKED, TORQUE OFF", "", "Start: it gets its force back and moves"),
        ),
        ({"words": PAUSED}, Banner("holding", "HOLDING", PAUSED, "press Start to go on")),
        (
            {"words": "hold the deadman to drive", "drives": "human"},
            Banner("holding", "HOLDING", "hold the deadman to drive", "hold RB to drive"),
        ),
        (
            {"words": "the arm holds while the learner catches up", "running": False},
            Banner("holding", "HOLDING", "the arm holds while the learner catches up"),
        ),
        (
            {"words": Prompt.PLACE_OBJECT, "running": False},
            Banner("holding", "PUT THE OBJECT BACK", "the arm holds", "then press Start"),
        ),
        (
            {"words": "at the start pose", "connected": False},
            Banner("holding", "HOLDING", "your device is gone", "plug it in, then press Start"),
        ),
        (
            {"ended": True, "words": "episode 9: success, 31 steps"},
            Banner("gone", "SESSION OVER", "the arm holds its pose; the last word was: episode 9: success, 31 steps"),
        ),
    ],
)
def test_the_words_for_each_state(changes: dict, expected: Banner) -> None:
    assert banner(replace(NOW, **{"words": "the policy drives; you drive", **changes}), 0.1) == expected


@pytest.mark.parametrize("authority", Authority)
def test_no_state_is_without_words_and_silence_is_said_in_each(authority: Authority) -> None:
    s = replace(NOW, authority=authority, glyphs={})
    assert banner(s, 0.0).head
    lost = banner(s, SILENT_S + 1)
    assert (lost.look, lost.head) == ("lost", "NO WORD FROM THE ARM") and "power switch" in lost.can
    assert banner(replace(s, ended=True), 1e6).head == "SESSION OVER"


def test_before_any_session_it_says_what_is_waited_for() -> None:
    assert banner(None, 0.0) == Banner("gone", "NO SESSION YET", "waiting for the program that moves the arm")


def test_where_the_object_is_asked_for_is_said_when_it_is() -> None:
    asks = replace(NOW, words=Prompt.PLACE_OBJECT, running=False)
    assert banner(asks, 0.0, "21 cm in front of the arm").why == "21 cm in front of the arm"
    assert "21 cm" not in banner(NOW, 0.0, "21 cm in front of the arm").why
