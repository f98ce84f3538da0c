"""Whole camera frames beside the model's: kept on request, read on request, never in the way."""

from dataclasses import replace

import numpy as np
import pytest

from data.schema import Episode, Observation
from data.store.episode_codec import CorruptEpisode
from data.store.episode_store import EpisodeStore


def with_native(made, spec, seed: int, count: int):
    """A first observation and steps whose cameras give 10×12 frames."""
    rng = np.random.default_rng(seed)

    def widen(observation: Observation) -> Observation:
        return replace(observation, native={c: rng.integers(0, 256, (10, 12, 3), np.uint8) for c in observation.images})

    first, steps = made.steps(spec, seed, count)
    return widen(first), [replace(s, next_observation=widen(s.next_observation)) for s in steps]


@pytest.fixture
def recorded(made):
    spec = made.task()
    return spec, Episode.from_steps(*with_native(made, spec, 0, 4), made.meta(spec, 0))


def test_native_frames_come_back_when_asked_for(made, recorded, tmp_path):
    spec, episode = recorded
    with EpisodeStore.create_or_open(tmp_path, spec) as store:
        commit = store.append(episode)
        assert store.read(commit).native == {}
        found = store.read(commit, native=True)
    made.assert_same(found, episode)
    assert found.native.keys() == set(episode.images)
    for camera, frames in episode.native.items():
        assert frames.shape == (5, 10, 12, 3)
        np.testing.assert_array_equal(found.native[camera], frames)


def test_a_crash_salvages_them_too(made, tmp_path):
    spec = made.task()
    first, steps = with_native(made, spec, 1, 3)
    with EpisodeStore.create_or_open(tmp_path, spec) as store:
        journal = store.journal(first, made.meta(spec, 1))
        for step in steps:
            journal.add(step)
    with EpisodeStore.create_or_open(tmp_path, spec) as store:
        found = store.read(0, native=True)
    for t, observation in enumerate([first, *(s.next_observation for s in steps)]):
        for camera, frame in observation.native.items():
            np.testing.assert_array_equal(found.native[camera][t], frame)


def test_a_damaged_native_frame_is_noticed_and_the_episode_stays_readable(made, recorded, tmp_path):
    spec, episode = recorded
    with EpisodeStore.create_or_open(tmp_path, spec) as store:
        commit = store.append(episode)
        chunk = next((tmp_path / "episodes" / commit.folder / "native" / "camera0").glob("[0-9]*"))
        chunk.unlink()  # zarr would read zeros
        made.assert_same(store.read(commit), episode)
        with pytest.raises(CorruptEpisode, match="native"):
            store.read(commit, native=True)
        assert len(store.verify()) == 1


@pytest.mark.parametrize("frames", [np.zeros((4, 8, 8, 3), np.uint8), np.zeros((5, 8, 8, 3), np.float32)])
def test_native_frames_of_another_length_or_type_are_refused(made, recorded, tmp_path, frames):
    spec, episode = recorded
    with EpisodeStore.create_or_open(tmp_path, spec) as store, pytest.raises(ValueError, match="native/camera0"):
        store.append(replace(episode, native={"camera0": frames}))
