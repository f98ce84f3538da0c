"""What has changed on the table, against what changes from start to start anyway."""

import numpy as np
import pytest

from hilserl.ui.scene import LEAST, Scene, difference


def table(object_px: int, shift_px: int = 0, light: float = 1.0) -> np.ndarray:
    """A textured table with a red object somewhere on it, seen by a camera that may have moved."""
    picture = np.random.default_rng(3).integers(60, 160, (21, 21, 3)).repeat(6, axis=0).repeat(6, axis=1)
    picture[40:55, object_px : object_px + 15] = (200, 30, 30)
    moved = np.roll(picture, shift_px, axis=1)[21:105, 21:105]
    return np.clip(moved * light, 0, 255).astype(np.uint8)


@pytest.fixture
def scene() -> Scene:
    return Scene([table(x) for x in range(30, 30 + 9 * LEAST, 9)])


@pytest.mark.parametrize("object_px", [34, 47, 61])
def test_another_place_of_the_object_is_nothing_new(scene: Scene, object_px: int) -> None:
    assert scene.judge(table(object_px)) == (True, "as in the sessions before")


@pytest.mark.parametrize(("light", "word"), [(0.7, "31% darker"), (1.3, "brighter")])
def test_another_light_is(scene: Scene, light: float, word: str) -> None:
    usual, words = scene.judge(table(40, light=light))
    assert not usual and word in words and "moved" not in words


@pytest.mark.parametrize("shift_px", [-8, 5, 12])
def test_a_camera_that_was_moved_is(scene: Scene, shift_px: int) -> None:
    usual, words = scene.judge(table(40, shift_px))
    assert not usual and f"moved by {abs(shift_px)} px" in words
    assert difference(table(40), table(40, shift_px)).moved_px == pytest.approx(abs(shift_px), abs=0.5)


def test_what_varies_a_lot_anyway_says_less() -> None:
    wanders = Scene([table(40, shift_px) for shift_px in (-12, -6, 0, 6, 12)])  # as a camera on the wrist does
    assert wanders.judge(table(40, 9))[0]
