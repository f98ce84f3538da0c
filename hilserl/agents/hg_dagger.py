"""HG-DAgger (Kelly et al., 2019): copy the person, and what succeeded without one; no reward, no critic.

The fastest way to a usable policy, and one that ends at the operator's level (research/fine_tuning_prototype.md): a
control, and what is left when there is no reward. `teaching.shown` decides which steps are copied.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.replay.pixel_replay import PixelBatch
from data.spec import TaskSpec
from hilserl.agents.networks import Policy
from hilserl.agents.sac import Batch


@dataclass(frozen=True)
class HgDaggerConfig:
    """Hyper-parameters."""

    lr: float = 3e-4  # of the actor
    encoder_lr: float = 0.0  # 0: frozen encoder, cached features; more: trained, too, from pixels


class HgDagger(nn.Module):
    """A policy with the optimisers that fit it to what was shown."""

    def __init__(self, task: TaskSpec, config: HgDaggerConfig, policy: Policy) -> None:
        super().__init__()
        self.config, self.policy = config, policy
        self.trains_encoder = config.encoder_lr > 0 and policy.features > 0
        self.policy.encoder.requires_grad_(self.trains_encoder)
        self.policy.actor.log_std.requires_grad_(False)  # nothing is said about the noise
        self.critic = self.target = nn.ModuleDict()  # none
        groups = ((policy.actor, config.lr), (policy.encoder, config.encoder_lr))
        learning = [([p for p in part.parameters() if p.requires_grad], lr) for part, lr in groups]
        self.optimizer = torch.optim.Adam([{"params": p, "lr": lr} for p, lr in learning if p], fused=True)
        self.updates = 0

    def update(
        self, batch: Batch | PixelBatch, *, operated_episodes: int = 0, steps: int = 0, train_actor: bool = True
    ) -> dict[str, Tensor]:
        """One step towards the shown actions.

        Args:
            batch: with features, or with images when the encoder is trained; rows that nobody showed are left out.
            operated_episodes, steps: the clocks of other agents, not used here.
            train_actor: whether the actor may change; if not, nothing happens.

        Returns:
            Scalars, still on the device.
        """
        self.updates += 1
        if not train_actor:
            return {}
        loss = self.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {"cloning": loss.detach()}

    def loss(self, batch: Batch | PixelBatch) -> Tensor:
        """Return the Huber loss of the mode to the actions, summed over the action, mean over the shown rows."""
        features = self.policy.encode_batch(batch.images) if isinstance(batch, PixelBatch) else batch.features
        mode = self.policy.actor.mode(features, batch.state)
        loss = F.huber_loss(mode, batch.action, reduction="none").sum(-1) * batch.human
        return loss.sum() / batch.human.sum().clamp(min=1.0)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by name, for checkpoints."""
        return {"actor": self.optimizer}
