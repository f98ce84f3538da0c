"""The label show on a toy table: the classifier must get to see success and what only looks like it."""

from typing import Any

import numpy as np

from teleop.show import Show


def play(seed: int, ticks: int = 80, succeeds: bool = True) -> dict[str, Any]:
    """Let one episode run on a table where the hand goes exactly where it is told."""
    show = Show(np.random.default_rng(seed), succeeds=succeeds)
    ee, cube = np.array([0.23, 0.02, 0.11]), np.array([0.22, -0.01, 0.015])
    grasped, heights, actions, on_air = False, [], [], 0
    for _ in range(ticks):
        action = show.act({"ee_m": ee.tolist(), "cube_m": cube.tolist(), "grasped": grasped})
        actions.append(action)
        before = ee.copy()
        ee = np.clip(ee + 0.01 * action[:3], (0.16, -0.14, 0.008), (0.31, 0.14, 0.20))
        if grasped and action[3] > 0.5:
            grasped = False
        elif not grasped and action[3] < 0 and np.linalg.norm(ee - cube) < 0.012:
            grasped = True
        if grasped:
            cube = cube + ee - before
        else:
            cube[2] = 0.015
        on_air += not grasped and action[3] < 0 and ee[2] > 0.08
        heights.append(cube[2] if grasped else 0.0)
    return {"actions": np.array(actions), "heights": np.array(heights), "on_air": on_air}


def test_its_actions_are_actions():
    for seed in range(10):
        for succeeds in (True, False):
            actions = play(seed, succeeds=succeeds)["actions"]
            assert actions.dtype == np.float32 and actions.shape == (80, 4)
            assert np.isfinite(actions).all() and np.abs(actions).max() <= 1.0


def test_an_episode_that_succeeds_lifts_the_cube():
    highest = np.array([play(seed)["heights"].max() for seed in range(30)])
    assert np.mean(highest > 0.08) > 0.7


def test_an_episode_without_success_shows_what_only_looks_like_it():
    plays = [play(seed, succeeds=False) for seed in range(30)]
    highest = np.array([p["heights"].max() for p in plays])
    assert (highest < 0.08).all()  # the line between near miss and success is never crossed
    assert np.mean(highest > 0.04) > 0.5  # lifted, not enough
    assert sum(p["on_air"] > 3 for p in plays) > 5  # closed and high, with nothing inside


def test_it_lets_go_after_a_while():
    for seed in range(10):
        held = play(seed, 120)["heights"] > 0
        longest = max((len(r) for r in "".join("x" if h else "." for h in held).split(".")), default=0)
        assert longest < 45


def test_equal_seeds_give_equal_shows():
    np.testing.assert_array_equal(play(3)["actions"], play(3)["actions"])
    assert (play(3)["actions"] != play(4)["actions"]).any()
