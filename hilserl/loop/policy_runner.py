"""The policy as the actor uses it: one observation in, one action out, weights swapped between ticks."""

from __future__ import annotations

import numpy as np
import torch

from data.schema import Observation
from hilserl.agents.networks import Policy
from hilserl.loop.link import Link


class PolicyRunner:
    """Acts with a policy; when it has a link, it takes the learner's newest weights."""

    def __init__(self, policy: Policy, seed: int, link: Link | None = None) -> None:
        self._policy, self._link = policy.eval(), link
        self._generator = torch.Generator().manual_seed(seed)
        self.version = 0

    def refresh(self) -> None:
        """Load newer weights if there are any: of the actor alone while the encoder is frozen, else of the policy."""
        newer = self._link.newer_weights() if self._link else None
        if newer is not None:
            weights, self.version = newer
            whole = any(name.startswith("encoder.") for name in weights)
            (self._policy if whole else self._policy.actor).load_state_dict(weights)

    def begin(self) -> None:
        """Start an episode: the frames of the last one are forgotten."""
        self._policy.begin()

    def see(self, observation: Observation) -> None:
        """Take in an observation that someone else acts on, so that a frame stack has no gap."""
        self._policy.see(observation)

    def act(self, observation: Observation, *, explore: bool) -> np.ndarray:
        """Return an action float32 [A]: a sample when exploring, else the mode."""
        return self._policy.act(observation, self._generator if explore else None)
