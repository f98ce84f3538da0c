"""Who is in control: one table from (authority, event) to authority, and nothing else that may decide it.

`step` is a pure function. In each tick the events that are true are looked up in the order in which `Event`
declares them, and the first one that the table knows for the current authority wins. So priority is reading
order, STOP comes first, and what is not in the table cannot happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from teleop.inputs import Prompt


class Authority(StrEnum):
    """Who may move the arm right now."""

    PARKED = "parked"  # at rest, torque may be off
    HOLDING = "holding"  # torque on, pose held: paused, waiting, or something is lost
    POLICY = "policy"
    HUMAN = "human"
    RESETTING = "resetting"  # the planned move to the start pose
    PARKING = "parking"  # the planned move to the folded pose
    STOPPED = "stopped"  # latched: holds until re-armed


class Event(StrEnum):
    """What can be true in a tick, most urgent first; `Inputs` says what makes each of them true."""

    STOP = "stop"
    REARM = "re-arm"
    BUS_LOST = "bus lost"
    OPERATOR_LOST = "operator's device lost"
    CAMERA_LOST = "camera lost"
    INTERRUPTED = "controls touched during a motion"
    EPISODE_OVER = "episode over"
    POLICY_BARRED = "policy may not drive"
    RESET_DONE = "reset done"
    PARK_DONE = "park done"
    RESET_REQUESTED = "reset requested"
    PARK_REQUESTED = "park requested, no episode running"
    TAKE_OVER = "deadman held"
    BEGIN_DRIVING = "deadman held, person-only episode running"
    START_DEADMAN = "start, deadman held"
    START_POLICY = "start, policy may drive"
    START = "start"
    HAND_BACK = "deadman released, policy may drive"
    LET_GO = "deadman released, only the person drives"


def _table() -> dict[tuple[Authority, Event], Authority]:
    a, e = Authority, Event
    table = {(s, e.STOP): a.STOPPED for s in Authority}
    table[a.STOPPED, e.REARM] = a.HOLDING

    # A loss stops all motion. HOLDING maps to itself, so that nothing can start from it while the loss lasts.
    for lost in (e.BUS_LOST, e.OPERATOR_LOST, e.CAMERA_LOST):
        for s in (a.HOLDING, a.POLICY, a.HUMAN, a.RESETTING, a.PARKING):
            table[s, lost] = a.HOLDING
        table[a.PARKED, lost] = a.PARKED

    # HOLDING maps to itself again: a Start in the last tick of an episode does not start the next one.
    for s in (a.HOLDING, a.POLICY, a.HUMAN):
        table[s, e.EPISODE_OVER] = a.HOLDING
    table[a.POLICY, e.POLICY_BARRED] = a.HOLDING

    table[a.HOLDING, e.RESET_REQUESTED] = a.RESETTING
    table[a.PARKED, e.RESET_REQUESTED] = a.RESETTING
    table[a.RESETTING, e.INTERRUPTED] = a.HOLDING
    table[a.RESETTING, e.RESET_DONE] = a.HOLDING

    table[a.HOLDING, e.PARK_REQUESTED] = a.PARKING
    table[a.PARKING, e.INTERRUPTED] = a.HOLDING
    table[a.PARKING, e.PARK_DONE] = a.PARKED

    table[a.HOLDING, e.BEGIN_DRIVING] = a.HUMAN
    table[a.HOLDING, e.START_DEADMAN] = a.HUMAN  # never a tick of policy under a held deadman
    table[a.HOLDING, e.START_POLICY] = a.POLICY
    table[a.HOLDING, e.START] = a.HOLDING  # ready; the deadman drives once the episode runs

    table[a.POLICY, e.TAKE_OVER] = a.HUMAN
    table[a.POLICY, e.START] = a.HOLDING  # pause
    table[a.HUMAN, e.HAND_BACK] = a.POLICY
    table[a.HUMAN, e.LET_GO] = a.HOLDING
    return table


TABLE: Mapping[tuple[Authority, Event], Authority] = MappingProxyType(_table())

_WHY: Mapping[tuple[Authority, Event], str] = MappingProxyType(
    {
        (Authority.STOPPED, Event.STOP): "STOP pressed; hold Start for 1 s to re-arm",
        (Authority.HOLDING, Event.REARM): "re-armed; waiting for Start",
        (Authority.HOLDING, Event.BUS_LOST): "no answer from the arm; check its cable and power",
        (
            Authority.HOLDING,
            Event.OPERATOR_LOST,
        ): "the operator's device is gone; plug it in and press Start",
        (Authority.HOLDING, Event.CAMERA_LOST): "no fresh camera frame; check its cable",
        (Authority.HOLDING, Event.INTERRUPTED): "you touched the controls; press Start and the arm moves on",
        (Authority.HOLDING, Event.EPISODE_OVER): "episode over",
        (Authority.HOLDING, Event.POLICY_BARRED): "only the person drives in this session",
        (Authority.HOLDING, Event.RESET_DONE): "at the start pose; waiting for Start",
        (Authority.HOLDING, Event.START): "ready",
        (Authority.HOLDING, Event.LET_GO): "deadman released; hold it to drive",
        (Authority.RESETTING, Event.RESET_REQUESTED): "moving to the start pose",
        (Authority.PARKING, Event.PARK_REQUESTED): "folding; then it goes limp",
        (Authority.PARKED, Event.PARK_DONE): "parked and limp; press Start to go on",
        (Authority.HUMAN, Event.TAKE_OVER): "you took over",
        (Authority.HUMAN, Event.START_DEADMAN): "you drive",
        (Authority.HUMAN, Event.BEGIN_DRIVING): "you drive",
        (Authority.POLICY, Event.START_POLICY): "started; the policy drives",
        (Authority.POLICY, Event.HAND_BACK): "handed back; the policy drives",
    }
)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Everything that may change who is in control, in this tick. Edges are true for one tick only."""

    drives: Literal["policy", "human"]  # constant in a session; "human": recording, the policy never drives
    may_take_over: bool  # False in untouched evaluation: the deadman is ignored, STOP is not
    operator_ok: bool  # the person's device is connected
    bus_ok: bool  # the arm answers
    camera_ok: bool  # every camera's newest frame is fresh
    running: bool  # an episode is open
    deadman: bool = False  # level
    stop: bool = False  # edge
    start: bool = False  # edge
    rearm: bool = False  # edge
    reset_requested: bool = False
    reset_done: bool = False
    interrupted: bool = False
    episode_over: bool = False
    park_requested: bool = False
    park_done: bool = False

    def __post_init__(self) -> None:
        if self.drives not in ("policy", "human"):
            raise ValueError(f"drives={self.drives!r}: accepted are 'policy' and 'human'")


@dataclass(frozen=True)
class Decision:
    """The authority from now on, and why, in words for the operator's page (never empty)."""

    authority: Authority
    reason: str


PROMPTS: Mapping[Authority, Prompt] = MappingProxyType(  # what the person is told when it becomes so
    {
        Authority.HUMAN: Prompt.HUMAN_IN_CONTROL,
        Authority.POLICY: Prompt.POLICY_IN_CONTROL,
        Authority.STOPPED: Prompt.STOPPED,
    }
)


def moves(authority: Authority) -> bool:
    """Whether the arm may be given a new target under this authority."""
    return authority in (Authority.POLICY, Authority.HUMAN, Authority.RESETTING, Authority.PARKING)


def step(current: Authority, inputs: Inputs) -> Decision:
    """Return who is in control after this tick's inputs; call it before choosing the action of the tick."""
    happens = _happens(inputs)
    for event in Event:
        if happens[event] and (current, event) in TABLE:
            after = TABLE[current, event]
            if (current, event) == (Authority.POLICY, Event.START):
                return Decision(after, "paused; press Start to resume")
            return Decision(after, _WHY.get((after, event)) or f"{event}: {_standing(after, inputs)}")
    return Decision(current, _standing(current, inputs))


def table_markdown() -> str:
    """Draw the table for the documentation: one row per event, most urgent first; empty means "no effect"."""
    lines = ["| event, most urgent first | " + " | ".join(a.upper() for a in Authority) + " |"]
    lines.append("|---" * (len(Authority) + 1) + "|")
    for event in Event:
        after = (TABLE.get((a, event)) for a in Authority)
        lines.append(f"| {event} | " + " | ".join(a.upper() if a else "" for a in after) + " |")
    return "\n".join(lines) + "\n"


def _happens(i: Inputs) -> dict[Event, bool]:
    """Which events the inputs of a tick make true; the only place where inputs get a meaning."""
    deadman = i.deadman and i.may_take_over
    policy = i.drives == "policy"
    return {
        Event.STOP: i.stop,
        Event.REARM: i.rearm,
        Event.BUS_LOST: not i.bus_ok,
        Event.OPERATOR_LOST: not i.operator_ok,
        Event.CAMERA_LOST: not i.camera_ok,
        Event.INTERRUPTED: i.interrupted,
        Event.EPISODE_OVER: i.episode_over,
        Event.POLICY_BARRED: not policy,
        Event.RESET_DONE: i.reset_done,
        Event.PARK_DONE: i.park_done,
        Event.RESET_REQUESTED: i.reset_requested,
        Event.PARK_REQUESTED: i.park_requested and not i.running,
        Event.TAKE_OVER: deadman,
        Event.BEGIN_DRIVING: deadman and not policy and i.running,
        Event.START_DEADMAN: deadman and policy and i.start,
        Event.START_POLICY: policy and i.start,
        Event.START: i.start,
        Event.HAND_BACK: not deadman and policy,
        Event.LET_GO: not deadman and not policy,
    }


def _standing(authority: Authority, i: Inputs) -> str:
    """What an authority waits for or does when nothing new happened."""
    if authority is Authority.HOLDING and i.running and i.drives == "human":
        return "hold the deadman to drive"
    return {
        Authority.PARKED: "parked and limp; press Start to go on",
        Authority.HOLDING: "paused; press Start to resume" if i.running else "waiting for Start",
        Authority.POLICY: "the policy drives",
        Authority.HUMAN: "you drive",
        Authority.RESETTING: "moving to the start pose",
        Authority.PARKING: "folding; then it goes limp",
        Authority.STOPPED: "stopped; hold Start for 1 s to re-arm",
    }[authority]
