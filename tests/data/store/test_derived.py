"""Images of another crop and size: equal to what the live session would have made, and made once."""

from dataclasses import replace

import numpy as np
import pytest

from data.errors import UserError
from data.images import preprocess
from data.schema import Episode
from data.spec import CameraSpec
from data.store.derived import derived_images, key
from data.store.episode_store import EpisodeStore

HALF = CameraSpec("camera0", (0.1, 0.2, 0.5, 0.6), 6)


@pytest.fixture
def recorded(made, tmp_path):
    spec, rng = made.task(), np.random.default_rng(0)
    whole = made.episode(spec, 0, 4)
    native = {"camera0": rng.integers(0, 256, (5, 20, 30, 3), np.uint8)}
    with EpisodeStore.create_or_open(tmp_path / "store", spec) as store:
        store.append(replace(whole, native=native))
        store.append(made.episode(spec, 1, 4))
        yield store, native["camera0"]


def test_they_are_what_the_camera_would_have_given(recorded):
    store, native = recorded
    found = derived_images(store, store.commits()[0], HALF)
    np.testing.assert_array_equal(found, np.stack([preprocess(frame, HALF) for frame in native]))


def test_they_are_made_once(recorded, monkeypatch):
    store, _ = recorded
    commit = store.commits()[0]
    first = derived_images(store, commit, HALF)
    monkeypatch.setattr(EpisodeStore, "read", None)  # from now on the native frames are out of reach
    np.testing.assert_array_equal(derived_images(store, commit, HALF), first)


@pytest.mark.parametrize("change", [{"size_px": 5}, {"crop": (0.1, 0.2, 0.5, 0.5)}, {"name": "camera1"}])
def test_another_spec_is_another_folder(change):
    assert key(replace(HALF, **change)) != key(HALF)


@pytest.mark.parametrize("damage", [b"", b"PK", None])
def test_a_damaged_cache_is_made_again(recorded, damage):
    store, _ = recorded
    commit = store.commits()[0]
    first = derived_images(store, commit, HALF)
    (path,) = store.path.glob("derived/*/*.npz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content if damage is None else damage)
    np.testing.assert_array_equal(derived_images(store, commit, HALF), first)
    assert len(list(store.path.glob("derived/*/*"))) == 1


def test_without_native_frames_it_says_how_to_record_them(recorded):
    store, _ = recorded
    with pytest.raises(UserError, match="keep_native"):
        derived_images(store, store.commits()[1], HALF)
    with pytest.raises(UserError, match="camera0, not of 'other'"):
        derived_images(store, store.commits()[0], replace(HALF, name="other"))


def test_verify_does_not_mind_the_cache(recorded):
    store, _ = recorded
    derived_images(store, store.commits()[0], HALF)
    assert store.verify() == [] and isinstance(store.read(0), Episode)
