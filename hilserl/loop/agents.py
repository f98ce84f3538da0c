"""Which agent learns from which memory, and what it begins with: soft actor-critic, DrQ-v2 or HG-DAgger."""

from __future__ import annotations

from collections.abc import Mapping
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
from hilserl.agents.hg_dagger import HgDagger, HgDaggerConfig
from hilserl.agents.networks import Policy
from hilserl.agents.sac import Batch, Sac, SacConfig
from hilserl.agents.teaching import penalised, shown, staged
from hilserl.agents.warm_start import StartConfig, prepare

Agent = Sac | DrQv2 | HgDagger

Algorithm = Literal["sac", "drqv2", "hg-dagger"]
Learned = Literal["executed", "proposed"]


@dataclass(frozen=True)
class AgentConfig:
    """The algorithm, what it begins with, and its memory. An `encoder_lr` above 0, and DrQ-v2, learn from pixels."""

    agent: Algorithm = "sac"  # soft actor-critic, DrQ-v2, or copying without reward
    start: StartConfig = field(default_factory=StartConfig)
    sac: SacConfig = field(default_factory=SacConfig)
    drqv2: DrQv2Config = field(default_factory=DrQv2Config)
    hg_dagger: HgDaggerConfig = field(default_factory=HgDaggerConfig)
    learned: Learned = "executed"  # action of a step: as safety let it through, or as asked for
    takeover_penalty: float = 0.0  # taken from the reward of a policy step that a person took over after; 0: off
    stage_reward: float = 0.0  # paid for each stage that a staged classifier sees passed; success pays the rest of 1
    replay: ReplayConfig = field(default_factory=ReplayConfig)  # of features, while the encoder is frozen
    pixels: PixelReplayConfig = field(default_factory=PixelReplayConfig)  # of images, for learning end to end
    device: str = "cpu"  # where it learns, and where its memory is; cuda: a GPU

    @property
    def encoder_lr(self) -> float:
        """Learning rate of the encoder by the agent that was chosen; 0 when it is frozen."""
        rates = {"sac": self.sac.encoder_lr, "drqv2": self.drqv2.lr, "hg-dagger": self.hg_dagger.encoder_lr}
        return rates[self.agent]


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
    return policy.features > 0 and config.encoder_lr > 0


def begin_with(policy: Policy, task: TaskSpec, config: AgentConfig) -> Policy:
    """Make of a loaded policy what the agent begins with and what acts; learner and actor both do it.

    Raises:
        UserError: the policy, or the agent, does not go with `config.start`.
    """
    start, pixels = config.start, learns_from_pixels(policy, config)
    if start.actor == "residual" and pixels:
        raise UserError("start.actor=residual corrects a base whose eyes must stay; accepted with it is encoder_lr 0")
    if start.encoder == "scratch" and not pixels:
        raise UserError("start.encoder=scratch must learn to see; accepted with it is an encoder_lr above 0, or drqv2")
    return prepare(policy, task, start, discrete_gripper=config.agent == "sac" and config.sac.gripper == "discrete")


def make_agent(
    task: TaskSpec, policy: Policy, config: AgentConfig, critics: Mapping[str, Tensor] | None = None
) -> tuple[Agent, Memory]:
    """Return the agent, on its device, and the memory that has what it needs.

    Args:
        task: what it learns.
        policy: what it begins with; it is changed and trained.
        config: the algorithm and its memory.
        critics: state of the critics that came with the policy; None or {} for none.

    Raises:
        UserError: DrQ-v2 without a camera, the start does not go with it, or the device has no room for the memory.
    """
    pixels, device = learns_from_pixels(policy, config), config.device
    agent = _agent(task, begin_with(policy, task, config).to(device), config).to(device)
    kept = "scratch" not in (config.start.actor, config.start.critics)
    if critics and kept and not isinstance(agent, HgDagger):
        _load_critics(agent, critics)
    if pixels:
        return agent, PixelMemory(task, _pixel_config(policy, config), device)
    return agent, FeatureReplay(policy, config.replay, config.sac.discount, device)


def taught(episode: Episode, config: AgentConfig) -> Episode:
    """Return the episode as the agent is to learn from it."""
    paid = staged(episode, config.stage_reward)
    judged = penalised(paid, config.takeover_penalty)  # before the rest: it asks who really drove
    # From scratch a policy asks for much that the limits take away. What it asks for has to be what gets a value: the
    # value of an action that no step ever has is a guess that nothing corrects.
    asked = replace(judged, executed=judged.proposed) if config.learned == "proposed" else judged
    return shown(asked, own_successes=config.agent == "hg-dagger")


def estimate(task: TaskSpec, policy: Policy, config: AgentConfig, planned_steps: int) -> Estimate:
    """Return what the memory will hold and need."""
    if learns_from_pixels(policy, config):
        layout, capacity_gib = PixelReplay.layout(task), config.pixels.capacity_gib
    else:
        layout, capacity_gib = feature_layout(policy, config.replay), config.replay.capacity_gib
    return Estimate.of(layout, int(capacity_gib * GIB), task.time_limit_steps, planned_steps)


def _agent(task: TaskSpec, policy: Policy, config: AgentConfig) -> Agent:
    if config.agent == "drqv2":
        return DrQv2(task, config.drqv2, policy)
    if config.agent == "hg-dagger":
        return HgDagger(task, config.hg_dagger, policy)
    sac = config.sac
    if config.start.actor != "policy":  # there is nothing to be anchored to, or the bound is the anchor
        sac = replace(sac, anchor_start=0.0, anchor_end=0.0)
    # At worst every other step is taken over after.
    lowest = sac.target_low - config.takeover_penalty / (1 - sac.discount**2)
    return Sac(task, replace(sac, target_low=lowest), policy)


def _load_critics(agent: Sac | DrQv2, critics: Mapping[str, Tensor]) -> None:
    try:
        agent.critic.load_state_dict(critics)
    except RuntimeError as error:  # lists the shapes
        raise UserError(
            f"the critics that came with the policy are no start for these: {error}\nAccepted are critics of the same "
            "number and inputs, or new ones: --learner.start.critics=scratch"
        ) from error
    agent.target.load_state_dict(critics)


def _pixel_config(policy: Policy, config: AgentConfig) -> PixelReplayConfig:
    """Return the memory's settings with those that the agent decides."""
    discount = config.sac.discount if config.agent == "sac" else config.pixels.discount
    return replace(config.pixels, stack=policy.config.stack, discount=discount)
