"""The split never leaks an episode, labels near an edge are unsure, and images pass unchanged."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from classifier.frames import LabelledFrames, TooFewLabels, image_batch, split_by_episode
from classifier.model import ClassifierSpec
from data.schema import Outcome
from data.spec import SpecMismatch


def labels_only(marked: list[bool], length: int = 3) -> LabelledFrames:
    """Frames without images: enough for the split."""
    label = np.repeat(marked, length)
    episode = np.repeat(np.arange(len(marked)), length)
    return LabelledFrames({}, label, np.zeros(len(label), bool), episode, tuple(map(str, range(len(marked)))))


def gather(episodes, task):
    return LabelledFrames.from_episodes(episodes, task.observation.cameras, task.fingerprint)


@given(st.lists(st.booleans(), min_size=4, max_size=40), st.integers(0, 2**31))
def test_split_is_by_episode_stratified_and_deterministic(marked, seed):
    frames = labels_only(marked)
    if min(sum(marked), len(marked) - sum(marked)) < 2:
        with pytest.raises(TooFewLabels):
            split_by_episode(frames, seed)
        return
    split = split_by_episode(frames, seed)
    assert not set(split.train) & set(split.held_out)
    assert sorted(split.train + split.held_out) == list(range(len(marked)))
    assert len(split.held_out) >= len(marked) / 4
    for part in (split.train, split.held_out):
        assert {marked[i] for i in part} == {True, False}
    assert not set(frames.rows(split.train)) & set(frames.rows(split.held_out))
    assert split == split_by_episode(frames, seed)


def test_another_seed_gives_another_split():
    frames = labels_only([True, False] * 10)
    assert len({split_by_episode(frames, seed) for seed in range(8)}) > 1


def test_too_few_positive_episodes_names_counts_and_next_command(make_episode, task):
    frames = gather([make_episode(0, True), *(make_episode(i, False) for i in range(1, 5))], task)
    with pytest.raises(TooFewLabels, match=r"1 episodes with.* 4 without.*hilserl record --purpose=classifier"):
        split_by_episode(frames, seed=0)


def test_unsure_is_one_frame_on_each_side_of_an_edge_and_stays_inside_the_episode(make_episode, task):
    first, second = make_episode(0, True, steps=9), make_episode(1, False, steps=9)
    marks = np.array([0, 0, 0, 1, 1, 1, 1, 0, 1, 1], bool)
    frames = gather([dataclasses.replace(first, marked_success=marks), second], task)
    expected = [0, 0, 1, 1, 0, 0, 1, 1, 1, 0]  # nothing at the border to the second episode
    np.testing.assert_array_equal(frames.unsure, np.array(expected + [0] * 10, bool))
    assert set(frames.rows([0])) == set(range(10))
    assert set(frames.rows([0], sure_only=True)) == {0, 1, 4, 5, 9}


def test_frames_keep_their_episode_and_label(episodes, task):
    frames = gather(episodes, task)
    for i, episode in enumerate(episodes):
        rows = frames.rows([i])
        np.testing.assert_array_equal(frames.label[rows], episode.marked_success)
        np.testing.assert_array_equal(frames.images["wrist"][rows], episode.images["wrist"])


def test_aborted_episodes_are_left_out(make_episode, task):
    frames = gather([make_episode(0, True), make_episode(1, True, outcome=Outcome.ABORTED)], task)
    assert frames.uuids == ("episode-0",)
    assert frames.skipped_aborted == 1


def test_the_same_episode_twice_is_refused(make_episode, task):
    with pytest.raises(ValueError, match="episode-3"):
        gather([make_episode(3, True), make_episode(3, True)], task)


def test_episodes_of_another_task_spec_are_refused(make_episode, task):
    with pytest.raises(SpecMismatch, match="feedbeef"):
        LabelledFrames.from_episodes([make_episode(0, True)], task.observation.cameras, "feedbeef")


def test_a_missing_camera_and_a_wrong_size_are_refused(make_episode, task):
    episode = make_episode(0, True)
    with pytest.raises(ValueError, match="no camera 'wrist'"):
        gather([dataclasses.replace(episode, images={"front": episode.images["front"]})], task)
    small = {name: images[:, :-1] for name, images in episode.images.items()}
    with pytest.raises(ValueError, match="accepted is"):
        gather([dataclasses.replace(episode, images=small)], task)


def test_images_stay_uint8_and_unchanged_up_to_the_model(episodes, task):
    frames = gather(episodes, task)
    batch = frames.batch(np.array([5, 2]))
    assert set(batch) == {c.name for c in ClassifierSpec.for_task(task).cameras}
    for name, tensor in batch.items():
        assert tensor.dtype == torch.uint8
        np.testing.assert_array_equal(tensor.numpy(), frames.images[name][[5, 2]])


def test_a_batch_is_a_copy_also_of_read_only_frames():
    source = np.zeros((1, 4, 4, 3), np.uint8)
    source.flags.writeable = False
    image_batch({"front": source})["front"].fill_(7)
    assert not source.any()
