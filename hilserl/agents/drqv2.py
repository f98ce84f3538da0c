"""DrQ-v2: a deterministic actor and two critics, end to end from shifted images (Yarats et al., 2021).

The critics regress on n-step returns and train the encoder; the actor climbs the smaller of the two values on features
that are cut off from it. Exploration and target smoothing share one standard deviation that falls on a schedule.
Shift and returns are the replay's (`PixelReplay`); it also draws half of a batch from demonstrations when there are
any, which makes this RLPD from pixels.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.errors import UserError
from data.replay.pixel_replay import PixelBatch, PixelReplayConfig
from data.spec import TaskSpec
from hilserl.agents.networks import CriticEnsemble, NetworkConfig, Policy


@dataclass(frozen=True)
class DrQv2Config:
    """Hyper-parameters; defaults are the paper's. Discount, n-step and shift are the replay's."""

    critics: int = 2  # ensemble size; target and actor take the minimum
    tau: float = 0.01  # Polyak rate of the target critics
    lr: float = 1e-4  # of encoder, critics and actor
    actor_every: int = 1  # critic updates per actor update
    std_start: float = 1.0  # of the exploration, at the first transition
    std_end: float = 0.1
    std_steps: int = 500_000  # linear decay over these environment transitions
    std_clip: float = 0.3  # largest noise in the two losses
    bf16: bool = True  # convolutions and linear layers in bfloat16; weights and losses stay float32


class DrQv2(nn.Module):
    """Policy, critics and targets with their optimisers."""

    def __init__(self, task: TaskSpec, config: DrQv2Config, policy: Policy) -> None:
        """Make an agent that trains `policy`; `to` moves it to a GPU.

        Raises:
            UserError: the policy sees no camera.
        """
        if not policy.cameras:
            raise UserError("DrQ-v2 learns from images, this task has no policy camera; use SAC for it")
        super().__init__()
        self.config, self.policy = config, policy
        self.critic = CriticEnsemble(
            policy.features, task.observation, len(task.action.names), config.critics, policy.config
        )
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.policy.encoder.requires_grad_(True)
        self.policy.actor.log_std.requires_grad_(False)  # the schedule stands in for it
        self._acting = [p for p in policy.actor.parameters() if p.requires_grad]
        self.encoder_optimizer = torch.optim.Adam(policy.encoder.parameters(), config.lr, fused=True)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), config.lr, fused=True)
        self.actor_optimizer = torch.optim.Adam(self._acting, config.lr, fused=True)
        self.updates = 0

    def std(self, steps: int) -> float:
        """Return the standard deviation of the exploration after `steps` environment transitions.

        The clock is transitions of all environments together, not iterations of a loop (research page 0.2).
        """
        c = self.config
        return c.std_start + (c.std_end - c.std_start) * min(steps / c.std_steps, 1.0)

    def update(
        self, batch: PixelBatch, *, steps: int = 0, operated_episodes: int = 0, train_actor: bool = True
    ) -> dict[str, Tensor]:
        """One critic and encoder update, and one actor update when it is due.

        Args:
            batch: of a replay with this policy's stack.
            steps: environment transitions so far; the clock of the exploration.
            operated_episodes: on the arm so far; the clock of `Sac`, not used here.
            train_actor: whether the actor may change.

        Returns:
            Scalars, still on the device.
        """
        std = self.std(steps)
        with self._precision(batch.state):
            features = self.policy.encode_batch(batch.images)
            with torch.no_grad():
                next_features = self.policy.encode_batch(batch.next_images)
        info = self._update_critic(batch, features, next_features, std)
        if train_actor and self.updates % self.config.actor_every == 0:
            info |= self._update_actor(batch, features.detach(), std)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.target.parameters()), list(self.critic.parameters()), self.config.tau)
        self.updates += 1
        return info

    def critic_target(self, batch: PixelBatch, next_features: Tensor, std: float) -> Tensor:
        """Return the n-step target [B]: R + bootstrap · min Q'(s', a'), a' the actor's mode with clipped noise."""
        with torch.no_grad():
            action = self.noisy(self.policy.actor.mode(next_features, batch.next_state), std)
            value = self.target(next_features, batch.next_state, action).amin(0)
            return batch.reward + batch.bootstrap * value

    def critic_loss(
        self, batch: PixelBatch, features: Tensor, next_features: Tensor, std: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the squared error, mean over rows and sum over critics, and numbers about it."""
        target = self.critic_target(batch, next_features, std)
        q = self.critic(features, batch.state, batch.action)
        loss = F.mse_loss(q, target.expand_as(q), reduction="none").mean(1).sum()
        return loss, {"critic_loss": loss.detach(), "q": q.detach().mean(), "target": target.mean()}

    def actor_loss(self, batch: PixelBatch, features: Tensor, std: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Return −mean min Q(s, a), a the mode with clipped noise; `features` carry no gradient."""
        action = self.noisy(self.policy.actor.mode(features, batch.state), std)
        loss = -self.critic(features, batch.state, action).amin(0).mean()
        return loss, {"actor_loss": loss.detach()}

    def noisy(self, mode: Tensor, std: float) -> Tensor:
        """Add noise clipped to ±`std_clip` to actions in [-1, 1]; a gradient passes the bounds unhindered."""
        noise = (std * torch.randn_like(mode)).clamp(-self.config.std_clip, self.config.std_clip)
        return mode + ((mode + noise).clamp(-1.0, 1.0) - mode).detach()

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by name, for checkpoints."""
        return {"encoder": self.encoder_optimizer, "critic": self.critic_optimizer, "actor": self.actor_optimizer}

    def _update_critic(
        self, batch: PixelBatch, features: Tensor, next_features: Tensor, std: float
    ) -> dict[str, Tensor]:
        with self._precision(features):
            loss, info = self.critic_loss(batch, features, next_features, std)
        self.encoder_optimizer.zero_grad(set_to_none=True)
        self.critic_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.critic_optimizer.step()
        self.encoder_optimizer.step()
        return info

    def _update_actor(self, batch: PixelBatch, features: Tensor, std: float) -> dict[str, Tensor]:
        with self._precision(features):
            loss, info = self.actor_loss(batch, features, std)
        self.actor_optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=self._acting)  # not into the critics
        self.actor_optimizer.step()
        return info

    def _precision(self, near: Tensor) -> torch.autocast:
        return torch.autocast(near.device.type, torch.bfloat16, enabled=self.config.bf16)


@dataclass(frozen=True)
class Preset:
    """Settings that belong together."""

    size_px: int  # of the images
    network: NetworkConfig
    agent: DrQv2Config
    replay: PixelReplayConfig


FAITHFUL = Preset(
    84,
    NetworkConfig(encoder="drqv2", stack=3, squeeze=50, hidden=1024, layer_norm=False),
    DrQv2Config(),
    PixelReplayConfig(batch_size=256, stack=3, n_step=3, discount=0.99, shift_px=4),
)
FAST = Preset(
    64,
    NetworkConfig(encoder="strided", stack=1, squeeze=50, hidden=256),
    DrQv2Config(),
    PixelReplayConfig(batch_size=128, stack=1, n_step=3, discount=0.99, shift_px=3),
)
