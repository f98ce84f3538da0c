"""What the critics predict, against what came: on numbers that can be checked by hand."""

import dataclasses

import numpy as np
import pytest
import torch

from hilserl.agents.networks import Policy
from sim_pretrain.episodes.calibration import calibrate, discounted
from sim_pretrain.episodes.collect import Collector, Driver
from sim_pretrain.task.env import EnvConfig
from sim_pretrain.task.tasks import TASKS

TASK = dataclasses.replace(TASKS["lift"], spec=dataclasses.replace(TASKS["lift"].spec, time_limit_steps=8))


class Says(torch.nn.Module):
    """Two critics that predict what they are told, the second one a little more."""

    def __init__(self, values: np.ndarray) -> None:
        super().__init__()
        self.values, self.at = torch.tensor(values, dtype=torch.float32), 0

    def forward(self, features, state, action):
        part = self.values[self.at : self.at + len(state)]
        self.at += len(state)
        return torch.stack((part, part + 0.5))


@pytest.fixture(scope="module")
def runs():
    with Collector(EnvConfig(TASK, blind=True), 1) as sim:
        found = list(sim.run(Driver(), [0, 1]))
    for run in found:  # the first one is a success at its end
        run.episode.reward[:] = 0.0
    found[0].episode.reward[-1] = 1.0
    return found


def test_rewards_are_discounted_backwards():
    np.testing.assert_allclose(discounted(np.array([0.0, 0.0, 1.0]), 0.5), [0.25, 0.5, 1.0])
    np.testing.assert_allclose(discounted(np.array([1.0, 2.0]), 0.9), [2.8, 2.0])


def test_perfect_critics_have_no_error_and_blind_ones_have(runs):
    policy = Policy(TASK.spec.observation, 4)
    truth = np.concatenate([discounted(r.episode.reward, 0.9) for r in runs])
    good = calibrate(policy, Says(truth), runs, 0.9)
    assert good.steps == sum(len(r.episode) for r in runs)
    assert good.error == pytest.approx(0.0, abs=1e-6) and good.correlation == pytest.approx(1.0)
    assert good.predicted == pytest.approx(good.realised) == pytest.approx(truth.mean())
    assert sum(n for *_, n in good.bins) == good.steps
    assert [p for p, *_ in good.bins] == sorted(p for p, *_ in good.bins)
    flat = calibrate(policy, Says(np.full(len(truth), 0.5)), runs, 0.9)
    assert flat.error == pytest.approx(np.abs(truth - 0.5).mean(), abs=1e-6) and np.isnan(flat.correlation)
    assert "predicted 0.50" in flat.text()
