"""Simulated demonstrations: in the store like a person's, once each, and reproducible from their actions."""

import numpy as np
import pytest

from data.errors import UserError
from data.schema import Outcome, Source
from data.store.reader import open_reader
from data.store.verify import verify
from data.views import Role, roles
from sim_pretrain.episodes.demos import main, uuid
from sim_pretrain.task.env import EnvConfig
from sim_pretrain.task.tasks import TASKS
from sim_pretrain.world.randomize import Randomization

SEED = 40


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    path = tmp_path_factory.mktemp("demos") / "run"
    flags = [f"--output_dir={path}", f"--seed={SEED}", "--workers=1", "--perturbed=0.3"]
    assert main([*flags, "--episodes=2"]) == 0
    return path, flags


def test_going_on_fills_up_and_repeats_nothing(filled, capsys):
    path, flags = filled
    assert main([*flags, "--episodes=3"]) == 0
    assert "3 demonstrations" in capsys.readouterr().out
    assert main([*flags, "--episodes=3"]) == 0
    store = open_reader(path)
    assert [c.uuid for c in store.commits("demo")] == [uuid("lift", SEED + i) for i in range(3)]
    assert not verify(store, store.commits()).problems


def test_they_are_demonstrations_in_the_arms_own_spec(filled):
    path, _ = filled
    store = open_reader(path)
    commit = store.commits("demo")[0]
    episode = store.read(commit)
    assert commit.outcome == Outcome.SUCCESS and episode.reward[-1] == 1.0
    assert set(episode.images) == {"wrist", "front"} and episode.images["front"].any()
    assert set(episode.source) == {Source.EXPERT}
    assert set(roles(episode)) == {Role.DEMO}
    assert store.spec.fingerprint == TASKS["lift"].spec.fingerprint


def test_replaying_stored_actions_reproduces_stored_observations(filled):
    path, _ = filled
    store = open_reader(path)
    env = EnvConfig(randomization=Randomization(), all_cameras=True).make()
    for commit in store.commits("demo")[:2]:
        episode = store.read(commit)
        observation, _ = env.reset(seed=episode.meta.notes["seed"])
        for t in range(len(episode) + 1):
            # What was executed is stored in single precision: the last digit may differ, and a pixel on an edge.
            np.testing.assert_allclose(observation["state"], episode.state[t], atol=1e-5)
            for camera, frames in episode.images.items():
                assert np.abs(observation[camera].astype(int) - frames[t]).mean() < 0.02
            if t < len(episode):
                observation, reward, terminated, _, _ = env.step(episode.executed[t])
                assert reward == episode.reward[t] and terminated == episode.terminated[t]
    env.close()


def test_no_episodes_is_refused(tmp_path):
    with pytest.raises(UserError, match="1 or more"):
        main([f"--output_dir={tmp_path}", "--episodes=0"])
