"""A frozen actor with a bounded, learned correction (residual reinforcement learning, Johannink et al., 2019)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from data.errors import UserError
from data.spec import ObservationSpec
from hilserl.agents.networks import Actor, NetworkConfig, Policy

NEARLY_ONE = 1.0 - 1e-6  # the largest action that can be unsquashed


class ResidualActor(Actor):
    """An actor whose mode is within `scale` of its base's; at first it is the base's.

    The correction acts before squashing, where gradients stay of one size however saturated the base is. Exploration
    adds its noise, capped as every actor's, to the sum.
    """

    def __init__(self, features: int, spec: ObservationSpec, action_dim: int, config: NetworkConfig) -> None:
        super().__init__(features, spec, action_dim, config)
        nn.init.zeros_(self.mean.weight)
        nn.init.zeros_(self.mean.bias)
        self.base = Actor(features, spec, action_dim, config).requires_grad_(False)
        self.register_buffer("scale", torch.zeros(action_dim))
        self.scale: Tensor

    @classmethod
    def over(cls, policy: Policy, spec: ObservationSpec, scale: Sequence[float]) -> Self:
        """Make a correction of the policy's actor.

        Args:
            policy: its actor becomes the base.
            spec: what it observes.
            scale: largest correction; one for all actions, or one for each.

        Raises:
            UserError: that many scales, or such ones, do not fit.
        """
        actions = policy.actor.mean.out_features
        if len(scale) not in (1, actions) or not all(0 < s <= 2 for s in scale):
            raise UserError(f"residual_scale is {list(scale)}; accepted are 1 or {actions} numbers above 0 and up to 2")
        made = cls(policy.features, spec, actions, policy.config)
        made.base = copy.deepcopy(policy.actor).requires_grad_(False)
        made.scale.copy_(torch.tensor(scale))
        return made

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean before squashing and the standard deviation, both [B, A]."""
        correction, std = super().forward(features, state)
        with torch.no_grad():
            mean, _ = self.base(features, state)
            mode = torch.tanh(mean)
            up = ((mode + self.scale).clamp(max=NEARLY_ONE).atanh() - mean).clamp(min=0.0)
            down = (mean - (mode - self.scale).clamp(min=-NEARLY_ONE).atanh()).clamp(min=0.0)
        share = torch.tanh(correction)
        return mean + torch.where(share > 0, up, down) * share, std

    def mode(self, features: Tensor, state: Tensor) -> Tensor:
        """Return the greedy action [B, A]."""
        return torch.tanh(self(features, state)[0].float())
