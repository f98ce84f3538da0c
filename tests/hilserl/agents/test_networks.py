"""Encoder, actor and critics against their definitions."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform
from torch.nn import functional as F

from data.spec import CameraSpec, TaskSpec
from hilserl.agents.networks import CriticEnsemble, EnsembleLinear, Head, NetworkConfig, Policy


def test_ensemble_linear_is_separate_linear_layers() -> None:
    torch.manual_seed(0)
    layer = EnsembleLinear(3, 5, 2)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(3, 7, 5)
    separate = [F.linear(x[i], layer.weight[i].T, layer.bias[i, 0]) for i in range(3)]
    torch.testing.assert_close(layer(x), torch.stack(separate))


def test_critics_differ_and_only_share_the_head(task: TaskSpec) -> None:
    torch.manual_seed(0)
    critic = CriticEnsemble(32, task.observation, 4, members=3)
    q = critic(torch.randn(6, 32), torch.randn(6, 4), torch.randn(6, 4))
    assert q.shape == (3, 6)
    assert min((q[i] - q[j]).abs().min() for i in range(3) for j in range(i)) > 1e-4
    q[0].sum().backward()
    for layer in (critic.first, critic.second, critic.value):
        assert layer.weight.grad is not None
        assert layer.weight.grad[0].any()
        assert not layer.weight.grad[1:].any()


def test_critics_see_action_state_and_image(task: TaskSpec) -> None:
    torch.manual_seed(0)
    critic = CriticEnsemble(32, task.observation, 4, members=2)
    inputs = [torch.randn(5, 32), torch.rand(5, 4), torch.randn(5, 4)]
    before = critic(*inputs)
    for i in range(3):
        changed = [torch.randn_like(x) if i == j else x for j, x in enumerate(inputs)]
        assert ((critic(*changed) - before).abs() > 1e-5).all(), i


def test_state_is_normalised_to_its_physical_range(task: TaskSpec) -> None:
    head = Head(32, task.observation, NetworkConfig())
    state = torch.tensor([[-1.0, 0.0, 1.0, 0.0], [0.5, 100.0, -100.0, 4.0]])
    found = head(torch.zeros(2, 32), state)[:, 64:]
    assert found.tolist() == [[-1.0, 0.0, 1.0, -1.0], [0.5, 3.0, -3.0, 1.0]]


@pytest.mark.parametrize("mean", [0.0, 0.7, -2.5])
def test_log_density_is_that_of_the_squashed_gaussian(new_policy: Callable[..., Policy], mean: float) -> None:
    actor = new_policy().actor.double()
    torch.nn.init.constant_(actor.mean.bias, mean)
    features, state = torch.randn(200, 32).double(), torch.randn(200, 4).double()
    action, log_density, mode = actor.sample(features, state)
    mu, std = actor(features, state)
    squashed = TransformedDistribution(Normal(mu, std), TanhTransform())
    torch.testing.assert_close(log_density, squashed.log_prob(action), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mode, torch.tanh(mu))
    torch.testing.assert_close((torch.atanh(action) - mu).std(0), std.mean(0), atol=0.03, rtol=0.0)


def test_log_density_is_finite_where_tanh_saturates(new_policy: Callable[..., Policy]) -> None:
    actor = new_policy().actor
    torch.nn.init.constant_(actor.mean.bias, 40.0)
    action, log_density, _ = actor.sample(torch.randn(9, 32), torch.randn(9, 4))
    assert (action == 1.0).all()
    assert torch.isfinite(log_density).all()


@pytest.mark.parametrize(("bias", "std"), [(9.0, 0.3), (-99.0, np.exp(-5.0)), (float(np.log(0.2)), 0.2)])
def test_standard_deviation_is_capped(new_policy: Callable[..., Policy], bias: float, std: float) -> None:
    actor = new_policy().actor
    torch.nn.init.constant_(actor.log_std.bias, bias)
    found = actor(torch.randn(3, 32), torch.randn(3, 4))[1]
    torch.testing.assert_close(found, torch.full((3, 4), std, dtype=torch.float32))


def test_encoder_takes_bytes_and_gives_normalised_features(new_policy: Callable[..., Policy]) -> None:
    policy = new_policy()
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 1, 47, 47, 3), np.uint8))
    features = policy.encode(images)
    assert features.shape == (5, policy.features)
    torch.testing.assert_close(features.mean(1), torch.zeros(5), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(policy.encode(images[3:4]), features[3:4], atol=1e-5, rtol=1e-4)
    assert (features[0] - features[1]).abs().max() > 1e-3


def test_two_cameras_are_encoded_in_order_and_must_share_a_size(task: TaskSpec) -> None:
    torch.manual_seed(0)
    both = replace(task.observation, policy_cameras=("wrist", "front"))
    policy = Policy(both, 4)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 2, 47, 47, 3), np.uint8))
    features = policy.encode(images)
    assert features.shape == (2, 64) and policy.features == 64
    torch.testing.assert_close(features[:, :32], policy.encoder(images[:, :1]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(features[:, 32:], policy.encoder(images[:, 1:]), atol=1e-5, rtol=1e-4)
    cameras = (task.observation.cameras[0], CameraSpec("front", (0.0, 0.0, 1.0, 1.0), 64))
    with pytest.raises(ValueError, match=r"share one size.*\[47, 64\]"):
        Policy(replace(both, cameras=cameras), 4)
