"""Which agent learns from which memory: soft actor-critic on cached features or end to end, or DrQ-v2."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from torch import Tensor

from data.errors import UserError
from data.replay.capacity import GIB, Estimate
from data.replay.pixel_replay import PixelBatch, PixelReplay, PixelReplayConfig
from data.schema import Episode
from data.spec import TaskSpec
from hilserl.agents.drqv2 import DrQv2, DrQv2Config
from hilserl.agents.features import FeatureReplay, ReplayConfig, feature_layout
from hilserl.agents.networks import Policy
from hilserl.agents.sac import Batch, Sac, SacConfig

Agent = Sac | DrQv2


@dataclass(frozen=True)
class AgentConfig:
    """The algorithm and its memory. `sac.encoder_lr` above 0, and DrQ-v2, learn end to end from pixels."""

    agent: Literal["sac", "drqv2"] = "sac"  # soft actor-critic, or DrQ-v2
    sac: SacConfig = field(default_factory=SacConfig)
    drqv2: DrQv2Config = field(default_factory=DrQv2Config)
    replay: ReplayConfig = field(default_factory=ReplayConfig)  # of features, while the encoder is frozen
    pixels: PixelReplayConfig = field(default_factory=PixelReplayConfig)  # of images, for learning end to end
    device: str = "cpu"  # of learning end to end; cached features are learned from on the CPU


class Memory(Protocol):
    """What an agent samples."""

    def __len__(self) -> int:
        """Number of transitions."""

    def add(self, episode: Episode) -> None:
        """Append an episode."""

    def sample(self) -> Batch | PixelBatch:
        """Draw a batch."""

    def rng_state(self) -> Tensor:
        """Return the sampling generator's state."""

    def set_rng_state(self, state: Tensor) -> None:
        """Restore it."""


class PixelMemory(PixelReplay):
    """A `PixelReplay` whose generator can be checkpointed."""

    def rng_state(self) -> Tensor:
        """Return the sampling generator's state."""
        return self.ring.rng_state()

    def set_rng_state(self, state: Tensor) -> None:
        """Restore what `rng_state` returned."""
        self.ring.set_rng_state(state)


def learns_from_pixels(policy: Policy, config: AgentConfig) -> bool:
    """Whether the encoder is trained, too.

    Raises:
        UserError: DrQ-v2 is asked for, and the policy has no camera.
    """
    if config.agent == "drqv2" and not policy.features:
        raise UserError("drqv2 learns from images, and this policy has no camera; accepted for it is --agent=sac")
    return policy.features > 0 and (config.agent == "drqv2" or config.sac.encoder_lr > 0)


def make_agent(task: TaskSpec, policy: Policy, config: AgentConfig) -> tuple[Agent, Memory]:
    """Return the agent, on its device, and the memory that has what it needs.

    Raises:
        UserError: DrQ-v2 without a camera, or the device has no room for the memory.
    """
    pixels = learns_from_pixels(policy, config)
    device = config.device if pixels else "cpu"
    policy.to(device)
    agent: Agent = DrQv2(task, config.drqv2, policy) if config.agent == "drqv2" else Sac(task, config.sac, policy)
    agent.to(device)
    if pixels:
        return agent, PixelMemory(task, _pixel_config(policy, config), device)
    return agent, FeatureReplay(policy, config.replay)


def estimate(task: TaskSpec, policy: Policy, config: AgentConfig, planned_steps: int) -> Estimate:
    """Return what the memory will hold and need."""
    if learns_from_pixels(policy, config):
        layout, capacity_gib = PixelReplay.layout(task), config.pixels.capacity_gib
    else:
        layout, capacity_gib = feature_layout(policy, config.replay), config.replay.capacity_gib
    return Estimate.of(layout, int(capacity_gib * GIB), task.time_limit_steps, planned_steps)


def _pixel_config(policy: Policy, config: AgentConfig) -> PixelReplayConfig:
    """Return the memory's settings with those that the agent decides."""
    discount = config.sac.discount if config.agent == "sac" else config.pixels.discount
    return replace(config.pixels, stack=policy.config.stack, discount=discount)
