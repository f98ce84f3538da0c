"""A task for another table: whatever is shown becomes a box, a square or a refusal, and nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UserError
from data.images import crop_px
from data.spec import TaskSpec
from hilserl.task_edit import LEAST_M, problems, with_crop, with_start, with_workspace
from hilserl.tasks import lift_task

TASK = lift_task()
positions = st.tuples(*[st.floats(-0.6, 0.6)] * 3).map(np.array)


@given(positions, positions)
def test_any_two_corners_are_a_box_or_a_refusal(one: np.ndarray, other: np.ndarray) -> None:
    if (abs(one - other) < LEAST_M).any():
        with pytest.raises(UserError, match="mm apart"):
            with_workspace(TASK, one, other)
        return
    found = with_workspace(TASK, one, other)
    assert found == with_workspace(TASK, other, one)
    low, high = np.array(found.workspace_low_m), np.array(found.workspace_high_m)
    np.testing.assert_allclose([low, high], [np.minimum(one, other), np.maximum(one, other)], atol=1e-4)
    assert replace(found, workspace_low_m=TASK.workspace_low_m, workspace_high_m=TASK.workspace_high_m) == TASK
    assert TaskSpec.from_json(found.to_json()) == found


@given(positions)
def test_starts_keep_their_spread_wherever_they_are(hand: np.ndarray) -> None:
    found = with_start(TASK, hand)
    spread = np.subtract(TASK.start_high_m, TASK.start_low_m)
    np.testing.assert_allclose(np.subtract(found.start_high_m, found.start_low_m), spread, atol=2e-4)
    np.testing.assert_allclose(np.add(found.start_high_m, found.start_low_m) / 2, hand, atol=1e-4)


@given(st.integers(0, 400), st.integers(0, 300), st.integers(1, 480))
def test_a_square_in_pixels_is_that_square(left: int, top: int, side: int) -> None:
    shape = (480, 640, 3)
    crop = (top / 480, left / 640, side / 480, side / 640)
    if top + side > 480 or left + side > 640:
        with pytest.raises(ValueError, match="fractions"):
            with_crop(TASK, "wrist", crop, shape)
        return
    wrist, front = with_crop(TASK, "wrist", crop, shape).observation.cameras
    assert crop_px(shape, wrist) == (top, left, side, side)
    assert front == TASK.observation.cameras[1]


def test_what_is_no_square_or_no_camera_is_refused() -> None:
    with pytest.raises(UserError, match="accepted are squares"):
        with_crop(TASK, "wrist", (0, 0, 1, 1), (480, 640, 3))
    with pytest.raises(UserError, match="wrist, front"):
        with_crop(TASK, "side", (0, 0, 1, 0.75), (480, 640, 3))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"workspace_low_m": (0.16, -0.14, 0.05)}, "50 mm above the table"),
        ({"workspace_low_m": (0.16, -0.14, -0.01)}, "10 mm below the table"),
        ({"workspace_high_m": (0.45, 0.14, 0.2)}, "out of reach"),
        ({"workspace_high_m": (0.31, 0.14, 0.1)}, "not within the workspace"),
    ],
)
def test_what_is_odd_is_said(changes: dict, words: str | None) -> None:
    found = problems(replace(TASK, **changes))
    assert found == [] if words is None else len(found) == 1 and words in found[0]
