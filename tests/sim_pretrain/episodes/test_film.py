"""Films of episodes: the right ones, every frame of them, and nothing that changes what is filmed."""

import dataclasses

import av
import numpy as np
import pytest

from sim_pretrain.episodes.evaluation import Evaluation, evaluate, play
from sim_pretrain.episodes.film import PIXELS, WORDS, Picture, film, films, watch
from sim_pretrain.episodes.rollout import Phase
from sim_pretrain.task.env import SimEnv
from sim_pretrain.task.expert import expert_of
from sim_pretrain.task.tasks import TASKS

STEPS = 27
SHORT = dataclasses.replace(TASKS["lift"], spec=dataclasses.replace(TASKS["lift"].spec, time_limit_steps=STEPS))
NOISY = dataclasses.replace(SHORT.profile, image_noise=6.0)


class TwoTerms:
    """A reward of which a film has something to show."""

    def terms(self, state):
        return {"height": state.cube_m[2], "success": 10.0 * state.success}


@pytest.fixture(scope="module")
def env():
    made = SimEnv(SHORT, profile=NOISY)
    made._reward = TwoTerms()
    yield made
    made.close()


class Expert:
    """Acts on the truth; while it `fails`, it only opens its hand."""

    def __init__(self, env, fails=lambda: False):
        self.env, self.fails, self.expert = env, fails, expert_of(env.task)

    def act(self, observation):
        return np.array([0, 0, 0, 1], np.float32) if self.fails() else self.expert(self.env.truth)


@pytest.fixture(scope="module")
def seen(env):
    return watch(env, Expert(env), seed=4)


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_watching_from_the_front_changes_nothing_that_the_policy_sees(env, seen):
    plain = play(env, Expert(env), 4)
    assert len(seen.run.episode) == len(plain.episode)
    np.testing.assert_array_equal(seen.run.episode.images["wrist"], plain.episode.images["wrist"])  # noise included
    np.testing.assert_array_equal(seen.run.episode.state, plain.episode.state)


def test_what_is_shown_is_what_happened(env, seen):
    steps = len(seen.run.episode)
    assert seen.run.phase is Phase.SUCCESS
    for shown in (*seen.views.values(), seen.height_m, seen.in_hand, seen.held_s):
        assert len(shown) == steps + 1
    assert not seen.in_hand[0] and seen.in_hand[-1] and seen.held_s[0] == 0 < seen.held_s[-1]
    assert seen.height_m[0] == pytest.approx(0.015, abs=0.002) and seen.height_m[-1] > 0.08
    front = seen.views["front"].astype(int)
    assert front.shape[1:] == (NOISY.native_height_px, NOISY.native_width_px, 3)
    red = (front[..., 0] > 150) & (front[..., 1] < 80)
    rows = [np.nonzero(red[frame])[0].mean() for frame in (0, -1)]
    assert rows[1] < rows[0] - 5  # the red cube goes up


def test_the_world_is_left_where_the_episode_ended(env):
    watched = watch(env, Expert(env), seed=4)
    assert env.world.truth().cube_m[2] == pytest.approx(watched.height_m[-1])


def test_a_film_opens_and_has_one_picture_per_frame_and_a_second_at_the_end(env, seen, tmp_path):
    film(seen, env.task, tmp_path / "a.mp4")
    pictures = frames_of(tmp_path / "a.mp4")
    assert len(pictures) == len(seen.run.episode) + 1 + 9
    assert pictures[0].shape == (PIXELS[1], PIXELS[0], 3)
    wrist = [p[90:400, 40:340].astype(int) for p in pictures]
    assert np.abs(wrist[0] - wrist[12]).mean() > 10  # the view moves
    np.testing.assert_array_equal(pictures[-1].shape, pictures[0].shape)
    assert np.abs(wrist[-1] - wrist[-9]).mean() < 2  # and stands at the end


def test_the_cursor_moves_with_the_steps(env, seen):
    picture = Picture(seen, env.task)
    timeline = slice(420, 690)

    def cursor(frame):
        dark = (picture.at(frame)[timeline, 71:895].max(-1) < 90).mean(0)
        return int(dark.argmax())

    steps = len(seen.run.episode)
    places = [cursor(frame) for frame in (4, 10, steps - 4)]
    width = (0.70 - 0.055) * PIXELS[0] / steps
    assert np.allclose(np.diff(places), np.diff([4, 10, steps - 4]) * width, atol=3)


def test_a_frame_is_drawn_the_same_whatever_was_drawn_before(env, seen):
    picture = Picture(seen, env.task)
    first = picture.at(3)
    picture.at(20)
    np.testing.assert_array_equal(picture.at(3), first)


def test_the_worst_episodes_are_filmed_and_sort_first(env, tmp_path):
    done = []
    policy = Expert(env, fails=lambda: env.truth.cube_m[1] > 0)  # sees only one half of the table
    evaluation = evaluate(env, policy, episodes=4, seed=0)
    assert 0 < evaluation.wins < 4  # or this test shows nothing
    paths = films(env, policy, evaluation, tmp_path / "new" / "films", count=2, progress=done.append)
    worst = evaluation.worst_first()[:2]
    assert [p.name for p in paths] == [f"{i:02d}-{e.phase}-seed-{e.seed}.mp4" for i, e in enumerate(worst, 1)]
    assert sorted(paths) == paths and done == [1, 1]
    for path, episode in zip(paths, worst, strict=True):
        assert len(frames_of(path)) == episode.steps + 1 + 9  # the same episode again


def test_an_oracle_without_cameras_and_a_single_term_can_be_filmed(tmp_path):
    env = SimEnv(dataclasses.replace(SHORT, spec=dataclasses.replace(SHORT.spec, time_limit_steps=2)), oracle=True)
    try:
        idle = Expert(env, fails=lambda: True)
        (path,) = films(env, idle, evaluate(env, idle, episodes=1), tmp_path)
        assert len(frames_of(path)) == 2 + 1 + 9
        assert films(env, idle, Evaluation(()), tmp_path) == []
    finally:
        env.close()


def test_every_phase_has_words():
    assert set(WORDS) == set(Phase) and all(words.startswith(phase) for phase, words in WORDS.items())
