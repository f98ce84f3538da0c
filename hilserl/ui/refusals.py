"""Which presses on the page make sense now, and why the others do not. Who may move the arm is not decided here."""

from __future__ import annotations

from hilserl.loop.snapshot import Snapshot
from teleop.authority import Authority
from teleop.inputs import Button

THRESHOLD = "threshold"  # the command that asks for another one


def refusal(does: str, s: Snapshot) -> str:
    """Return why the session would not do what is pressed, or "" when it would."""
    if does == Button.PARK.value and s.running:
        return "end this episode first: Next, Failure or Redo"
    if does == Button.PARK.value and s.authority != Authority.HOLDING:
        return _NO_PARK.get(Authority(s.authority), "wait until the arm holds")
    if does == Button.NEXT.value and not s.running:
        return "no episode is running"
    if does == Button.UNDO.value and not (s.last and not s.running):
        return "wait until the episode is over" if s.running else "there is no label to take back"
    if does == THRESHOLD and s.threshold is None:
        return "no classifier judges this session; your button decides"
    return ""


_NO_PARK = {
    Authority.STOPPED: "re-arm first",
    Authority.RESETTING: "interrupt this motion first",
    Authority.PARKING: "it is on its way",
    Authority.PARKED: "it is parked",
}
