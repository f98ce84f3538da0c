"""The rewards that the project's history went through, v7 to v19, kept to show what fails and why.

Formulas and outcomes: research page, section 2. They were written for one task, lifting a 3 cm cube, at 50 Hz; here a
step is a step of 10 Hz. All of them pay for every step, and success ends the episode: to hold the cube and never
finish is worth more than to finish. `benchmarks/exploits.py` measures it.

Each class adds to the one that it extends, and only `rewards.REWARDS` gives them names. Nothing in this file may
change: golden values and fingerprints in the tests hold it still. A new idea is a new class.

Symbols: d distance of the end effector from the cube's centre, z height of that centre, g whether the cube is grasped,
L how far it is lifted (0 on the table, 1 at the goal, more above), Δ squared change of the action, h steps at the goal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from sim_pretrain.world.truth import TaskState


@dataclass(frozen=True)
class V7:
    """R - P + 0.25 g + [z > 2 cm] + 10 on success, with R = 1 - tanh(10 d) and P = 50 max(0, 1 cm - z).

    Outcome: presses an open finger onto the cube. Known faults: closing the hand has no gradient; R is largest with
    the end effector in the cube's centre, where no hand can be; [z > 2 cm] is paid without a grasp.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    lift_only: ClassVar[bool] = True

    reach: float = 1.0  # largest value of R
    reach_per_m: float = 10.0
    grasp: float = 0.25
    closed_rad: float = 0.25  # a hand open wider than this holds nothing
    raised: float = 1.0
    raised_m: float = 0.02
    push_per_m: float = 50.0  # penalty for a cube pressed into the table
    push_below_m: float = 0.01
    success: float = 10.0

    def terms(self, state: TaskState) -> dict[str, float]:
        """Return the value of each term in one step."""
        return {
            "reach": self.reaching(state),
            "push": -self.push_per_m * max(0.0, self.push_below_m - state.cube_m[2]),
            "grasp": self.grasp * self.holds(state),
            "raised": self.raised * (state.cube_m[2] > self.raised_m),
            "success": self.success * state.success,
        }

    def returns(self) -> tuple[float, float]:
        """Return no bounds: several terms grow with the height or the time."""
        return -math.inf, math.inf

    def holds(self, state: TaskState) -> bool:
        """Return g: both pads touch the cube and the hand is nearly closed."""
        return state.grasped and state.gripper_rad < self.closed_rad

    def reaching(self, state: TaskState) -> float:
        """Return R."""
        return self.reach * (1.0 - math.tanh(self.reach_per_m * math.dist(state.ee_m, state.cube_m)))


@dataclass(frozen=True)
class V9(V7):
    """v7 - 2 [dropped] + 2 g L.

    Outcome: lifts to 6.8 to 7.3 cm and trembles there. Known fault: L grows without bound above the goal.
    """

    drop: float = 2.0
    lift: float = 2.0
    rest_m: float = 0.015
    goal_m: float = 0.08

    def terms(self, state: TaskState) -> dict[str, float]:
        """Return the value of each term in one step."""
        held = self.holds(state)
        lifted = max(0.0, state.cube_m[2] - self.rest_m) / (self.goal_m - self.rest_m)
        return {
            **super().terms(state),
            "drop": -self.drop * (state.was_grasped and not held),
            "lift": self.lift * held * lifted,
        }


@dataclass(frozen=True)
class V10(V9):
    """v9 + [|z - 8 cm| < 0.5 cm].

    Outcome: parks at 7.6 cm, 0 %. Known fault: half of the zone that pays lies below the goal.
    """

    near_goal: float = 1.0
    near_goal_m: float = 0.005

    def terms(self, state: TaskState) -> dict[str, float]:
        """Return the value of each term in one step."""
        near = abs(state.cube_m[2] - self.goal_m) < self.near_goal_m
        return {**super().terms(state), "near_goal": self.near_goal * near}


@dataclass(frozen=True)
class V11(V9):
    """v9 + [z > 8 cm] - 0.01 Δ [z > 6 cm].

    Outcome: lifts from the true state, to 13 to 26 cm; from pixels it tilts the cube by 45° with one finger, whose
    centre then lies at 2.1 cm: 1.9 a step, where a grasp on the table pays 1.15. [z > 8 cm] pays a thrown cube, too.
    """

    at_goal: float = 1.0
    jerk: float = 0.01
    jerk_above_m: float = 0.06

    def terms(self, state: TaskState) -> dict[str, float]:
        """Return the value of each term in one step."""
        change = sum((a - b) ** 2 for a, b in zip(state.action, state.previous_action, strict=True))
        return {
            **super().terms(state),
            "at_goal": self.at_goal * (state.cube_m[2] > self.goal_m),
            "jerk": -self.jerk * change * self.hushed(state),
        }

    def hushed(self, state: TaskState) -> bool:
        """Return whether a changing action is punished."""
        return state.cube_m[2] > self.jerk_above_m


@dataclass(frozen=True)
class V13(V11):
    """v11, with [z > 2 cm] only while the cube is grasped.

    Outcome: the tilt is gone; from pixels it grasps, shakes at 4 to 5 cm, and stops below the zone of the penalty.
    """

    def terms(self, state: TaskState) -> dict[str, float]:
        """Return the value of each term in one step."""
        terms = super().terms(state)
        return {**terms, "raised": terms["raised"] * self.holds(state)}


@dataclass(frozen=True)
class V14(V13):
    """v13, with - 0.02 Δ [z > 8 cm and h > 0] instead of its penalty. Outcome: one finger, no grasp."""

    jerk: float = 0.02

    def hushed(self, state: TaskState) -> bool:
        """Return whether a changing action is punished."""
        return state.cube_m[2] > self.goal_m and self.holds(state)


@dataclass(frozen=True)
class V15(V14):
    """v14 - min(0.05 (n - 40)⁺ / 50, 0.3), n the steps without a break that the gripper was open.

    Outcome: gamed by closing for a moment. Known fault: the threshold "0.3" was meant as an angle and compares the
    command, so a hand held 1 rad open goes unpunished; the cap would take 340 steps, and an episode has 200.
    """

    open_per_step: float = 0.001  # 0.05 / 50
    open_free_steps: int = 40
    open_most: float = 0.3

    def terms(self, state: TaskState) -> dict[str, float]:
        """Return the value of each term in one step."""
        late_steps = max(0, state.open_steps - self.open_free_steps)
        return {**super().terms(state), "open": -min(self.open_per_step * late_steps, self.open_most)}


@dataclass(frozen=True)
class V16(V14):
    """v14 with 1.5 g instead of 0.25 g. Outcome: no grasp is ever found."""

    grasp: float = 1.5


@dataclass(frozen=True)
class V17(V16):
    """v16, with (R + M) / 2 instead of R where R >= 0.7; M = 1 with a closed hand, else as R for the moving pad.

    Outcome: the first grasps from pixels (97 %), stuck at 3 to 4 cm. Closing has a gradient now.
    """

    close_from: float = 0.7  # R from which the moving finger counts

    def reaching(self, state: TaskState) -> float:
        """Return R, half of it for the moving finger once the hand is near."""
        reach = super().reaching(state)
        if reach < self.close_from:
            return reach
        finger = 1.0 - math.tanh(self.reach_per_m * math.dist(state.moving_pad_m, state.cube_m))
        return 0.5 * (reach + (1.0 if state.gripper_rad < self.closed_rad else finger))


@dataclass(frozen=True)
class V18(V17):
    """v17 with 4 g L instead of 2 g L, and + 2 g clip((z - 4 cm) / 4 cm, 0, 1).

    Outcome: lifts to 7 to 10 cm and never finishes: return 1362, success 0 %.
    """

    lift: float = 4.0
    ramp: float = 2.0
    ramp_from_m: float = 0.04
    ramp_length_m: float = 0.04

    def terms(self, state: TaskState) -> dict[str, float]:
        """Return the value of each term in one step."""
        climbed = min(max((state.cube_m[2] - self.ramp_from_m) / self.ramp_length_m, 0.0), 1.0)
        return {**super().terms(state), "ramp": self.ramp * self.holds(state) * climbed}


@dataclass(frozen=True)
class V19(V18):
    """v18 + 0.5 h where z > 8 cm.

    Outcome: 5 of 5 after 400 000 transitions, none after a million. Known faults: holding at 7.6 cm is worth 2.5 times
    as much as succeeding; h is not normalised, so that a longer hold makes the bonus explode.
    """

    hold: float = 0.5
    step_s: float = 0.1  # h counts control steps

    def terms(self, state: TaskState) -> dict[str, float]:
        """Return the value of each term in one step."""
        there = self.holds(state) and state.cube_m[2] > self.goal_m
        steps = 1.0 + state.held_s / self.step_s if there else 0.0  # `held_s` is 0 in the first of them
        return {**super().terms(state), "hold": self.hold * steps}
