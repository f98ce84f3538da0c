"""Encoder, actor and critics against their definitions; stacks of frames; policies without a camera."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform
from torch.nn import functional as F

from data.errors import UserError
from data.schema import Observation
from data.spec import CameraSpec, TaskSpec
from hilserl.agents.networks import CriticEnsemble, EnsembleLinear, FrameStack, Head, NetworkConfig, Policy


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


@pytest.mark.parametrize("pooling", ["flatten", "spatial"])
def test_a_squeeze_in_bfloat16_is_nearly_the_same_and_trains(task: TaskSpec, pooling: str) -> None:
    exact = Head(128, task.observation, NetworkConfig(pooling=pooling))
    half = Head(128, task.observation, NetworkConfig(pooling=pooling, bf16=True))
    half.load_state_dict(exact.state_dict())
    inputs = torch.randn(50, 128), torch.zeros(50, 4)
    found = half(*inputs)
    assert found.dtype == torch.float32
    assert 1e-5 < (found - exact(*inputs)).abs().max() < 0.05
    found.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in half.parameters())


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


def pictures(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (*shape, 47, 47, 3), np.uint8))


def test_the_encoder_of_drqv2_has_the_papers_size_and_initial_weights(task: TaskSpec) -> None:
    cameras = (CameraSpec("wrist", (0.0, 0.0, 1.0, 1.0), 84),)
    spec = replace(task.observation, cameras=cameras)
    policy = Policy(spec, 4, NetworkConfig(encoder="drqv2", stack=3, squeeze=50, hidden=1024, layer_norm=False))
    assert policy.features == 32 * 35 * 35
    weights = [m.weight.flatten(1) for m in policy.encoder.conv if isinstance(m, torch.nn.Conv2d)]
    assert [w.shape[1] for w in weights] == [81, 288, 288, 288]
    for weight in weights:
        torch.testing.assert_close(weight @ weight.T, 2.0 * torch.eye(32), atol=1e-4, rtol=0.0)
    squeeze = policy.actor.head.squeeze[0].weight
    torch.testing.assert_close(squeeze @ squeeze.T, torch.eye(50), atol=1e-4, rtol=0.0)
    critic = CriticEnsemble(50, spec, 4, 2, policy.config)
    for weight in critic.second.weight:
        torch.testing.assert_close(weight @ weight.T, torch.eye(1024), atol=1e-4, rtol=0.0)
    std = policy.actor(torch.zeros(1, policy.features), torch.zeros(1, 4))[1]
    torch.testing.assert_close(std, torch.full((1, 4), 0.15))


def test_a_policy_of_one_frame_has_the_names_it_always_had(new_policy: Callable[..., Policy]) -> None:
    names = set(new_policy().state_dict())
    assert {n for n in names if n.startswith("encoder")} == {
        *(f"encoder.conv.{i}.{kind}" for i in (0, 2, 4, 6) for kind in ("weight", "bias")),
        "encoder.norm.weight",
        "encoder.norm.bias",
    }
    assert {n.split(".")[1] for n in names if n.startswith("actor")} == {"head", "body", "mean", "log_std"}
    assert {n for n in names if "body" in n} == {
        f"actor.body.{i}.{kind}" for i in (0, 1, 3, 4) for kind in ("weight", "bias")
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [("encoder", "resnet"), ("pooling", "max"), ("stack", 0), ("squeeze", 0), ("hidden", -1), ("std_max", 0.0)],
)
def test_networks_that_cannot_be_are_refused(field: str, value: object) -> None:
    with pytest.raises(UserError, match=f"{field} is .*accepted"):
        NetworkConfig(**{field: value})


# stacks of frames


def test_a_stack_holds_the_last_frames_and_repeats_the_first_one() -> None:
    stack = FrameStack(3)
    frames = [np.full((2, 1, 1, 3), i, np.uint8) for i in range(5)]

    def held(frame: np.ndarray) -> list[int]:
        found = stack.add(frame)
        assert found.shape == (2, 3, 1, 1, 3)
        return found[1, :, 0, 0, 2].tolist()

    assert [held(f) for f in frames] == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]
    stack.begin()
    assert held(frames[3]) == [3, 3, 3]


def seen(image: torch.Tensor) -> Observation:
    return Observation({"wrist": image.numpy()}, np.array([0.1, -0.2, 0.3, 1.0], np.float32), 0.0)


def test_a_stacked_policy_acts_on_what_it_saw_since_it_began(task: TaskSpec) -> None:
    torch.manual_seed(0)
    policy = Policy(task.observation, 4, NetworkConfig(stack=3))
    images = pictures(4)
    state = torch.tensor([[0.1, -0.2, 0.3, 1.0]])

    def expected(*frames: int) -> np.ndarray:
        return policy.choose(images[list(frames)][None, None], state)[0].numpy()

    policy.begin()
    np.testing.assert_allclose(policy.act(seen(images[0])), expected(0, 0, 0), atol=1e-6)
    np.testing.assert_allclose(policy.act(seen(images[1])), expected(0, 0, 1), atol=1e-6)
    policy.see(seen(images[2]))  # someone else acts
    np.testing.assert_allclose(policy.act(seen(images[3])), expected(1, 2, 3), atol=1e-6)
    assert np.abs(expected(1, 2, 3) - expected(3, 2, 1)).max() > 1e-4
    policy.begin()
    np.testing.assert_allclose(policy.act(seen(images[3])), expected(3, 3, 3), atol=1e-6)


def test_noise_of_a_given_size_is_added_after_squashing(new_policy: Callable[..., Policy]) -> None:
    policy = new_policy()
    torch.nn.init.zeros_(policy.actor.mean.weight)
    policy.actor.mean.bias.data[:] = torch.atanh(torch.tensor([0.0, 0.5, -0.5, 0.999]))
    images, state = torch.zeros(1, 1, 1, 47, 47, 3, dtype=torch.uint8), torch.zeros(1, 4)
    noise = torch.Generator().manual_seed(0)
    actions = torch.cat([policy.choose(images, state, noise, std=0.2) for _ in range(1000)])
    assert actions[:, :3].mean(0).tolist() == pytest.approx([0.0, 0.5, -0.5], abs=0.025)
    assert actions[:, 0].std() == pytest.approx(0.2, rel=0.08)
    assert actions[:, 3].max() == 1.0 and (actions[:, 3] == 1.0).float().mean() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(policy.choose(images, state, None, std=0.2), policy.choose(images, state))


# no camera at all


def test_a_policy_without_a_camera_acts_on_the_state_alone(task: TaskSpec) -> None:
    torch.manual_seed(0)
    blind = replace(task.observation, cameras=(), policy_cameras=())
    policy = Policy(blind, 4)
    assert policy.features == 0 and not list(policy.encoder.parameters())
    assert policy.encode(torch.empty((5, 0, 1, 0, 0, 3), dtype=torch.uint8)).shape == (5, 0)
    assert policy.actor.head.size == 4 and not any("squeeze" in name for name in policy.state_dict())
    state = np.array([0.5, -0.5, 0.0, 1.0], np.float32)
    actions = [policy.act(Observation({}, s, 0.0)) for s in (state, state, -state)]
    assert actions[0].shape == (4,) and np.array_equal(actions[0], actions[1])
    assert np.abs(actions[0] - actions[2]).max() > 1e-4
    critic = CriticEnsemble(0, blind, 4, members=2)
    assert critic(torch.empty(3, 0), torch.rand(3, 4), torch.rand(3, 4)).shape == (2, 3)


def test_a_camera_that_is_not_there_is_refused(task: TaskSpec) -> None:
    with pytest.raises(ValueError, match="policy cameras must share one size"):
        Policy(replace(task.observation, policy_cameras=("ceiling",)), 4)
