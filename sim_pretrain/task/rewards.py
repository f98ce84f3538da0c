"""What a step is worth: immutable, named rewards; each a pure function of one `TaskState`.

Success ends an episode. A reward that pays for every step therefore teaches not to finish (research page, section 0,
item 3). The two defaults cannot: `sparse` pays once, and what `dense` adds to it is taken back at the end.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import ClassVar, Protocol

from data.errors import UserError
from sim_pretrain.task import rewards_history as history
from sim_pretrain.task.tasks import SimTask
from sim_pretrain.world.truth import TaskState, Truth


class Formula(Protocol):
    """A frozen dataclass: constants, and what a step is worth by them."""

    needs: ClassVar[tuple[str, ...]]  # fields of the truth that not every task has
    lift_only: ClassVar[bool]  # knows no other goal than up

    def terms(self, state: TaskState, /) -> dict[str, float]:
        """Return the value of each term in one step; the same names at every step."""

    def returns(self) -> tuple[float, float]:
        """Return the lowest and the highest return that any state can have, discounted or not."""


@dataclass(frozen=True)
class Reward:
    """A formula under its name."""

    name: str
    formula: Formula
    version: int = 1  # of the code of the formula: raise it with every change that is not one of a constant

    def terms(self, state: TaskState) -> dict[str, float]:
        """Return the value of each term in one step; the reward is their sum."""
        return self.formula.terms(state)

    def returns(self) -> tuple[float, float]:
        """Return the lowest and the highest return, discounted or not: what a critic is clipped to."""
        return self.formula.returns()

    def constants(self) -> dict[str, object]:
        """Return name, version and constants, as JSON values: what two rewards may differ in."""
        return {"name": self.name, "version": self.version, **asdict(self.formula)}  # type: ignore[call-overload]

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of `constants`."""
        return hashlib.sha256(json.dumps(self.constants(), sort_keys=True).encode()).hexdigest()[:16]

    def refuses(self, task: SimTask) -> str:
        """Return why this reward cannot be used for a task; "" if it can."""
        absent = {"target_m"} if task.target is None else set()
        missing = sorted(absent.intersection(self.formula.needs))
        if missing:
            return f"it needs {', '.join(missing)}, which this task does not have"
        if self.formula.lift_only and task.target is not None:
            return "it was made for lifting and knows nothing of a place to put the cube"
        return ""

    def require(self, task: SimTask) -> None:
        """Check that this reward can be used for a task.

        Raises:
            UserError: it needs what the task's world does not give; the message lists the rewards that can be used.
        """
        reason = self.refuses(task)
        if reason:
            fitting = ", ".join(r.name for r in REWARDS.values() if not r.refuses(task))
            raise UserError(f"the reward {self.name!r} does not fit the task {task.name!r}: {reason}. Choose {fitting}")


@dataclass(frozen=True)
class Sparse:
    """1 on success, once."""

    needs: ClassVar[tuple[str, ...]] = ()
    lift_only: ClassVar[bool] = False

    success: float = 1.0

    def terms(self, state: TaskState) -> dict[str, float]:
        """Return the value of each term in one step."""
        return {"success": self.success * state.success}

    def returns(self) -> tuple[float, float]:
        """Return the lowest and the highest return that any state can have, discounted or not."""
        return 0.0, self.success


@dataclass(frozen=True)
class Dense:
    """`sparse`, plus a potential that is given while it rises and taken back when it falls or the episode ends.

    Each step adds potential(after) - potential(before), with 0 after the end. To an agent that discounts by γ this is
    the shaping of Ng, Harada and Russell (1999), which changes nothing about what is best, plus (1 - γ) * potential for
    every step. Without that, all that an agent learns before its first success is that no action is better than another
    (benchmarks/rlpd_state.md). In all it is worth at most `shaping`, half of a success, and each step of waiting costs
    at least half of what it costs under `sparse`.

    The potential follows the way of a hand: to the cube, close, grasped, up; and, where there is a target, over
    it, down, open. Distances are those of the grasp centre and saturate where a grasp is possible, so that nothing
    pays pressing a finger into the cube; heights saturate at the goal. The weights add up to 1 for either kind of task.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    lift_only: ClassVar[bool] = False

    success: float = 1.0
    shaping: float = 0.5  # the potential of a state that is all but done
    lift_weights: tuple[float, ...] = (0.30, 0.10, 0.20, 0.40)  # reach, close, grasp, raise
    place_weights: tuple[float, ...] = (0.20, 0.10, 0.15, 0.10, 0.20, 0.10, 0.15)  # ... then carry, lower, release
    reach_m: float = 0.10  # length scale of the way to the cube, and of the cube's to the target
    slack_m: float = 0.01  # nearer than this, a grasp is possible and nearer is no better
    close_m: float = 0.01  # closing counts fully within the slack, and not at all this much further out
    open_m: float = 0.03  # gap between moving pad and cube that counts as open
    shut_m: float = 0.003  # ... and as closed; a pad is 1.5 mm thick to its middle
    goal_m: float = 0.085  # height of the cube's centre; the goal is 0.08, and this is inside
    carry_m: float = 0.055  # underside of the cube above the table that clears a bowl's rim
    over_m: float = 0.012  # this near to the target's axis, the cube is over it
    beside_m: float = 0.035  # ... and this far from it, it is not

    def terms(self, state: TaskState) -> dict[str, float]:
        """Return the value of each term in one step."""
        before = self.potential(state.before)
        ended = state.success or state.lost
        after = dict.fromkeys(before, 0.0) if ended else self.potential(state)
        shaped = {name: after[name] - before[name] for name in before}
        return {"success": self.success * state.success, **shaped}

    def potential(self, truth: Truth) -> dict[str, float]:
        """Return the parts of the potential at one instant; each is 0 or more, their sum at most `shaping`."""
        parts = self._lift(truth) if truth.target_m is None else self._place(truth)
        weights = self.lift_weights if truth.target_m is None else self.place_weights
        return {name: self.shaping * w * part for (name, part), w in zip(parts.items(), weights, strict=True)}

    def returns(self) -> tuple[float, float]:
        """Return the lowest and the highest return that any state can have, discounted or not."""
        return -self.shaping, max(self.success, self.shaping)

    def _lift(self, truth: Truth) -> dict[str, float]:
        reach, close = self._approach(truth)
        rest_m = truth.cube_half_m
        raised = _clip((truth.cube_m[2] - rest_m) / (self.goal_m - rest_m))
        return {"reach": reach, "close": close, "grasp": float(truth.grasped), "raise": truth.grasped * raised}

    def _place(self, truth: Truth) -> dict[str, float]:
        assert truth.target_m is not None
        reach, close = self._approach(truth)
        aside_m = math.dist(truth.cube_m[:2], truth.target_m[:2])
        bottom_m = truth.cube_m[2] - truth.cube_half_m
        over = _clip((self.beside_m - aside_m) / (self.beside_m - self.over_m))
        # What has been reached stays reached while the hand lets go over the target and leaves.
        done = over * (1.0 - 0.5 * (truth.static_touch + truth.moving_touch))
        held = max(float(truth.grasped), over)
        return {
            "reach": max(reach, done),
            "close": max(close, done),
            "grasp": held,
            "raise": held * max(_clip(bottom_m / self.carry_m), over),
            "carry": held * (1.0 - math.tanh(max(0.0, aside_m - self.over_m) / self.reach_m)),
            "lower": held * over * (1.0 - _clip((bottom_m - truth.target_m[2]) / self.carry_m)),
            "release": done,
        }

    def _approach(self, truth: Truth) -> tuple[float, float]:
        """Return how near the hand is to a grasp, and how far it is closed around the cube; each in [0, 1]."""
        short_m = max(0.0, math.dist(truth.ee_m, truth.cube_m) - self.slack_m)
        gap_m = math.dist(truth.moving_pad_m, truth.cube_m) - truth.cube_half_m
        shut = _clip((self.open_m - gap_m) / (self.open_m - self.shut_m))
        return 1.0 - math.tanh(short_m / self.reach_m), shut * _clip(1.0 - short_m / self.close_m)


REWARDS: Mapping[str, Reward] = MappingProxyType(
    {
        reward.name: reward
        for reward in (
            Reward("sparse", Sparse()),
            Reward("dense", Dense(), version=2),
            Reward("v7", history.V7()),
            Reward("v9", history.V9()),
            Reward("v10", history.V10()),
            Reward("v11", history.V11()),
            Reward("v13", history.V13()),
            Reward("v14", history.V14()),
            Reward("v15", history.V15()),
            Reward("v16", history.V16()),
            Reward("v17", history.V17()),
            Reward("v18", history.V18()),
            Reward("v19", history.V19()),
        )
    }
)
DEFAULTS = ("sparse", "dense")  # those that a policy should be trained with


def find_reward(name: str) -> Reward:
    """Return the reward of this name.

    Raises:
        UserError: there is none; the message lists those that exist.
    """
    if name not in REWARDS:
        raise UserError(f"there is no reward {name!r}; accepted are {', '.join(REWARDS)}")
    return REWARDS[name]


def _clip(share: float) -> float:
    return min(max(share, 0.0), 1.0)
