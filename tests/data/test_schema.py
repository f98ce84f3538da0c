from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.schema import Episode, EpisodeMeta, Outcome, Source


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 12), cameras=st.integers(0, 3), seed=st.integers(0, 2**32 - 1))
def test_next_observation_of_step_t_is_row_t_plus_1(made, count, cameras, seed):
    spec = made.task(cameras, size_px=4)
    first, steps = made.steps(spec, seed, count)
    episode = Episode.from_steps(first, steps, made.meta(spec, seed))
    assert len(episode) == count and len(episode.state) == len(episode.stamp_s) == count + 1
    rows = [first, *(s.next_observation for s in steps)]
    for t, observation in enumerate(rows):
        np.testing.assert_array_equal(episode.state[t], observation.state)
        assert episode.stamp_s[t] == observation.stamp_s
        for camera, frame in observation.images.items():
            np.testing.assert_array_equal(episode.images[camera][t], frame)
    for t, step in enumerate(steps):
        np.testing.assert_array_equal(episode.proposed[t], step.proposed)
        np.testing.assert_array_equal(episode.executed[t], step.executed)
        assert Source(episode.source[t]) is step.source
        assert (episode.terminated[t], episode.truncated[t]) == (step.terminated, step.truncated)
        assert episode.policy_version[t] == step.policy_version
        assert episode.marked_success[t + 1] == step.marked_success
    assert not episode.marked_success[0]


def test_step_arrays_have_the_documented_types(made):
    episode = made.episode(made.task(), seed=0)
    found = {n: str(v.dtype) for n, v in vars(episode).items() if isinstance(v, np.ndarray)}
    assert found == {
        "state": "float32",
        "stamp_s": "float64",
        "marked_success": "bool",
        "proposed": "float32",
        "executed": "float32",
        "source": "uint8",
        "reward": "float32",
        "terminated": "bool",
        "truncated": "bool",
        "p_success": "float32",
        "policy_version": "int64",
    }
    assert {str(v.dtype) for v in episode.images.values()} == {"uint8"}


@pytest.mark.parametrize("flag", ["terminated", "truncated"])
@pytest.mark.parametrize("where", [0, 2])
def test_an_end_in_the_middle_is_refused(made, flag, where):
    spec = made.task()
    first, steps = made.steps(spec, 0, 4)
    steps[where] = replace(steps[where], **{flag: True})
    with pytest.raises(ValueError, match="only the last transition"):
        Episode.from_steps(first, steps, made.meta(spec, 0))


def test_an_episode_needs_a_step(made):
    spec = made.task()
    first, _ = made.steps(spec, 0, 1)
    with pytest.raises(ValueError, match="at least one transition"):
        Episode.from_steps(first, [], made.meta(spec, 0))


def test_a_camera_that_drops_out_is_refused(made):
    spec = made.task()
    first, steps = made.steps(spec, 0, 2)
    steps[1] = replace(steps[1], next_observation=replace(steps[1].next_observation, images={}))
    with pytest.raises(KeyError):
        Episode.from_steps(first, steps, made.meta(spec, 0))


def test_records_are_frozen_and_uuids_differ(made):
    spec = made.task()
    first, steps = made.steps(spec, 0, 1)
    for record, name in ((first, "stamp_s"), (steps[0], "reward"), (made.meta(spec, 0), "kind")):
        with pytest.raises(FrozenInstanceError):
            setattr(record, name, 0)
    assert EpisodeMeta(Outcome.SUCCESS, "online", "").uuid != EpisodeMeta(Outcome.SUCCESS, "online", "").uuid
