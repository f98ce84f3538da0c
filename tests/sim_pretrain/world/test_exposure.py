"""From a rendered picture to a camera's frame."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_pretrain.world.exposure import Exposure
from sim_pretrain.world.profile import WorldProfile

FRAME = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def test_a_plain_camera_changes_nothing():
    assert Exposure(WorldProfile()).develop(FRAME, 0) is FRAME


@pytest.mark.parametrize("brightness", [0.6, 1.4])
def test_brightness_scales_and_clips(brightness):
    developed = Exposure(WorldProfile(brightness=brightness)).develop(FRAME, 0)
    assert developed.dtype == np.uint8
    np.testing.assert_allclose(developed, np.clip(FRAME * brightness, 0, 255), atol=1.0)


def test_white_balance_is_per_channel():
    developed = Exposure(WorldProfile(white_balance=(0.5, 1.0, 1.2))).develop(FRAME, 0)
    np.testing.assert_allclose(developed, np.clip(FRAME * (0.5, 1.0, 1.2), 0, 255), atol=1.0)
    np.testing.assert_array_equal(developed[..., 1], FRAME[..., 1])


def test_gamma_keeps_black_and_white_and_bends_the_middle():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    for gamma, sign in ((0.8, 1), (1.25, -1)):
        developed = Exposure(WorldProfile(gamma=gamma)).develop(ramp, 0).astype(int)[0, :, 0]
        assert developed[0] == 0 and developed[255] >= 254
        assert sign * (developed[128] - 128) > 10 and (np.diff(developed) >= 0).all()


def test_noise_has_the_deviation_asked_for_and_falls_anew_each_time():
    exposure, grey = Exposure(WorldProfile(image_noise=4.0)), np.full((60, 80, 3), 128, np.uint8)
    frames = np.array([exposure.develop(grey, hash((0, i))) for i in range(8)], float)
    assert frames.std() == pytest.approx(4.0, rel=0.05) and frames.mean() == pytest.approx(127.5, abs=0.2)
    apart = np.corrcoef(frames.reshape(8, -1)) - np.eye(8)
    assert np.abs(apart).max() < 0.05
    assert not np.array_equal(frames[0], frames[1])


@settings(max_examples=20, deadline=None)
@given(st.integers())
def test_equal_draws_give_equal_noise(draw):
    profile = WorldProfile(image_noise=4.0, brightness=0.9)
    one, other = (Exposure(profile).develop(FRAME, draw) for _ in range(2))
    np.testing.assert_array_equal(one, other)
