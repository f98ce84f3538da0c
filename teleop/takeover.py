"""Who holds the leader arm: it follows, is grabbed, leads, aligns again. Pure; `teleop.leader` is the shell."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from teleop.inputs import Follower
from teleop.relative import Anchor

BODY = slice(0, 5)  # a finger that squeezes the trigger takes nothing over
_AHEAD_RAD = 0.3  # the goal leads the leader by at most this: let go, it does not snap back
_MAX_STEP_S = 0.1  # a stalled thread must not turn one reading into a leap


class Mode(StrEnum):
    """What the leader does."""

    ALIGNING = "aligning"  # moves to the arm's pose; until it is there, nothing moves the arm
    FOLLOWING = "following"  # softly moves along with the arm
    LEADING = "leading"  # limp in a hand; the arm follows


@dataclass(frozen=True)
class LeaderFeel:
    """How soft the leader is, and what counts as a hand on it. Not tried on a real leader yet."""

    p_coefficient: int = 16  # servo gain while it follows; that of LeRobot's followers, half of what motors come with
    torque_limit: float = 0.3  # of full torque, while it follows
    speed_rad_s: float = 1.5  # it moves no faster by itself
    aligned_rad: float = 0.09  # 5 degrees: this near to the arm's pose it is aligned
    grab_rad: float = 0.15  # held back by this much on any body joint ...
    grab_load: float = 0.1  # ... against this fraction of full torque ...
    grab_s: float = 0.05  # ... for this long: a hand has taken it
    let_go: float = 0.5  # it has let go below this fraction of both, for as long
    hand_back_s: float = 2.0  # at rest for this long, it hands back; 0: the button alone does
    still_rad: float = 0.03  # joints that moved by less are at rest

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not (0 < self.let_go < 1 and 0 < self.torque_limit <= 1 and 1 <= self.p_coefficient <= 254):
            raise ValueError(f"{self}: accepted are let_go and torque_limit between 0 and 1, p_coefficient 1 to 254")
        if min(self.speed_rad_s, self.aligned_rad, self.grab_rad, self.still_rad) <= 0:
            raise ValueError(f"{self}: speed_rad_s, aligned_rad, grab_rad and still_rad must be positive")


@dataclass(frozen=True)
class LeaderReading:
    """One read of the leader's bus."""

    stamp_s: float  # monotonic
    joints_rad: np.ndarray  # [6]
    load: np.ndarray  # [6] fraction of full torque; zero while limp
    energised: bool


@dataclass(frozen=True)
class Grip:
    """Whether a hand holds the leader back: hysteresis in force and in time."""

    held: bool = False
    doubt_since_s: float | None = None  # the readings have said the opposite since then


@dataclass(frozen=True)
class LeaderMemory:
    """What one reading has to know of those before it."""

    mode: Mode = Mode.ALIGNING
    stamp_s: float = float("inf")
    goal_rad: np.ndarray | None = None  # [6] where it is softly held; None: limp
    grip: Grip = field(default_factory=Grip)
    anchor: Anchor | None = None  # while it leads
    button: bool = False  # a button holds the take-over
    rest_rad: np.ndarray | None = None  # [6] where it came to rest ...
    rest_since_s: float = 0.0  # ... and when


def advance(
    memory: LeaderMemory,
    reading: LeaderReading,
    leader_m: np.ndarray,
    follower: Follower,
    feel: LeaderFeel,
) -> LeaderMemory:
    """Take in a new reading, or news of the arm, and return what follows.

    Args:
        memory: of the last call.
        reading: the newest; the same one may come again.
        leader_m: [3] the end effector at `reading`.
        follower: the arm now, its joints within the leader's own limits. Its button, while held, takes over or stays
            in charge; when it goes up again, it hands back.
        feel: thresholds.
    """
    now_s, joints, button = reading.stamp_s, reading.joints_rad, follower.button
    if memory.mode is Mode.LEADING:
        if memory.rest_rad is None or np.abs(joints - memory.rest_rad).max() > feel.still_rad:
            memory = replace(memory, rest_rad=joints, rest_since_s=now_s)
        rested = feel.hand_back_s > 0 and now_s - memory.rest_since_s >= feel.hand_back_s
        if follower.human and (button or not (rested or memory.button)):
            return replace(memory, stamp_s=now_s, button=button)
        return LeaderMemory(stamp_s=now_s, goal_rad=joints)

    goal = joints if memory.goal_rad is None else memory.goal_rad
    grip = feel_grip(memory.grip, reading, goal, feel)
    if follower.human and (grip.held or button):
        anchor = Anchor(leader_m, float(joints[5]), follower.target_m, follower.gripper)
        return LeaderMemory(Mode.LEADING, now_s, anchor=anchor, button=button, rest_rad=joints, rest_since_s=now_s)
    aligned = reading.energised and np.abs(joints - follower.joints_rad)[BODY].max() <= feel.aligned_rad
    mode = Mode.FOLLOWING if aligned else memory.mode
    step_rad = feel.speed_rad_s * min(max(now_s - memory.stamp_s, 0.0), _MAX_STEP_S)
    goal = goal + np.clip(follower.joints_rad - goal, -step_rad, step_rad)
    goal = np.clip(goal, joints - _AHEAD_RAD, joints + _AHEAD_RAD)
    return LeaderMemory(mode, now_s, goal, grip)


def feel_grip(grip: Grip, reading: LeaderReading, goal_rad: np.ndarray, feel: LeaderFeel) -> Grip:
    """Return whether a hand holds the leader away from its goal, [6] rad."""
    share = feel.let_go if grip.held else 1.0
    off = np.abs(reading.joints_rad - goal_rad)[BODY] > share * feel.grab_rad
    pushed = np.abs(reading.load)[BODY] > share * feel.grab_load
    if bool((off & pushed).any()) is grip.held:
        return Grip(grip.held)
    since_s = reading.stamp_s if grip.doubt_since_s is None else grip.doubt_since_s
    if reading.stamp_s - since_s >= feel.grab_s:
        return Grip(not grip.held)
    return Grip(grip.held, since_s)


def deadman(memory: LeaderMemory, follower: Follower) -> bool:
    """Whether the person drives, or wants to.

    On the way back it stays true, and the arm holds, until the leader has its force again and is aligned.
    """
    if memory.mode is Mode.ALIGNING:
        return follower.human
    return memory.mode is Mode.LEADING or memory.grip.held or follower.button
