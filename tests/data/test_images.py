"""The preprocessing function that every path shares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.images import crop_px, preprocess
from data.spec import CameraSpec

SQUARE = CameraSpec("wrist", (0.0, 0.125, 1.0, 0.75), 128)  # the middle 480 of 640 columns


def noise(height: int = 480, width: int = 640) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_crop_takes_the_named_part_of_the_frame():
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[:, 80:560] = (10, 20, 30)
    image = preprocess(frame, SQUARE)
    assert image.shape == (128, 128, 3) and image.dtype == np.uint8
    assert (image == (10, 20, 30)).all()


def test_golden_frame():
    """Fixed numbers: another crop, interpolation or channel order would break every stored policy."""
    y, x = np.mgrid[0:48, 0:64]
    frame = np.stack([4 * y, 3 * x, (x + y) % 2 * 255], axis=-1).astype(np.uint8)
    image = preprocess(frame, CameraSpec("wrist", (0.0, 0.125, 1.0, 0.75), 4))
    np.testing.assert_array_equal(image[:, 0, 0], [22, 70, 118, 166])
    np.testing.assert_array_equal(image[0, :, 1], [40, 76, 112, 148])
    assert set(image[..., 2].ravel()) <= {127, 128}


@pytest.mark.parametrize("size", [128, 480])
def test_result_is_a_contiguous_copy(size):
    frame = noise()[:, ::-1]
    kept = frame.copy()
    image = preprocess(frame, CameraSpec("wrist", (0.0, 0.125, 1.0, 0.75), size))
    assert image.flags.c_contiguous and not np.shares_memory(image, frame)
    image[:] = 0
    np.testing.assert_array_equal(frame, kept)


@pytest.mark.parametrize(
    "frame",
    [
        noise().astype(np.float32),
        noise()[..., 0],
        noise().transpose(2, 0, 1),
        np.zeros((4, 4, 4), np.uint8),
        noise().astype(np.int8),
    ],
)
def test_other_types_and_shapes_are_refused(frame):
    with pytest.raises(ValueError, match=r"wrist.*uint8"):
        preprocess(frame, SQUARE)


@pytest.mark.parametrize(
    "crop", [(0, 0, 1.1, 1), (-0.1, 0, 1, 1), (0, 0.5, 1, 0.6), (0, 0, 0, 1), (0, 0, float("nan"), 1)]
)
def test_a_crop_outside_the_frame_is_refused(crop):
    with pytest.raises(ValueError, match="crop"):
        preprocess(noise(), CameraSpec("wrist", crop, 64))


SIZES, EDGES, PARTS = st.integers(8, 400), st.floats(0, 0.9), st.floats(0.01, 1)


@given(SIZES, SIZES, EDGES, EDGES, PARTS, PARTS)
def test_crop_never_leaves_the_frame(height, width, top, left, part_h, part_w):
    spec = CameraSpec("wrist", (top, left, min(part_h, 1 - top), min(part_w, 1 - left)), 8)
    try:
        y, x, h, w = crop_px((height, width, 3), spec)
    except ValueError as error:
        assert "empty" in str(error)
        return
    assert 0 <= y < y + h <= height and 0 <= x < x + w <= width
