"""Encoders against torchvision and their definitions, where their weights come from, and what trains."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet

from classifier.encoders import Encoder, PerCamera, SpatialLinear
from data.errors import UserError
from data.spec import TaskSpec
from hilserl.agents.networks import CriticEnsemble, NetworkConfig, Policy
from hilserl.agents.policy_file import GOLDEN_TOLERANCE_BF16
from hilserl.agents.sac import Batch, Sac, SacConfig

NewPolicy = Callable[..., Policy]
BLOCKS = {"resnet10": [1, 1, 1, 1], "resnet18": [2, 2, 2, 2]}
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (*shape, 47, 47, 3), np.uint8))


def policy_of(task: TaskSpec, cameras: int = 1, **network: object) -> Policy:
    torch.manual_seed(0)
    seen = replace(task.observation, policy_cameras=("wrist", "front")[:cameras])
    return Policy(seen, len(task.action.names), NetworkConfig(**network))  # type: ignore[arg-type]


# the convolutions that are trained here


def test_encoder_takes_bytes_and_gives_normalised_features(new_policy: NewPolicy) -> None:
    policy, images = new_policy(), pictures(5, 1)
    features = policy.encode(images)
    assert features.shape == (5, policy.features)
    torch.testing.assert_close(features.mean(1), torch.zeros(5), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(policy.encode(images[3:4]), features[3:4], atol=1e-5, rtol=1e-4)
    assert (features[0] - features[1]).abs().max() > 1e-3


def by_definition(policy: Policy, images: Tensor) -> Tensor:
    """Features of stacks [N, S, H, W, 3]: channels side by side, oldest frame first, x / 255 - 0.5, convolutions."""
    x = images.permute(0, 1, 4, 2, 3).flatten(1, 2).float() / 255.0 - 0.5
    x = nn.Sequential.forward(policy.encoder.conv, x)
    return policy.encoder.norm((x.permute(0, 2, 3, 1) if policy.config.encoder == "drqv2" else x).flatten(1))


@pytest.mark.parametrize("encoder", ["strided", "drqv2"])
@pytest.mark.parametrize("stack", [1, 3])
def test_features_are_those_of_the_definition(task: TaskSpec, encoder: str, stack: int) -> None:
    policy = policy_of(task, encoder=encoder, stack=stack)
    nn.init.normal_(policy.encoder.conv[0].bias)
    images = pictures(5, 1, stack)
    found = policy.encode(images)
    assert found.shape == (5, policy.features)
    torch.testing.assert_close(found, by_definition(policy, images[:, 0]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(policy.encode_batch({"wrist": images[:, 0]}), found)
    with pytest.raises(ValueError, match=f"stacks of {stack + 1} frames, this encoder takes {stack}"):
        policy.encode(pictures(5, 1, stack + 1))


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(UserError, match="images of 46 px are too small for the encoder 'strided'"):
        Encoder(46, NetworkConfig())


@pytest.mark.parametrize("encoder", ["strided", "drqv2", "resnet10"])
def test_bfloat16_is_close_and_keeps_features_and_weights_whole(task: TaskSpec, encoder: str) -> None:
    whole, half = (policy_of(task, encoder=encoder, bf16=bf16) for bf16 in (False, True))
    images = pictures(4, 1)
    expected, found = whole.encode(images), half.encode(images)
    assert found.dtype == torch.float32 and not torch.equal(found, expected)
    assert (found - expected).abs().mean() < 0.05 * expected.abs().mean() + 1e-6
    state = torch.zeros(4, 4)
    assert (half.choose(images, state) - whole.choose(images, state)).abs().max() < GOLDEN_TOLERANCE_BF16
    found.square().sum().backward()
    assert {p.grad.dtype for p in half.encoder.parameters() if p.grad is not None} == {torch.float32}
    assert whole.encoder_hash() != half.encoder_hash()


# ResNets


def trained(name: str) -> resnet.ResNet:
    """What torchvision has, with statistics and scales as if it had been trained."""
    torch.manual_seed(1)
    net = resnet.ResNet(resnet.BasicBlock, BLOCKS[name]).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.running_mean, -0.5), (module.running_var, 0.5), (module.weight, 0.5)):
                nn.init.uniform_(tensor, low, low + 1.0)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return net


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file per ResNet, as converted from torchvision's; classes included."""
    folder = tmp_path_factory.mktemp("weights")
    for name in BLOCKS:
        save_file(trained(name).state_dict(), folder / name)
    return {name: folder / name for name in BLOCKS}


@torch.no_grad()
def torchvision_map(name: str, images: Tensor) -> Tensor:
    """The last feature map [N, 512, 2, 2] of images [N, 47, 47, 3], standardised as ImageNet's are."""
    net = trained(name)
    standard = torch.from_numpy((images.numpy().astype(np.float32) / 255.0 - MEAN) / STD)
    found: list[Tensor] = []
    net.layer4.register_forward_hook(lambda module, inputs, output: found.append(output))
    net(standard.permute(0, 3, 1, 2))
    return found[0]


@pytest.mark.parametrize(("name", "stack"), [("resnet10", 1), ("resnet10", 2), ("resnet18", 1)])
def test_a_resnet_is_torchvisions_with_the_weights_of_a_file(
    task: TaskSpec, weights: dict[str, Path], name: str, stack: int
) -> None:
    policy = policy_of(task, encoder=name, encoder_weights=weights[name], stack=stack)
    images = pictures(3, 1, stack)
    maps = torch.cat([torchvision_map(name, images[:, 0, s]) for s in range(stack)], 1)
    assert policy.features == maps[0].numel() == 512 * stack * 4
    expected = F.layer_norm(maps.flatten(1), (policy.features,))
    policy.train()  # as while it is fitted: statistics stay those of the file
    torch.testing.assert_close(policy.encode(images), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(policy.encode(images[1:2]), expected[1:2], atol=1e-4, rtol=1e-4)


def test_without_a_file_a_resnet_is_random_and_all_of_it_trains(task: TaskSpec) -> None:
    policy = policy_of(task, encoder="resnet10")
    features = policy.encode(pictures(4, 1))
    assert features.isfinite().all() and features.std().item() == pytest.approx(1.0, abs=0.01)
    (features * torch.randn_like(features)).sum().backward()
    parameters = dict(policy.encoder.named_parameters())
    assert len(parameters) == 12 * 3 + 2  # 12 convolutions, scale and shift after each; the layer norm
    assert all(p.grad is not None and p.grad.any() for p in parameters.values())


def test_weights_that_are_not_there_are_never_fetched(task: TaskSpec, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file .*absent(?s:.*)nothing is downloaded here(?s:.*)python -c"):
        policy_of(task, encoder="resnet18", encoder_weights=tmp_path / "absent")


def test_a_pickled_checkpoint_is_refused_and_the_said_command_makes_an_accepted_one(
    task: TaskSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(trained("resnet18").state_dict(), "resnet18.pth")
    with pytest.raises(UserError, match=r"resnet18.pth is no safetensors file") as caught:
        policy_of(task, encoder="resnet18", encoder_weights=Path("resnet18.pth"))
    # Where torchvision looks first: with its weights there, it fetches nothing.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    known = tmp_path / "hub" / "checkpoints" / Path(resnet.ResNet18_Weights.DEFAULT.url).name
    known.parent.mkdir(parents=True)
    Path("resnet18.pth").rename(known)
    exec(str(caught.value).split('python -c "')[1].removesuffix('"'))
    policy = policy_of(task, encoder="resnet18", encoder_weights=Path("resnet18.safetensors"))
    assert torch.equal(policy.encoder.conv.conv1.weight, trained("resnet18").conv1.weight)


@pytest.mark.parametrize(("name", "file"), [("resnet10", "resnet18"), ("resnet18", "resnet10")])
def test_weights_of_another_shape_are_refused(task: TaskSpec, weights: dict[str, Path], name: str, file: str) -> None:
    with pytest.raises(UserError, match=r"does not fit this encoder(?s:.*)layer1\.1\.conv1\.weight"):
        policy_of(task, encoder=name, encoder_weights=weights[file])


def test_a_file_is_for_a_resnet() -> None:
    with pytest.raises(UserError, match=r"encoder_weights is some.*'strided'; accepted are weights for resnet10"):
        NetworkConfig(encoder_weights=Path("some"))


# pooling


@pytest.mark.parametrize("encoder", ["strided", "drqv2", "resnet10"])
def test_the_average_is_over_positions(task: TaskSpec, encoder: str) -> None:
    policy, images = policy_of(task, encoder=encoder, pooling="average"), pictures(3, 1)
    mean = policy.encoder.conv(images).mean((2, 3))
    expected = mean if encoder == "drqv2" else F.layer_norm(mean, mean.shape[1:])
    torch.testing.assert_close(policy.encode(images), expected)
    assert policy.features == policy.config.channels


def test_a_spatial_layer_is_linear_in_learned_sums_over_positions() -> None:
    torch.manual_seed(0)
    layer = SpatialLinear(channels=3, positions=5, outputs=2)
    nn.init.normal_(layer.bias)
    features = torch.randn(2, 15)
    found = layer(features)
    for row in range(2):
        expected = layer.bias.clone()
        for channel in range(3):
            for e in range(8):
                total = sum(features[row, 5 * channel + p] * layer.kernel[channel, p, e] for p in range(5))
                expected = expected + total * layer.weight[channel, e]
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("encoder", ["drqv2", "resnet10"])
def test_its_sums_are_of_one_channel_of_one_camera(task: TaskSpec, encoder: str) -> None:
    policy = policy_of(task, 2, encoder=encoder, pooling="spatial", squeeze=8)
    policy.encoder.norm = nn.Identity()
    images, layer = pictures(2, 2), policy.actor.head.squeeze[0]
    maps = torch.cat([policy.encoder.conv(images[:, i : i + 1]) for i in range(2)], 1).flatten(2)
    assert len(layer.kernel) == maps.shape[1] and layer.kernel.shape[1] == maps.shape[2]
    expected = sum(maps[:, c] @ layer.kernel[c] @ layer.weight[c] for c in range(maps.shape[1]))
    torch.testing.assert_close(layer(policy.encode(images)), expected, atol=1e-3, rtol=1e-3)


def batch_of(policy: Policy, rows: int = 8) -> Batch:
    with torch.no_grad():
        features, after = (policy.encode(pictures(rows, len(policy.cameras), seed=s)) for s in range(2))
    state, action, ones = torch.randn(rows, 4), torch.rand(rows, 4) * 2 - 1, torch.ones(rows)
    return Batch(features, state, action, ones, ones, after, state, ones)


def test_spatial_layers_train_behind_a_frozen_encoder(task: TaskSpec) -> None:
    """The trunk is frozen and cached, and still the pooling of actor and critics learns: LeRobot's never does."""
    policy = policy_of(task, 2, encoder="resnet10", pooling="spatial")
    sac = Sac(replace(task, observation=replace(task.observation, policy_cameras=policy.cameras)), SacConfig(), policy)
    heads = {"actor": policy.actor.head, "critic": sac.critic.head, "target": sac.target.head}
    layers = {name: head.squeeze[0] for name, head in heads.items()}
    parts = {**layers, "encoder": policy.encoder, "anchor": sac.anchor.head}
    before = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
    sac.update(batch_of(policy), operated_episodes=0, train_actor=True)
    for name, part in parts.items():
        same = [torch.equal(v, before[name][k]) for k, v in part.state_dict().items()]
        assert not any(same) if name in layers else all(same), name
    for name in ("actor", "critic"):
        assert layers[name].kernel.grad.flatten(1).any(1).all(), name  # of every channel of both cameras


@pytest.mark.parametrize("encoder", ["strided", "drqv2", "resnet10"])
@pytest.mark.parametrize("pooling", ["flatten", "average", "spatial"])
@pytest.mark.parametrize("per_camera", [False, True])
def test_every_choice_acts_and_has_values(task: TaskSpec, encoder: str, pooling: str, per_camera: bool) -> None:
    policy = policy_of(task, 2, encoder=encoder, pooling=pooling, per_camera=per_camera, squeeze=4, hidden=8)
    images, state = pictures(3, 2, 1), torch.zeros(3, 4)
    features = policy.encode(images)
    assert features.shape == (3, policy.features)
    one_by_one = policy.encode_batch({"wrist": images[:, 0], "front": images[:, 1]})
    torch.testing.assert_close(one_by_one, features, atol=1e-4, rtol=1e-4)
    assert policy.choose(images, state).shape == (3, 4)
    seen = replace(task.observation, policy_cameras=policy.cameras)
    critic = CriticEnsemble(policy.features, seen, 4, 2, policy.config)
    assert critic(features, state, torch.zeros(3, 4)).shape == (2, 3)


# shared by the cameras, or one for each


def test_a_shared_encoder_sees_cameras_alike_and_one_for_each_does_not(task: TaskSpec) -> None:
    image = pictures(2, 1).expand(2, 2, 47, 47, 3)
    for per_camera in (False, True):
        policy = policy_of(task, 2, per_camera=per_camera)
        wrist, front = policy.encode(image).chunk(2, 1)
        assert torch.allclose(wrist, front, atol=1e-5) != per_camera


def test_every_camera_trains_its_own_encoder(task: TaskSpec) -> None:
    policy = policy_of(task, 2, per_camera=True)
    assert isinstance(policy.encoder, PerCamera)
    images = pictures(3, 2)
    one, other = policy.encoder.encoders
    assert isinstance(one, Encoder) and isinstance(other, Encoder)
    expected = torch.cat((one(images[:, 0].unsqueeze(1)), other(images[:, 1].unsqueeze(1))), 1)
    features = policy.encode(images)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)
    features[:, : policy.features // 2].square().sum().backward()
    assert all(p.grad is not None for p in one.parameters())
    assert all(p.grad is None or not p.grad.any() for p in other.parameters())


def test_one_camera_alone_is_not_taken_for_all(task: TaskSpec) -> None:
    policy = policy_of(task, 2, per_camera=True)
    with pytest.raises(ValueError, match=r"\[5, 1, 47, 47, 3\]; accepted is \[B, 2, S, H, W, 3\]"):
        policy.encoder(pictures(5, 1))
    copied = copy.deepcopy(policy.encoder)
    images = {c: pictures(5, 1, seed=i) for i, c in enumerate(policy.cameras)}
    expected = policy.encode_batch(images)
    nn.init.zeros_(policy.encoder.encoders[1].norm.weight)
    assert torch.equal(policy.encode_batch(images, copied), expected)  # with another's encoders, each its own camera
    assert not torch.equal(policy.encode_batch(images), expected)


# identity


def test_the_hash_is_that_of_the_encoder_alone(task: TaskSpec, weights: dict[str, Path]) -> None:
    random = policy_of(task, encoder="resnet10")
    assert random.encoder_hash() == copy.deepcopy(random).train().encoder_hash()
    assert random.encoder_hash() == policy_of(task, encoder="resnet10").encoder_hash()
    nn.init.ones_(random.actor.mean.weight)
    assert random.encoder_hash() == policy_of(task, encoder="resnet10").encoder_hash()
    loaded = policy_of(task, encoder="resnet10", encoder_weights=weights["resnet10"])
    random.load_state_dict(loaded.state_dict())
    assert random.encoder_hash() == loaded.encoder_hash()  # wherever the weights came from


def test_every_weight_and_every_choice_changes_the_hash(task: TaskSpec) -> None:
    policy = policy_of(task, encoder="resnet10")
    found = {policy.encoder_hash()}
    tensors = policy.encoder.state_dict()
    for tensor in tensors.values():
        before = tensor.clone()
        tensor.view(-1)[-1] += 1
        found.add(policy.encoder_hash())
        tensor.copy_(before)
    assert len(found) == len(tensors) + 1
    choices: list[dict[str, object]] = [
        {},
        {"pooling": "spatial"},
        {"pooling": "average"},
        {"per_camera": True},
        {"encoder": "drqv2"},
        {"stack": 2},
        {"bf16": True},
    ]
    assert len({policy_of(task, **choice).encoder_hash() for choice in choices}) == len(choices)
