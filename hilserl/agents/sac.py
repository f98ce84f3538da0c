"""Soft actor-critic on image features, with demonstrations and a warm start from a simulation policy.

RLPD (Ball et al., 2023): layer-normalised critic ensemble, no entropy in the target, half of every batch from
demonstrations and interventions. For the warm start, targets are clipped, behaviour cloning on human steps that decays
is added to the actor's loss, and, for the first episodes, a pull towards the simulation policy: critics that have seen
nothing but its own actions would lead it astray.

Features come from a frozen encoder, cached (`FeatureReplay`), or, with `encoder_lr`, from one that the critics' loss
trains (`PixelReplay`); the actor's loss never reaches it.

A discrete gripper (HIL-SERL, Luo et al., 2024) is chosen by a critic of its own, a DQN with double-Q targets. To actor
and critics, which neither choose nor see it then, it is part of the environment.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.errors import UserError
from data.replay.pixel_replay import PixelBatch
from data.spec import TaskSpec
from hilserl.agents.gripper import GraspCritic, HybridActor, choice_of, toggled
from hilserl.agents.networks import CriticEnsemble, Policy

GripperKind = Literal["continuous", "exploring", "discrete"]


@dataclass(frozen=True)
class SacConfig:
    """Hyper-parameters; defaults are RLPD's where the warm start does not say otherwise."""

    critics: int = 2  # ensemble size; the actor climbs their mean
    target_critics: int = 2  # the target takes the minimum of this many, drawn anew for every update (REDQ)
    # continuous: an absolute command, outside the entropy term; exploring: inside of it, so that it does not saturate;
    # discrete: close, keep or open, by a critic of its own
    gripper: GripperKind = "continuous"
    toggle_penalty: float = 0.02  # what it costs a discrete gripper to close when open, or to open when closed
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
    anchor_start: float = 0.25  # weight of (mode - simulation policy's mode)^2; see docs/learning.md
    anchor_end: float = 0.0
    anchor_episodes: int = 20  # linear decay over these operated episodes
    cloning_start: float = 1.0  # weight of the Huber loss to human actions
    cloning_end: float = 0.1
    cloning_episodes: int = 80

    def __post_init__(self) -> None:
        if not 1 <= self.target_critics <= self.critics:
            raise UserError(f"target_critics is {self.target_critics} of {self.critics} critics; accepted is 1 to all")
        if not 0 <= self.discount < 1:
            raise UserError(f"discount is {self.discount}; accepted is from 0 to less than 1")


class Batch(NamedTuple):
    """Transitions with features; B rows."""

    features: Tensor  # float [B, F]
    state: Tensor  # float [B, D]
    action: Tensor  # float [B, A], executed
    reward: Tensor  # float [B], discounted sum of n steps
    discount_mask: Tensor  # float [B]; 0 where the episode terminated, else γ to the n − 1, time-outs included
    next_features: Tensor  # float [B, F]
    next_state: Tensor  # float [B, D]
    human: Tensor  # float [B]; 1 where a person chose the action


class Sac(nn.Module):
    """Actor, critics, targets and temperature with their optimisers, and the encoder where it is trained."""

    def __init__(self, task: TaskSpec, config: SacConfig, policy: Policy) -> None:
        """Make an agent that trains `policy`; `warm_start.prepare` gives it the actor that the config asks for.

        Raises:
            ValueError: the policy's gripper is not the config's.
        """
        super().__init__()
        self.config, self.policy = config, policy
        self.discrete = isinstance(policy.actor, HybridActor)
        if self.discrete != (config.gripper == "discrete"):
            raise ValueError(f"gripper is {config.gripper!r}, which does not go with a {type(policy.actor).__name__}")
        self.trains_encoder = config.encoder_lr > 0 and policy.features > 0
        self.policy.encoder.requires_grad_(self.trains_encoder)
        self.anchor = copy.deepcopy(policy.actor).requires_grad_(False)
        self.moving = len(task.action.names) - 1
        # A gripper that saturates, as that of a good policy does, would swamp the entropy term.
        self.exploring = self.moving + (config.gripper == "exploring")
        self.controlled = self.moving if self.discrete else self.moving + 1  # what the Gaussian chooses
        self.critic = CriticEnsemble(policy.features, task.observation, self.controlled, config.critics, policy.config)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self._valued: list[Tensor] = list(self.critic.parameters())
        self._targets: list[Tensor] = list(self.target.parameters())
        if self.discrete:
            self.grasp_target = copy.deepcopy(self.grasp).requires_grad_(False)
            self._valued += self.grasp.parameters()
            self._targets += self.grasp_target.parameters()
        valued = set(self._valued)
        self._acting = [p for p in policy.actor.parameters() if p.requires_grad and p not in valued]
        self.log_temperature = nn.Parameter(torch.tensor(config.temperature_init).log())
        self.target_entropy = -self.exploring / 2
        self.critic_optimizer = torch.optim.Adam(self._valued, config.critic_lr, fused=True)
        self.actor_optimizer = torch.optim.Adam(self._acting, config.actor_lr, fused=True)
        self.temperature_optimizer = torch.optim.Adam([self.log_temperature], config.temperature_lr, fused=True)
        if self.trains_encoder:
            self.anchor_encoder = copy.deepcopy(policy.encoder).requires_grad_(False)  # the anchor's eyes stay
            self.encoder_optimizer = torch.optim.Adam(policy.encoder.parameters(), config.encoder_lr, fused=True)
        self.updates = 0

    @property
    def grasp(self) -> GraspCritic:
        """What chooses a discrete gripper; a part of the actor."""
        assert isinstance(self.policy.actor, HybridActor)
        return self.policy.actor.grasp

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
            torch._foreach_lerp_(self._targets, self._valued, self.config.tau)
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
        """Return the clipped target [B]: R + γ · mask · min Q'(s', a') over some critics, a' ~ π, no entropy."""
        with torch.no_grad():
            action, _, _ = self.policy.actor.sample(batch.next_features, batch.next_state)
            value = least(self.target(batch.next_features, batch.next_state, action), self.config.target_critics)
            target = batch.reward + self.config.discount * batch.discount_mask * value
            return target.clamp(self.config.target_low, self.config.target_high)

    def critic_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the squared error, mean over rows and sum over critics, and numbers about it."""
        target = self.critic_target(batch)
        q = self.critic(batch.features, batch.state, batch.action[:, : self.controlled])
        loss = F.mse_loss(q, target.expand_as(q), reduction="none").mean(1).sum()
        return loss, {"critic_loss": loss.detach(), "q": q.detach().mean(), "target": target.mean()}

    def grasp_value(self, batch: Batch) -> Tensor:
        """Return the double-Q target [B] of the gripper's choice: R − penalty + γ · mask · Q'(s', best choice by Q).

        The penalty is that of the first step, also when the return is one over several.
        """
        c = self.config
        with torch.no_grad():
            best = self.grasp.best(batch.next_features, batch.next_state)
            value = self.grasp_target(batch.next_features, batch.next_state).gather(1, best[:, None]).squeeze(1)
            cost = c.toggle_penalty * toggled(batch.action[:, -1], self.grasp.previous(batch.state))
            target = batch.reward - cost + c.discount * batch.discount_mask * value
            return target.clamp(c.target_low - c.toggle_penalty / (1 - c.discount), c.target_high)

    def grasp_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the squared error of the values of the executed choices, and numbers about it."""
        target = self.grasp_value(batch)
        choice = choice_of(batch.action[:, -1], self.grasp.previous(batch.state))
        q = self.grasp(batch.features, batch.state).gather(1, choice[:, None]).squeeze(1)
        loss = F.mse_loss(q, target)
        return loss, {"grasp_loss": loss.detach(), "grasp_q": q.detach().mean()}

    def _update_critic(self, batch: Batch) -> dict[str, Tensor]:
        loss, info = self.critic_loss(batch)
        if self.discrete:
            grasp_loss, grasp_info = self.grasp_loss(batch)
            loss, info = loss + grasp_loss, info | grasp_info
        self.critic_optimizer.zero_grad(set_to_none=True)
        if self.trains_encoder:
            self.encoder_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.critic_optimizer.step()
        if self.trains_encoder:
            self.encoder_optimizer.step()
        return info

    def actor_loss(
        self, batch: Batch, operated_episodes: int, anchor_features: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return −mean Q / |Q̄| + entropy + cloning + anchor, and its parts.

        `anchor_features` are what the simulation policy's encoder sees, where the batch's come from another.
        """
        c = self.config
        action, log_density, mode = self.policy.actor.sample(batch.features, batch.state)
        q = self.critic(batch.features, batch.state, action).mean(0)
        scale = q.detach().abs().mean().clamp(min=1e-2)
        entropy = -log_density[:, : self.exploring].sum(-1)
        improvement = -(q + self.log_temperature.detach().exp() * entropy).mean() / scale
        shown = batch.action[:, : self.controlled]
        cloning = (F.huber_loss(mode, shown, reduction="none").sum(-1) * batch.human).sum()
        cloning = cloning / batch.human.sum().clamp(min=1.0)
        loss = improvement + decayed(c.cloning_start, c.cloning_end, c.cloning_episodes, operated_episodes) * cloning
        info = {"entropy": entropy.detach().mean(), "cloning": cloning.detach()}
        if pull := self.pull(operated_episodes):
            with torch.no_grad():
                seen = batch.features if anchor_features is None else anchor_features
                anchor_mode = self.anchor.mode(seen, batch.state)[:, : self.controlled]
            anchor = (mode - anchor_mode).square().sum(-1).mean()
            loss, info["anchor"] = loss + pull * anchor, anchor.detach()
        return loss, info | {"actor_loss": loss.detach()}

    def pull(self, operated_episodes: int) -> float:
        """Return the weight of the anchor after so many episodes; at 0 nobody asks what the anchor would do."""
        c = self.config
        return decayed(c.anchor_start, c.anchor_end, c.anchor_episodes, operated_episodes)

    def _update_actor(
        self, batch: Batch, operated_episodes: int, images: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        anchor_features = None
        if images is not None:
            batch = batch._replace(features=batch.features.detach())
            if self.pull(operated_episodes):
                with torch.no_grad():
                    anchor_features = self.policy.encode_batch(images, self.anchor_encoder)
        loss, info = self.actor_loss(batch, operated_episodes, anchor_features)
        self.actor_optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=self._acting)  # not into the critics
        self.actor_optimizer.step()
        self.temperature_optimizer.zero_grad(set_to_none=True)
        self.temperature_loss(info["entropy"]).backward()
        self.temperature_optimizer.step()
        return info | {"temperature": self.log_temperature.detach().exp()}

    def temperature_loss(self, entropy: Tensor) -> Tensor:
        """Return α · (entropy − target entropy): it raises α while there is too little."""
        return self.log_temperature.exp() * (entropy - self.target_entropy)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by name, for checkpoints."""
        named: dict[str, torch.optim.Optimizer] = {
            "critic": self.critic_optimizer,
            "actor": self.actor_optimizer,
            "temperature": self.temperature_optimizer,
        }
        return named | ({"encoder": self.encoder_optimizer} if self.trains_encoder else {})


def least(q: Tensor, members: int) -> Tensor:
    """Return the minimum [B] over `members` critics of Q [N, B], drawn at random, the same for all rows."""
    if members == len(q):
        return q.amin(0)
    drawn = torch.rand(len(q), device=q.device).topk(members).indices
    return q[drawn].amin(0)


def decayed(start: float, end: float, episodes: int, done: int) -> float:
    """Linear decay from `start` to `end` over `episodes`; constant after that."""
    return start + (end - start) * min(done / episodes, 1.0) if episodes else end
