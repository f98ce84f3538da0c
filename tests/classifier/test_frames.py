"""The split never leaks an episode, labels near an edge are unsure, and images pass unchanged."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from classifier.frames import LabelledFrames, TooFewLabels, image_batch, make_folds, passed, turns
from classifier.model import ClassifierSpec
from data.errors import UserError
from data.schema import Outcome
from data.spec import SpecMismatch


def labels_only(marked: list[bool], length: int = 3) -> LabelledFrames:
    """Frames without images: enough for the split."""
    label = np.repeat(marked, length)
    episode = np.repeat(np.arange(len(marked)), length)
    names = tuple(map(str, range(len(marked))))
    nothing = np.zeros((len(label), 0), np.float32)
    unsure = np.zeros(len(label), bool)
    return LabelledFrames({}, nothing, label[:, None], unsure, episode, names, ("",) * len(marked), label)


def gather(episodes, task):
    return LabelledFrames.from_episodes(episodes, task.observation.cameras, task.fingerprint)


@given(st.lists(st.booleans(), min_size=4, max_size=40), st.integers(2, 4), st.integers(0, 2**31))
def test_parts_are_whole_episodes_each_with_and_without_success(marked, parts, seed):
    frames = labels_only(marked)
    if min(sum(marked), len(marked) - sum(marked)) < 2:
        with pytest.raises(TooFewLabels):
            make_folds(frames, parts, seed)
        return
    folds = make_folds(frames, parts, seed)
    assert sorted(e for part in folds.held_out for e in part) == list(range(len(marked)))
    for k, part in enumerate(folds.held_out):
        trained_on = folds.trained_on(k)
        assert not set(frames.rows(trained_on)) & set(frames.rows(part))
        assert len(trained_on) + len(part) == len(marked)
        for episodes in (trained_on, part):
            assert {marked[e] for e in episodes} == {True, False}
    assert folds == make_folds(frames, parts, seed)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcd")), min_size=6, max_size=40), st.integers(0, 99))
def test_a_split_by_session_cuts_through_none(episodes, seed):
    marked, sessions = zip(*episodes, strict=True)
    frames = dataclasses.replace(labels_only(list(marked)), sessions=sessions)
    if min(sum(marked), len(marked) - sum(marked)) < 2:
        return
    folds = make_folds(frames, 3, seed)
    if folds.by == "session":
        parts = [{sessions[e] for e in part} for part in folds.held_out]
        assert sum(map(len, parts)) == len(set.union(*parts))
        assert all(len(folds.trained_on(k)) >= len(marked) / 2 for k in range(len(parts)))


def test_three_sessions_alike_are_held_out_whole_and_one_is_not():
    frames = labels_only([True, False] * 9)
    three = dataclasses.replace(frames, sessions=("mon",) * 6 + ("tue",) * 6 + ("wed",) * 6)
    assert make_folds(three, 3, 0).by == "session"
    assert make_folds(frames, 3, 0).by == "episode"


def test_another_seed_gives_another_split():
    frames = labels_only([True, False] * 10)
    assert len({make_folds(frames, 3, seed) for seed in range(8)}) > 1


def test_too_few_positive_episodes_names_counts_and_next_command(make_episode, task):
    frames = gather([make_episode(0, True), *(make_episode(i, False) for i in range(1, 5))], task)
    with pytest.raises(TooFewLabels, match=r"1 episodes with.* 4 without.*hilserl record --purpose=classifier"):
        make_folds(frames, 3, seed=0)


def test_unsure_is_two_frames_on_each_side_of_an_edge_and_stays_inside_the_episode(make_episode, task):
    first, second = make_episode(0, True, steps=14), make_episode(1, False, steps=9)
    marks = np.array([0] * 4 + [1] * 6 + [0] * 3 + [1] * 2, bool)
    frames = gather([dataclasses.replace(first, marked_success=marks), second], task)
    expected = [0, 0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1]  # nothing at the border to the second episode
    np.testing.assert_array_equal(frames.unsure, np.array(expected + [0] * 10, bool))
    assert set(frames.rows([0], sure_only=True)) == {0, 1, 6, 7}


def test_what_a_person_calls_unsure_is_unsure_and_stages_are_columns(make_episode, task):
    episode = make_episode(0, True, steps=9)
    doubt, grasped = np.arange(10) == 0, np.arange(10) > 2
    episode = dataclasses.replace(episode, labels={"unsure": doubt, "grasped": grasped})
    frames = LabelledFrames.from_episodes(
        [episode], task.observation.cameras, task.fingerprint, ("grasped", "success", "fell")
    )
    assert frames.unsure[0] and not frames.unsure[9]
    np.testing.assert_array_equal(frames.label[:, 0], grasped)
    np.testing.assert_array_equal(frames.label[:, 1], episode.marked_success)
    assert not frames.label[:, 2].any()


def test_black_frames_are_refused_and_name_episode_and_camera(make_episode, task):
    black = make_episode(4, True)
    black.images["wrist"][:] = 3
    with pytest.raises(UserError, match=r"episode-4.*'wrist'.*hilserl data exclude"):
        gather([make_episode(0, True), black], task)


def test_frames_keep_their_episode_and_label(episodes, task):
    frames = gather(episodes, task)
    for i, episode in enumerate(episodes):
        rows = frames.rows([i])
        np.testing.assert_array_equal(frames.label[rows, 0], episode.marked_success)
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
    batch, state = frames.batch(np.array([5, 2]))
    np.testing.assert_array_equal(state, frames.state[[5, 2]])
    assert set(batch) == {c.name for c in ClassifierSpec.for_task(task).cameras}
    for name, tensor in batch.items():
        assert tensor.dtype == torch.uint8
        np.testing.assert_array_equal(tensor.numpy(), frames.images[name][[5, 2]])


def test_a_batch_is_a_copy_also_of_read_only_frames():
    source = np.zeros((1, 4, 4, 3), np.uint8)
    source.flags.writeable = False
    image_batch({"front": source})["front"].fill_(7)
    assert not source.any()


MARKS = st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=12)


@given(MARKS)
def test_a_stage_is_passed_when_it_and_all_before_it_have_begun(marks):
    count = passed(np.array(marks))
    for t in range(len(marks)):
        seen = [any(row[stage] for row in marks[: t + 1]) for stage in range(3)]
        assert count[t] == (seen.index(False) if False in seen else 3)


@given(MARKS)
def test_a_failure_counts_from_the_stage_on_after_which_it_was_labelled(marks):
    marked = np.array(marks)  # two stages, and a failure
    frames = dataclasses.replace(labels_only([True]), label=marked, episode=np.zeros(len(marks), int))
    after, counts = turns(frames, 2)
    assert after[:2] == (0, 1) and after[2] <= 1  # the detector never sees more than that passed before success
    assert counts[:, :2].all()  # a stage learns from everything that it is not
    assert counts[:, 2].tolist() == (passed(marked[:, :2]) >= after[2]).tolist()
    assert counts[marked[:, 2], 2].all()  # no label is lost
