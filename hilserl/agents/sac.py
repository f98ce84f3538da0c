"""Soft actor-critic on image features, with demonstrations and a warm start from a simulation policy.

RLPD (Ball et al., 2023): layer-normalised critic ensemble, no entropy in the target, half of every batch from
demonstrations and interventions. The warm start adds three terms to the actor's loss: an anchor to the
simulation policy that decays, behaviour cloning on human steps that decays, and clipped targets.

Features come from a frozen encoder, cached (`FeatureReplay`), or, with `encoder_lr`, from one that the critics' loss
trains (`PixelReplay`); the actor's loss never reaches it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.replay.pixel_replay import PixelBatch
from data.spec import TaskSpec
from hilserl.agents.networks import CriticEnsemble, Policy


@dataclass(frozen=True)
class SacConfig:
    """Hyper-parameters; defaults are RLPD's where the warm start does not say otherwise."""

    critics: int = 2  # ensemble size; the target takes the minimum
    discount: float = 0.97
    tau: float = 0.005  # Polyak rate of the target critics
    critic_lr: float = 3e-4
    actor_lr: float = 1e-4
    encoder_lr: float = 0.0  # 0: frozen encoder, cached features; more: trained by the critics' loss, from pixels
    actor_every: int = 4  # critic updates per actor update
    temperature_init: float = 0.002
    temperature_lr: float = 3e-4
    target_low: float = 0.0  # the possible returns: targets are clipped to them
    target_high: float = 1.0
    anchor_start: float = 1.0  # weight of (mode - simulation policy's mode)^2
    anchor_end: float = 0.05
    anchor_episodes: int = 80  # linear decay over these operated episodes
    cloning_start: float = 1.0  # weight of the Huber loss to human actions
    cloning_end: float = 0.1
    cloning_episodes: int = 80


class Batch(NamedTuple):
    """Transitions with features; B rows."""

    features: Tensor  # float [B, F]
    state: Tensor  # float [B, D]
    action: Tensor  # float [B, A], executed
    reward: Tensor  # float [B]
    discount_mask: Tensor  # float [B]; 0 where the episode terminated, 1 elsewhere, time-outs included
    next_features: Tensor  # float [B, F]
    next_state: Tensor  # float [B, D]
    human: Tensor  # float [B]; 1 where a person chose the action


class Sac(nn.Module):
    """Actor, critics, targets and temperature with their optimisers, and the encoder where it is trained."""

    def __init__(self, task: TaskSpec, config: SacConfig, policy: Policy) -> None:
        super().__init__()
        self.config = config
        actions = len(task.action.names)
        self.policy = policy
        self.trains_encoder = config.encoder_lr > 0 and policy.features > 0
        self.policy.encoder.requires_grad_(self.trains_encoder)
        self.anchor = copy.deepcopy(policy.actor).requires_grad_(False)
        self.critic = CriticEnsemble(policy.features, task.observation, actions, config.critics, policy.config)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.log_temperature = nn.Parameter(torch.tensor(config.temperature_init).log())
        self.moving = actions - 1  # the gripper saturates: its density would swamp the entropy term
        self.target_entropy = -self.moving / 2
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), config.critic_lr, fused=True)
        self.actor_optimizer = torch.optim.Adam(policy.actor.parameters(), config.actor_lr, fused=True)
        self.temperature_optimizer = torch.optim.Adam([self.log_temperature], config.temperature_lr)
        if self.trains_encoder:
            self.anchor_encoder = copy.deepcopy(policy.encoder).requires_grad_(False)  # the anchor's eyes stay
            self.encoder_optimizer = torch.optim.Adam(policy.encoder.parameters(), config.encoder_lr, fused=True)
        self.updates = 0

    def update(
        self, batch: Batch | PixelBatch, *, operated_episodes: int = 0, steps: int = 0, train_actor: bool = True
    ) -> dict[str, Tensor]:
        """One critic update, and one actor update when it is due.

        Args:
            batch: with features, or with images when the encoder is trained.
            operated_episodes: on the arm so far; the clock of anchor and cloning.
            steps: environment transitions so far; the clock of `DrQv2`, not used here.
            train_actor: whether the actor may change.

        Returns:
            Scalars, still on the device.

        Raises:
            ValueError: the batch has features and the encoder is to be trained, or the other way round.
        """
        if isinstance(batch, PixelBatch) != self.trains_encoder:
            raise ValueError(f"encoder_lr is {self.config.encoder_lr}, which does not go with a {type(batch).__name__}")
        images = batch.images if isinstance(batch, PixelBatch) else None
        batch = self._encoded(batch) if isinstance(batch, PixelBatch) else batch
        info = self._update_critic(batch)
        if train_actor and self.updates % self.config.actor_every == 0:
            info |= self._update_actor(batch, operated_episodes, images)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.target.parameters()), list(self.critic.parameters()), self.config.tau)
        self.updates += 1
        return info

    def _encoded(self, batch: PixelBatch) -> Batch:
        """Encode both ends of the transitions; gradients flow through the first one."""
        with torch.no_grad():
            next_features = self.policy.encode_batch(batch.next_images)
        return Batch(
            features=self.policy.encode_batch(batch.images),
            state=batch.state,
            action=batch.action,
            reward=batch.reward,
            discount_mask=batch.bootstrap / self.config.discount,  # its own discount, for n steps, is in the factor
            next_features=next_features,
            next_state=batch.next_state,
            human=batch.human,
        )

    def critic_target(self, batch: Batch) -> Tensor:
        """Return the clipped one-step target [B]: r + γ · mask · min Q'(s', a'), a' ~ π, no entropy."""
        with torch.no_grad():
            action, _, _ = self.policy.actor.sample(batch.next_features, batch.next_state)
            value = self.target(batch.next_features, batch.next_state, action).amin(0)
            target = batch.reward + self.config.discount * batch.discount_mask * value
            return target.clamp(self.config.target_low, self.config.target_high)

    def _update_critic(self, batch: Batch) -> dict[str, Tensor]:
        target = self.critic_target(batch)
        q = self.critic(batch.features, batch.state, batch.action)
        loss = F.mse_loss(q, target.expand_as(q), reduction="none").mean(1).sum()
        self.critic_optimizer.zero_grad(set_to_none=True)
        if self.trains_encoder:
            self.encoder_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.critic_optimizer.step()
        if self.trains_encoder:
            self.encoder_optimizer.step()
        return {"critic_loss": loss.detach(), "q": q.detach().mean(), "target": target.mean()}

    def actor_loss(
        self, batch: Batch, operated_episodes: int, anchor_features: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return −mean Q / |Q̄| + entropy + anchor + cloning, and its parts.

        `anchor_features` are what the simulation policy's encoder sees, where the batch's come from another.
        """
        c = self.config
        action, log_density, mode = self.policy.actor.sample(batch.features, batch.state)
        q = self.critic(batch.features, batch.state, action).mean(0)
        scale = q.detach().abs().mean().clamp(min=1e-2)
        entropy = -log_density[:, : self.moving].sum(-1)
        improvement = -(q + self.log_temperature.detach().exp() * entropy).mean() / scale
        with torch.no_grad():
            seen = batch.features if anchor_features is None else anchor_features
            anchor_mode = self.anchor.mode(seen, batch.state)
        anchor = (mode - anchor_mode).square().sum(-1).mean()
        cloning = (F.huber_loss(mode, batch.action, reduction="none").sum(-1) * batch.human).sum()
        cloning = cloning / batch.human.sum().clamp(min=1.0)
        loss = (
            improvement
            + decayed(c.anchor_start, c.anchor_end, c.anchor_episodes, operated_episodes) * anchor
            + decayed(c.cloning_start, c.cloning_end, c.cloning_episodes, operated_episodes) * cloning
        )
        info = {"actor_loss": loss.detach(), "entropy": entropy.detach().mean()}
        return loss, info | {"anchor": anchor.detach(), "cloning": cloning.detach()}

    def _update_actor(
        self, batch: Batch, operated_episodes: int, images: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        anchor_features = None
        if images is not None:
            batch = batch._replace(features=batch.features.detach())
            with torch.no_grad():
                anchor_features = torch.cat([self.anchor_encoder(images[c]) for c in self.policy.cameras], -1)
        loss, info = self.actor_loss(batch, operated_episodes, anchor_features)
        self.actor_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.actor_optimizer.step()
        temperature_loss = self.log_temperature.exp() * (info["entropy"] - self.target_entropy)
        self.temperature_optimizer.zero_grad(set_to_none=True)
        temperature_loss.backward()
        self.temperature_optimizer.step()
        return info | {"temperature": self.log_temperature.detach().exp()}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by name, for checkpoints."""
        named: dict[str, torch.optim.Optimizer] = {
            "critic": self.critic_optimizer,
            "actor": self.actor_optimizer,
            "temperature": self.temperature_optimizer,
        }
        return named | ({"encoder": self.encoder_optimizer} if self.trains_encoder else {})


def decayed(start: float, end: float, episodes: int, done: int) -> float:
    """Linear decay from `start` to `end` over `episodes`; constant after that."""
    return start + (end - start) * min(done / episodes, 1.0) if episodes else end
