"""Goals, losses and rewards of many tables at once: those of `tasks` and `rewards`, over arrays (tested to be equal).

In plain Python a thousand tables cost more time than their physics on a GPU. Only what a policy should be trained with
is here: the goals of the three tasks, and the rewards `sparse` and `dense`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from data.errors import UserError
from sim_pretrain.task import tasks
from sim_pretrain.task.rewards import DEFAULTS, Dense, Formula, Reward, Sparse
from sim_pretrain.task.tasks import SimTask
from sim_pretrain.world.scene import BOWL_HEIGHT_M, BOWL_RADIUS_M, PAPER_HALF_M
from sim_pretrain.world.truth import Truth
from sim_pretrain.world.truths import Truths

Terms = dict[str, np.ndarray]


class Referees:
    """`tasks.Referee` for N tables, with the reward of each."""

    def __init__(self, task: SimTask, reward: Reward, count: int) -> None:
        """Begin with no goal reached.

        Raises:
            UserError: the task's goal or the reward has no form for many tables at once.
        """
        if task.reached not in GOALS:
            raise UserError(f"the goal of the task {task.name!r} is not that of lift, bowl or paper: use one of these")
        if type(reward.formula) not in TERMS:
            accepted = ", ".join(DEFAULTS)
            raise UserError(f"the reward is {reward.name!r}; accepted with many worlds on a GPU are {accepted}")
        self._hold_s, self._reached = task.hold_s, GOALS[task.reached]
        self._formula, self._terms = reward.formula, TERMS[type(reward.formula)]
        self._held_s: np.ndarray = np.zeros(count)

    def begin(self, index: int) -> None:
        """Start another episode on one table."""
        self._held_s[index] = 0.0

    def look(self, before: Truths, after: Truths, dt_s: float) -> tuple[np.ndarray, np.ndarray, Terms]:
        """Return success [N], loss [N] and the terms of the reward, each [N], of a step of `dt_s`."""
        both = self._reached(after) & self._reached(before)
        self._held_s = np.where(both, self._held_s + dt_s, 0.0)
        success, gone = self._held_s >= self._hold_s - 1e-6, lost(after)
        return success, gone, self._terms(self._formula, before, after, success, gone)


def lost(truths: Truths) -> np.ndarray:
    """Whether each cube fell off the table or lies where the arm does not reach; see `SimTask.lost`."""
    place = truths.cube_m[:, :2]
    inside = ((place >= tasks.REACH_LOW_M) & (place <= tasks.REACH_HIGH_M)).all(1)
    return ~truths.grasped & ~(inside & (truths.cube_m[:, 2] > 0.0))


def _lifted(truths: Truths) -> np.ndarray:
    return truths.grasped & (truths.cube_m[:, 2] > tasks.LIFT_HEIGHT_M)


def _in_bowl(truths: Truths) -> np.ndarray:
    return _released(truths) & (_beside_m(truths) < BOWL_RADIUS_M) & (truths.cube_m[:, 2] < BOWL_HEIGHT_M)


def _on_paper(truths: Truths) -> np.ndarray:
    flat = (truths.cube_m[:, 2] < truths.cube_half_m + 0.004) & (truths.cube_tilt_rad < 0.2)
    return _released(truths) & flat & (_beside_m(truths) < PAPER_HALF_M - 0.01)


def _released(truths: Truths) -> np.ndarray:
    return ~(truths.static_touch | truths.moving_touch) & (truths.cube_speed_m_s < tasks.STILL_M_S)


def _beside_m(truths: Truths) -> np.ndarray:
    assert truths.target_m is not None
    return np.hypot(*(truths.cube_m - truths.target_m)[:, :2].T)


def _sparse(formula: Sparse, before: Truths, after: Truths, success: np.ndarray, gone: np.ndarray) -> Terms:
    return {"success": formula.success * success}


def _dense(formula: Dense, before: Truths, after: Truths, success: np.ndarray, gone: np.ndarray) -> Terms:
    first, going = potential(formula, before), ~(success | gone)
    second = {name: part * going for name, part in potential(formula, after).items()}
    shaped = {name: second[name] - first[name] for name in first}
    return {"success": formula.success * success, **shaped}


def potential(formula: Dense, truths: Truths) -> Terms:
    """Return the parts of `Dense.potential`, each [N]."""
    parts = (_lift if truths.target_m is None else _place)(formula, truths)
    weights = formula.lift_weights if truths.target_m is None else formula.place_weights
    return {name: formula.shaping * w * part for (name, part), w in zip(parts.items(), weights, strict=True)}


def _lift(formula: Dense, truths: Truths) -> Terms:
    reach, close = _approach(formula, truths)
    rest_m = truths.cube_half_m
    raised = _clip((truths.cube_m[:, 2] - rest_m) / (formula.goal_m - rest_m))
    return {"reach": reach, "close": close, "grasp": truths.grasped * 1.0, "raise": truths.grasped * raised}


def _place(formula: Dense, truths: Truths) -> Terms:
    assert truths.target_m is not None
    reach, close = _approach(formula, truths)
    aside_m, bottom_m = _beside_m(truths), truths.cube_m[:, 2] - truths.cube_half_m
    over = _clip((formula.beside_m - aside_m) / (formula.beside_m - formula.over_m))
    done = over * (1.0 - 0.5 * (truths.static_touch * 1.0 + truths.moving_touch))
    held = np.maximum(truths.grasped, over)
    return {
        "reach": np.maximum(reach, done),
        "close": np.maximum(close, done),
        "grasp": held,
        "raise": held * np.maximum(_clip(bottom_m / formula.carry_m), over),
        "carry": held * (1.0 - np.tanh(np.maximum(0.0, aside_m - formula.over_m) / formula.reach_m)),
        "lower": held * over * (1.0 - _clip((bottom_m - truths.target_m[:, 2]) / formula.carry_m)),
        "release": done,
    }


def _approach(formula: Dense, truths: Truths) -> tuple[np.ndarray, np.ndarray]:
    short_m = np.maximum(0.0, np.linalg.norm(truths.ee_m - truths.cube_m, axis=1) - formula.slack_m)
    gap_m = np.linalg.norm(truths.moving_pad_m - truths.cube_m, axis=1) - truths.cube_half_m
    shut = _clip((formula.open_m - gap_m) / (formula.open_m - formula.shut_m))
    return 1.0 - np.tanh(short_m / formula.reach_m), shut * _clip(1.0 - short_m / formula.close_m)


def _clip(share: np.ndarray) -> np.ndarray:
    return np.clip(share, 0.0, 1.0)


GOALS: Mapping[Callable[[Truth], bool], Callable[[Truths], np.ndarray]] = {
    tasks.lifted: _lifted,
    tasks.in_bowl: _in_bowl,
    tasks.on_paper: _on_paper,
}
TERMS: Mapping[type[Formula], Callable[..., Terms]] = {Sparse: _sparse, Dense: _dense}
