"""The map, and what is asked for by it; places from spots in a picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilserl.ui.attempts import Attempt, Place
from hilserl.ui.coach import Stripe
from hilserl.ui.coverage import CoverageConfig, Target, coverage, fixed, in_words, reach, suggest, weights
from hilserl.ui.spot import LEAST_PAIRS, ColourConfig, find_spot, fit_table, to_table

CONFIG = CoverageConfig()
# places on a table that a camera sees obliquely: [right, down, 1] ~ VIEW @ [x, y, 1]
VIEW = np.array([[0.3, -2.2, 0.5], [-1.4, 0.2, 0.9], [0.9, 0.0, 1.0]])
PLACE = st.tuples(st.floats(0.18, 0.28), st.floats(-0.05, 0.05))
OUTCOMES = st.lists(st.tuples(PLACE, st.booleans()), max_size=40)


def seen_at(place: Place) -> Place:
    right, down, scale = VIEW @ [*place, 1.0]
    return right / scale, down / scale


def attempt(place: Place, won: bool = True, *, spot: bool = True, closed: bool = True, uuid: str = "") -> Attempt:
    stripe = Stripe(0, True, won, 40, ())
    where = seen_at(place) if spot else None
    return Attempt(uuid, "online", "", 0.0, stripe, np.zeros(40), (0.23, 0.0), place if closed else None, where)


def attempts(outcomes: list[tuple[Place, bool]]) -> list[Attempt]:
    return [attempt(place, won, uuid=str(i)) for i, (place, won) in enumerate(outcomes)]


@settings(deadline=None)
@given(OUTCOMES)
def test_every_episode_is_counted_once_in_the_cell_that_it_lies_in(outcomes: list[tuple[Place, bool]]) -> None:
    truth = {str(i): place for i, (place, _) in enumerate(outcomes)}
    found = coverage(attempts(outcomes), CONFIG, truth)
    assert found.tries.sum() == len(outcomes) and found.wins.sum() == sum(won for _, won in outcomes)
    assert (found.wins <= found.tries).all() and found.tries.shape == CONFIG.cells
    for cell in np.ndindex(*CONFIG.cells):
        assert found.cell_of(found.centre_of(cell)) == cell


@settings(deadline=None)
@given(OUTCOMES, st.floats(0.01, 1.0))
def test_cells_that_fail_or_were_not_tried_are_worth_more(outcomes: list[tuple[Place, bool]], share: float) -> None:
    found = coverage(attempts(outcomes), CONFIG, {str(i): place for i, (place, _) in enumerate(outcomes)})
    worth = weights(found, share)
    assert worth.sum() == pytest.approx(1.0) and worth.any()
    inside = [cell for cell in np.ndindex(*worth.shape) if worth[cell]]
    for a in inside:
        for b in inside:
            if found.tries[a] == found.tries[b]:
                assert (worth[a] > worth[b]) == (found.wins[a] < found.wins[b])
            if found.tries[a] == 0 < found.tries[b]:
                assert worth[a] > worth[b]
    assert weights(found, 1.0).all()


@settings(deadline=None)
@given(OUTCOMES, st.integers(0, 99))
def test_what_is_asked_for_lies_within_reach(outcomes: list[tuple[Place, bool]], seed: int) -> None:
    found = coverage(attempts(outcomes), CONFIG, {str(i): place for i, (place, _) in enumerate(outcomes)})
    near, far = (suggest(found, share, np.random.default_rng(seed)) for share in (0.5, 1.0))
    assert 0.205 <= near.x_m <= 0.255 and -0.025 <= near.y_m <= 0.025
    assert 0.18 <= far.x_m <= 0.28 and -0.05 <= far.y_m <= 0.05


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=80))
def test_the_range_widens_with_success_and_narrows_with_failure(won: list[bool]) -> None:
    found = reach(won, CONFIG)
    assert CONFIG.first_reach <= found <= 1.0
    assert reach([*won[: len(won) // 10 * 10], *[True] * 10], CONFIG) >= found
    assert reach([*won[: len(won) // 10 * 10], *[False] * 10], CONFIG) <= found
    assert reach([*won, *[True] * 40], CONFIG) == 1.0 and reach([*won, *[False] * 40], CONFIG) == CONFIG.first_reach


def test_a_fixed_series_is_the_same_each_time_and_fills_the_area() -> None:
    places = [fixed(CONFIG, n) for n in range(12)]
    assert places == [fixed(CONFIG, n) for n in range(12)]
    found = coverage(
        [attempt((p.x_m, p.y_m), uuid=str(i)) for i, p in enumerate(places)],
        CoverageConfig(cells=(2, 2)),
        {str(i): (p.x_m, p.y_m) for i, p in enumerate(places)},
    )
    assert (found.tries >= 2).all()


def test_a_place_in_words() -> None:
    assert in_words(Target(0.241, -0.032, "1 of 4 so far")) == (
        "24 cm in front of the arm's base, 3 cm to its right (1 of 4 so far)"
    )
    assert in_words(Target(0.2, 0.001)) == "20 cm in front of the arm's base, straight ahead"


def picture(right_px: int, down_px: int, rgb: tuple[int, int, int]) -> np.ndarray:
    image = np.full((84, 84, 3), 120, np.uint8)
    cv2.rectangle(image, (right_px - 4, down_px - 4), (right_px + 4, down_px + 4), rgb, -1)
    return image


@settings(deadline=None)
@given(st.integers(5, 78), st.integers(5, 78), st.sampled_from([(200, 30, 20), (200, 20, 60), (120, 10, 10)]))
def test_a_red_object_is_found_in_any_light(right_px: int, down_px: int, rgb: tuple[int, int, int]) -> None:
    found = find_spot(picture(right_px, down_px, rgb), ColourConfig())
    assert found == pytest.approx(((right_px + 0.5) / 84, (down_px + 0.5) / 84))


@pytest.mark.parametrize("rgb", [(30, 200, 20), (120, 110, 110), (30, 3, 3), (20, 30, 200)])
def test_what_has_another_colour_is_not_taken_for_it(rgb: tuple[int, int, int]) -> None:
    assert find_spot(picture(40, 40, rgb), ColourConfig()) is None


def test_the_colour_can_be_chosen_and_a_speck_is_none() -> None:
    assert find_spot(picture(40, 40, (30, 200, 20)), ColourConfig(hue_deg=120)) is not None
    assert find_spot(picture(40, 40, (200, 30, 20)), ColourConfig(least_share=0.05)) is None


@settings(deadline=None)
@given(st.lists(PLACE, min_size=20, max_size=20, unique=True), st.integers(0, 4))
def test_grasps_tell_where_on_the_table_a_spot_is(places: list[Place], strays: int) -> None:
    """Also when some objects were pushed away before they were grasped."""
    rng, true = np.random.default_rng(0), np.array(places)
    if np.linalg.matrix_rank(true - true.mean(0), tol=0.02) < 2:
        return  # all on one line: no homography
    spots, grasped = np.array([seen_at(p) for p in places]), true + rng.normal(0, 0.002, true.shape)
    grasped[:strays] += 0.06
    homography = fit_table(spots, grasped)
    if homography is not None:
        assert np.median(np.linalg.norm(to_table(homography, spots) - true, axis=1)) < 0.01


def test_too_few_grasps_or_grasps_anywhere_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    spots, places = rng.uniform(0.2, 0.8, (30, 2)), rng.uniform(-0.2, 0.2, (30, 2))
    assert fit_table(spots[: LEAST_PAIRS - 1], spots[: LEAST_PAIRS - 1]) is None
    assert fit_table(spots, places) is None


def test_the_map_shows_the_best_that_is_known_of_the_object() -> None:
    rng = np.random.default_rng(0)
    places = [(float(x), float(y)) for x, y in rng.uniform(CONFIG.low_m, CONFIG.high_m, (30, 2))]
    assert coverage([attempt(p) for p in places], CONFIG, {}).of == "object"
    assert coverage([attempt(p, closed=False) for p in places], CONFIG, {}).of == "picture"
    assert coverage([attempt(p, spot=False) for p in places], CONFIG, {}).of == "start"
    mapped = coverage([attempt(p) for p in places], CONFIG, {})
    np.testing.assert_allclose(mapped.points, places, atol=1e-6)
    assert coverage([], CONFIG, {}).tries.sum() == 0
