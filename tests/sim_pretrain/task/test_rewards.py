"""Rewards: terms computed by hand, what may never change, and what no behaviour can gain."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import UserError
from sim_pretrain.task.rewards import DEFAULTS, REWARDS, Dense, Reward, Sparse, find_reward
from sim_pretrain.task.tasks import TASKS, Referee, lifted
from sim_pretrain.world.truth import TaskState, Truth

HALF_M = 0.015
HISTORY = tuple(name for name in REWARDS if name not in DEFAULTS)


def truth(
    height_m: float = HALF_M,
    *,
    ee_above_m: float = 0.01,
    moving_above_m: float = 0.0165,
    gripper_rad: float = 0.2,
    touches: tuple[bool, bool] = (True, True),
    target_m: tuple[float, float, float] | None = None,
) -> Truth:
    """The hand straight above the cube's centre, by the given distances."""
    return Truth(
        cube_m=(0.2, 0.0, height_m),
        cube_yaw_rad=0.0,
        cube_tilt_rad=0.0,
        cube_speed_m_s=0.0,
        cube_half_m=HALF_M,
        ee_m=(0.2, 0.0, height_m + ee_above_m),
        gripper_rad=gripper_rad,
        static_pad_m=(0.2, -0.02, height_m),
        moving_pad_m=(0.2, 0.0, height_m + moving_above_m),
        static_touch=touches[0],
        moving_touch=touches[1],
        target_m=target_m,
    )


def after(before: Truth, now: Truth, **changes: object) -> TaskState:
    still = (0.0, 0.0, 0.0, 0.0)
    state = TaskState(
        **vars(now),
        action=still,
        previous_action=still,
        was_grasped=before.grasped,
        before=before,
        open_steps=0,
        held_s=0.0,
        hold_s=0.3,
        success=False,
        lost=False,
    )
    return replace(state, **changes)


def total(name: str, state: TaskState) -> float:
    return sum(REWARDS[name].terms(state).values())


UP, HALF_UP = (0.0, 0.0, 1.0, -1.0), (0.0, 0.0, 0.5, -1.0)
STATES = {
    # An open hand 3 cm above: R = 1 - tanh 0.3 = 0.7086874; the finger 5 cm away: M = 1 - tanh 0.5 = 0.5378828.
    "hover": after(
        truth(touches=(False, False)),
        truth(ee_above_m=0.03, moving_above_m=0.05, gripper_rad=0.65, touches=(False, False)),
    ),
    # Held at 7.6 cm, the action changed by 1: R = 1 - tanh 0.1 = 0.9003320, L = 0.061 / 0.065 = 0.9384615.
    "parked": after(truth(), truth(0.076), action=UP, previous_action=(0.0, 0.0, 0.0, -1.0)),
    # Held at 9 cm for the third step, the action changed by 0.5: L = 0.075 / 0.065 = 1.1538462.
    "goal": after(truth(), truth(0.09), action=UP, previous_action=HALF_UP, held_s=0.2),
    # Dropped and pressed to z = 5 mm, 10 cm away, open for 90 steps: R = 1 - tanh 1 = 0.2384058, P = 0.25.
    "dropped": after(
        truth(), truth(0.005, ee_above_m=0.1, gripper_rad=0.5, touches=(True, False)), open_steps=90
    ),
    # One finger tips the cube by 45 degrees: its centre is at 2.12 cm, and no pad holds it.
    "tilted": after(truth(touches=(False, True)), truth(0.0212, gripper_rad=0.5, touches=(False, True))),
}  # fmt: skip
GOLDEN = {  # sums, by hand
    #        hover      parked     goal        dropped     tilted
    "v7": (0.7086874, 2.1503320, 2.1503320, -0.0115942, 1.9003320),  # goal: 0.9003320 + 0.25 + 1
    "v9": (0.7086874, 4.0272551, 4.4580243, -2.0115942, 1.9003320),  # parked: + 2 * 0.9384615
    "v10": (0.7086874, 5.0272551, 4.4580243, -2.0115942, 1.9003320),  # parked: + 1
    "v11": (0.7086874, 4.0172551, 5.4555243, -2.0115942, 1.9003320),  # goal: + 1 - 0.01 * 0.25
    "v13": (0.7086874, 4.0172551, 5.4555243, -2.0115942, 0.9003320),  # tilted: - 1
    "v14": (0.7086874, 4.0272551, 5.4530243, -2.0115942, 0.9003320),  # goal: - 0.02 * 0.25 instead
    "v15": (0.7086874, 4.0272551, 5.4530243, -2.0615942, 0.9003320),  # dropped: - 0.05 * (90 - 40) / 50
    "v16": (0.7086874, 5.2772551, 6.7030243, -2.0115942, 0.9003320),  # parked: + 1.25
    "v17": (0.6232851, 5.3270891, 6.7528583, -2.0115942, None),  # hover: (0.7086874 + 0.5378828) / 2
    "v18": (0.6232851, 9.0040122, 11.0605506, -2.0115942, None),  # parked: + 2 * 0.9384615 + 2 * 0.9
    "v19": (0.6232851, 9.0040122, 12.5605506, -2.0115942, None),  # goal: + 0.5 * 3
}


@pytest.mark.parametrize("name", HISTORY)
def test_historical_rewards_have_the_values_computed_by_hand(name: str) -> None:
    for state, value in zip(STATES.values(), GOLDEN[name], strict=True):
        if value is not None:
            assert total(name, state) == pytest.approx(value, abs=2e-7)


def test_the_terms_of_v19_are_those_of_its_formula() -> None:
    assert REWARDS["v19"].terms(STATES["goal"]) == pytest.approx(
        {
            "reach": 0.9501660,  # (0.9003320 + 1) / 2
            "push": 0.0,
            "grasp": 1.5,
            "raised": 1.0,
            "success": 0.0,
            "drop": 0.0,
            "lift": 4.6153846,  # 4 * 1.1538462
            "at_goal": 1.0,
            "jerk": -0.005,
            "ramp": 2.0,
            "hold": 1.5,
        },
        abs=2e-7,
    )


def test_success_is_ten_points_in_the_history() -> None:
    won = replace(STATES["goal"], success=True)
    for name in HISTORY:
        assert total(name, won) - total(name, STATES["goal"]) == pytest.approx(10.0)


def test_a_tilted_cube_is_worth_more_than_a_grasp_on_the_table_under_v11_and_less_under_v13() -> None:
    tilted, grasp = STATES["tilted"], after(truth(), truth())
    assert total("v11", tilted) == pytest.approx(1.9003320, abs=2e-7)
    assert total("v11", grasp) == pytest.approx(1.1503320, abs=2e-7)  # 0.9003320 + 0.25
    assert total("v11", after(truth(), truth(0.0212))) == pytest.approx(2.3411012, abs=2e-7)  # + 1 + 2 * 0.0953846
    assert total("v13", tilted) < total("v13", grasp)


def test_v10_pays_below_the_goal_where_success_is_impossible() -> None:
    for height_m in (0.0755, 0.0765, 0.0799):
        parked = after(truth(height_m), truth(height_m))
        assert REWARDS["v10"].terms(parked)["near_goal"] == 1.0 and not lifted(parked)
        assert REWARDS["v11"].terms(parked)["at_goal"] == 0.0
    above = after(truth(0.0851), truth(0.0851))
    assert lifted(above) and REWARDS["v10"].terms(above)["near_goal"] == 0.0


def test_v15_compares_a_command_with_an_angle_so_an_open_hand_goes_unpunished() -> None:
    open_hand = truth(gripper_rad=1.07, touches=(False, False))
    for command, punished in ((0.3, False), (0.31, True)):
        action = np.array([0.0, 0.0, 0.0, command], np.float32)
        referee = Referee(TASKS["lift"], open_hand, action)
        for _ in range(80):
            state = referee.look(open_hand, np.float64([0.0, 0.0, 0.0, command]), 0.1)
        assert (REWARDS["v15"].terms(state)["open"] < 0.0) is punished


def test_v15_cannot_reach_its_cap_within_an_episode() -> None:
    penalty = {
        n: REWARDS["v15"].terms(replace(STATES["hover"], open_steps=n))["open"] for n in (80, 200, 339, 340, 999)
    }
    assert penalty == pytest.approx({80: -0.04, 200: -0.16, 339: -0.299, 340: -0.3, 999: -0.3})


def test_the_lift_of_v11_grows_above_the_goal_and_that_of_dense_does_not() -> None:
    low, high = after(truth(0.09), truth(0.09)), after(truth(0.20), truth(0.20))
    assert REWARDS["v11"].terms(high)["lift"] == pytest.approx(2 * 0.185 / 0.065)
    assert REWARDS["v11"].terms(low)["lift"] == pytest.approx(2 * 0.075 / 0.065)
    assert total("dense", high) == pytest.approx(total("dense", low))


def test_v11_pays_a_cube_in_the_air_that_nobody_holds_and_dense_does_not() -> None:
    thrown = truth(0.09, gripper_rad=0.5, touches=(False, False))
    assert REWARDS["v11"].terms(after(thrown, thrown))["at_goal"] == 1.0
    assert Dense().potential(thrown)["raise"] == 0.0


def test_sparse_pays_success_only() -> None:
    assert REWARDS["sparse"].terms(STATES["goal"]) == {"success": 0.0}
    assert REWARDS["sparse"].terms(replace(STATES["goal"], success=True)) == {"success": 1.0}


def test_dense_pays_for_coming_nearer_and_for_closing() -> None:
    far = truth(ee_above_m=0.11, moving_above_m=0.2, gripper_rad=0.65, touches=(False, False))
    near = truth(moving_above_m=0.0315, gripper_rad=0.4, touches=(False, False))
    assert REWARDS["dense"].terms(after(far, near)) == pytest.approx(
        {
            "success": 0.0,
            "reach": 0.1142391,  # 0.5 * 0.3 - 0.5 * 0.3 * (1 - tanh 1)
            "close": 0.025,  # 0.5 * 0.1 * 0.5: a gap of 16.5 mm, between 30 and 3
            "grasp": 0.0,
            "raise": 0.0,
        },
        abs=1e-7,
    )


def test_dense_pays_nothing_for_standing_still() -> None:
    held = truth(0.05)  # half way up
    assert set(REWARDS["dense"].terms(after(held, held)).values()) == {0.0}


@pytest.mark.parametrize("how", ["success", "lost"])
def test_dense_takes_the_potential_back_when_the_episode_ends(how: str) -> None:
    top = truth(0.09)
    terms = REWARDS["dense"].terms(after(top, top, **{how: True}))
    assert terms == pytest.approx(
        {"success": float(how == "success"), "reach": -0.15, "close": -0.05, "grasp": -0.1, "raise": -0.2}
    )


def test_dense_knows_the_way_to_a_target() -> None:
    carried = replace(truth(0.07, target_m=(0.2, 0.112, 0.0)))  # the underside at 5.5 cm, 10 cm short of "over"
    assert Dense().potential(carried) == pytest.approx(
        {
            "reach": 0.10,
            "close": 0.05,
            "grasp": 0.075,
            "raise": 0.05,
            "carry": 0.0238406,  # 0.5 * 0.2 * (1 - tanh 1)
            "lower": 0.0,
            "release": 0.0,
        },
        abs=1e-7,
    )
    placed = truth(0.015, ee_above_m=0.1, touches=(False, False), target_m=(0.2, 0.0, 0.0))
    assert sum(Dense().potential(placed).values()) == pytest.approx(0.5)


def test_every_stage_of_a_placement_has_more_potential_than_the_one_before() -> None:
    away, there = (0.2, 0.15, 0.0), (0.2, 0.0, 0.0)
    stages = [
        truth(ee_above_m=0.1, moving_above_m=0.2, touches=(False, False), target_m=away),
        truth(moving_above_m=0.046, touches=(False, False), target_m=away),
        truth(moving_above_m=0.025, touches=(False, False), target_m=away),
        truth(target_m=away),
        truth(0.07, target_m=away),
        truth(0.07, target_m=(0.2, 0.05, 0.0)),
        truth(0.07, target_m=there),
        truth(0.02, target_m=there),
        truth(0.02, touches=(True, False), target_m=there),
        truth(0.015, ee_above_m=0.05, moving_above_m=0.1, touches=(False, False), target_m=there),
    ]
    values = [sum(Dense().potential(stage).values()) for stage in stages]
    assert all(b > a + 1e-3 for a, b in itertools.pairwise(values)), values


def test_the_weights_of_dense_add_up_to_one() -> None:
    assert sum(Dense().lift_weights) == pytest.approx(1.0) == pytest.approx(sum(Dense().place_weights))


a_few = settings(max_examples=50, deadline=None)
coordinate = st.floats(-1.0, 1.0)
places = st.tuples(coordinate, coordinate, coordinate)
some_truth = st.builds(
    Truth,
    cube_m=places, cube_yaw_rad=st.floats(-4, 4), cube_tilt_rad=st.floats(0, 1), cube_speed_m_s=st.floats(0, 9),
    cube_half_m=st.floats(0.005, 0.03), ee_m=places, gripper_rad=st.floats(-0.2, 1.8),
    static_pad_m=places, moving_pad_m=places, static_touch=st.booleans(), moving_touch=st.booleans(),
    target_m=st.none(),
)  # fmt: skip
actions = st.tuples(*[st.floats(-1, 1)] * 4)


@st.composite
def some_state(draw: Callable, target: bool = False) -> TaskState:
    before, now = draw(some_truth), draw(some_truth)
    if target:
        there = draw(places)
        before, now = replace(before, target_m=there), replace(now, target_m=there)
    changes = {"action": draw(actions), "previous_action": draw(actions), "open_steps": draw(st.integers(0, 10**6))}
    ended = draw(st.sampled_from([{}, {"success": True}, {"lost": True}]))
    return after(before, now, held_s=draw(st.floats(0, 100)), **changes, **ended)


@a_few
@given(some_state())
def test_every_reward_is_finite_and_has_the_same_terms_in_every_state(state: TaskState) -> None:
    for reward in REWARDS.values():
        terms = reward.terms(state)
        assert all(math.isfinite(v) for v in terms.values())
        assert list(terms) == list(reward.terms(STATES["goal"]))


@a_few
@given(some_state(), some_truth)
def test_dense_depends_on_nothing_but_where_hand_and_cube_are(state: TaskState, other: Truth) -> None:
    irrelevant = ("cube_yaw_rad", "cube_tilt_rad", "cube_speed_m_s", "static_pad_m", "gripper_rad")
    changed = replace(
        state,
        **{name: getattr(other, name) for name in irrelevant},
        action=UP, previous_action=HALF_UP, open_steps=7, held_s=0.1, hold_s=9.0, was_grasped=not state.was_grasped,
    )  # fmt: skip
    assert REWARDS["dense"].terms(changed) == REWARDS["dense"].terms(state)


@a_few
@given(st.booleans().flatmap(some_state))
def test_no_part_of_the_potential_exceeds_its_share(state: TaskState) -> None:
    dense = Dense()
    weights = dense.lift_weights if state.target_m is None else dense.place_weights
    for part, weight in zip(dense.potential(state).values(), weights, strict=True):
        assert 0.0 <= part <= dense.shaping * weight + 1e-12


def along(path: list[Truth], ending: str) -> list[TaskState]:
    """The states of a way through `path`, the last of which ends it."""
    states = [after(a, b) for a, b in itertools.pairwise(path)]
    return [*states[:-1], replace(states[-1], success=ending == "success", lost=ending == "lost")]


def worth(name: str, states: list[TaskState], discount: float) -> float:
    return sum(discount**k * total(name, state) for k, state in enumerate(states))


paths = st.lists(some_truth, min_size=2, max_size=12)
endings = st.sampled_from(["success", "lost", "time limit"])
discounts = st.floats(0.0, 0.999)


@a_few
@given(paths, endings)
def test_whatever_happens_dense_sums_to_sparse_but_for_the_potential_of_the_start(
    path: list[Truth], ending: str
) -> None:
    states = along(path, ending)
    first, last = (sum(Dense().potential(t).values()) for t in (path[0], path[-1]))
    kept = last if ending == "time limit" else 0.0
    assert worth("dense", states, 1.0) == pytest.approx(worth("sparse", states, 1.0) - first + kept, abs=1e-9)


@a_few
@given(paths, some_truth, discounts)
def test_waiting_costs_at_least_half_of_what_it_costs_under_sparse(
    path: list[Truth], where: Truth, discount: float
) -> None:
    """Wherever one waits, and even if the way there is uphill."""
    now, later = along([*path, path[-1]], "success"), along([*path, where, path[-1]], "success")
    dense, sparse = (worth(name, now, discount) - worth(name, later, discount) for name in DEFAULTS[::-1])
    assert dense >= sparse / 2 - 1e-9


@a_few
@given(paths, discounts)
def test_without_success_dense_is_never_worth_more_than_half_of_one(path: list[Truth], discount: float) -> None:
    for ending in ("lost", "time limit"):
        assert worth("dense", along(path, ending), discount) <= 0.5 + 1e-9


@a_few
@given(paths, endings, discounts)
def test_no_return_lies_outside_the_bounds_that_a_reward_states(
    path: list[Truth], ending: str, discount: float
) -> None:
    for name in DEFAULTS:
        low, high = REWARDS[name].returns()
        assert low - 1e-9 <= worth(name, along(path, ending), discount) <= high + 1e-9
    assert REWARDS["sparse"].returns() == (0.0, 1.0)


def test_an_unknown_reward_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UserError, match=r"'v12'.*sparse, dense, v7, v9, v10, v11, v13, v14, v15, v16, v17, v18, v19"):
        find_reward("v12")


def test_the_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        REWARDS["mine"] = Reward("mine", Sparse())  # type: ignore[index]
    with pytest.raises(AttributeError):
        REWARDS["dense"].formula.success = 2.0  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", HISTORY)
def test_a_reward_made_for_lifting_is_refused_for_a_task_with_a_target(name: str) -> None:
    REWARDS[name].require(TASKS["lift"])
    with pytest.raises(UserError, match=rf"'{name}' does not fit the task 'bowl'.*Choose sparse, dense$"):
        REWARDS[name].require(TASKS["bowl"])


@dataclass(frozen=True)
class _ToTarget(Sparse):
    needs: ClassVar[tuple[str, ...]] = ("target_m",)


def test_a_reward_that_needs_a_target_is_refused_where_there_is_none() -> None:
    reward = Reward("to_target", _ToTarget())
    reward.require(TASKS["paper"])
    with pytest.raises(UserError, match=r"'to_target' does not fit the task 'lift': it needs target_m.*dense.*v19"):
        reward.require(TASKS["lift"])


@pytest.mark.parametrize("name", DEFAULTS)
@pytest.mark.parametrize("task", TASKS)
def test_the_defaults_fit_every_task(name: str, task: str) -> None:
    REWARDS[name].require(TASKS[task])


FINGERPRINTS = {
    "v7": "83aff6d99b7e1f56",
    "v9": "03a8387320d43df1",
    "v10": "10df16cbd9258a56",
    "v11": "f76678610017b830",
    "v13": "75cd4d58f9584e5c",
    "v14": "675abcd499ffd62b",
    "v15": "8b371e5d3c902991",
    "v16": "cfc58f87ce0e3ce2",
    "v17": "6115dd1e5268b374",
    "v18": "00c88289c32daaeb",
    "v19": "77f0d74bb47cb0b5",
    "sparse": "2509d03bde13b087",
    "dense": "1590b8d52a8796c4",
}


def test_no_reward_changed_under_its_name() -> None:
    """Whoever changes a constant or the version of `dense` on purpose enters the new fingerprint here."""
    assert {name: reward.fingerprint for name, reward in REWARDS.items()} == FINGERPRINTS


def test_a_fingerprint_tells_name_version_and_constants_apart() -> None:
    dense = REWARDS["dense"]
    others = [
        replace(dense, name="dense2"),
        replace(dense, version=3),
        replace(dense, formula=replace(dense.formula, shaping=0.4)),  # type: ignore[type-var]
        *(reward for name, reward in REWARDS.items() if name != "dense"),
    ]
    prints = {reward.fingerprint for reward in others}
    assert len(prints) == len(others) and dense.fingerprint not in prints
    assert dense.fingerprint == Reward("dense", Dense(), version=2).fingerprint
