"""LeRobot's SAC in one process, from the parts that its learner wires together: the peer of other benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies import make_pre_post_processors
from lerobot.policies.gaussian_actor import modeling_gaussian_actor as modeling
from lerobot.policies.gaussian_actor.configuration_gaussian_actor import GaussianActorConfig
from lerobot.rl import OnlineOfflineMixer, ReplayBuffer, RLTrainer, SACAlgorithmConfig, make_algorithm
from lerobot.rl.buffer import random_shift
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet


class LeRobotSac:
    """Policy, algorithm, two buffers of which each gives half a batch, and the trainer that draws, normalises, updates.

    It differs from `lerobot.rl.learner` in two settings: the random shift is not compiled, and batches are drawn by the
    thread that learns, not by two others, so that what they cost is counted.
    """

    def __init__(
        self,
        inputs: Mapping[str, Sequence[int]],
        actions: int,
        stats: Mapping[str, Mapping[str, Any]],
        *,
        capacity: int,
        device: str = "cpu",
        algorithm: Mapping[str, Any] | None = None,
        **policy: Any,
    ) -> None:
        """Build everything with random weights.

        Args:
            inputs: shape of each observation, by LeRobot's key.
            actions: continuous ones.
            stats: what observations are normalised by.
            capacity: steps in each buffer.
            device: of networks and batches; the buffers stay on the CPU, as by default.
            algorithm: fields of `SACAlgorithmConfig` that are not to have their defaults.
            policy: those of `GaussianActorConfig`. A `vision_encoder_name` stands for a ResNet-10 with random weights.
        """
        config = GaussianActorConfig(
            device=device,
            input_features={key: PolicyFeature(_kind(key), tuple(shape)) for key, shape in inputs.items()},
            output_features={"action": PolicyFeature(FeatureType.ACTION, (actions,))},
            dataset_stats={key: dict(values) for key, values in stats.items()},
            **policy,
        )
        with patch.object(modeling.PretrainedImageEncoder, "_load_pretrained_vision_encoder", _local_resnet10):
            self.policy = modeling.GaussianActorPolicy(config)
        self.policy.train()
        chosen = replace(SACAlgorithmConfig.from_policy_config(config), **(algorithm or {}))
        learner = make_algorithm(chosen, self.policy)
        learner.configure_data_iterator = partial(learner.configure_data_iterator, async_prefetch=False)
        self.preprocessor, _ = make_pre_post_processors(policy_cfg=config, dataset_stats=config.dataset_stats)
        self.online, self.demos = (
            ReplayBuffer(
                capacity,
                device=device,
                state_keys=list(inputs),
                image_augmentation_function=random_shift,
                storage_device="cpu",
                optimize_memory=True,
            )
            for _ in range(2)
        )
        mixer = OnlineOfflineMixer(self.online, self.demos, online_ratio=0.5)
        self._trainer = RLTrainer(learner, mixer, batch_size=256, preprocessor=self.preprocessor)

    def update(self) -> None:
        """Draw a batch of 256; update critics, actor and temperature once."""
        self._trainer.training_step()


class ResNet10Trunk(nn.Module):
    """The shape of `lerobot/resnet10`: four basic blocks, group norm, no pooling at the end; random weights."""

    def __init__(self) -> None:
        super().__init__()
        net = ResNet(BasicBlock, [1, 1, 1, 1], norm_layer=partial(nn.GroupNorm, 4))
        self.layers = nn.Sequential(*list(net.children())[:-2])

    def forward(self, images: Tensor) -> SimpleNamespace:
        """Map images float [B, 3, H, W] to `last_hidden_state` [B, 512, H/32, W/32]."""
        return SimpleNamespace(last_hidden_state=self.layers(images))


def _local_resnet10(encoder: modeling.PretrainedImageEncoder, config: GaussianActorConfig) -> tuple[nn.Module, int]:
    """Stand in for the download from the hub."""
    return ResNet10Trunk(), 512


def _kind(key: str) -> FeatureType:
    if "image" in key:
        return FeatureType.VISUAL
    return FeatureType.ENV if "environment" in key else FeatureType.STATE
