"""A gripper that chooses: close, keep or open, by the values of a critic of its own (HIL-SERL, Luo et al., 2024).

The executed gripper command is absolute, closed -1 to open 1, and the command of the step before is part of the state.
A choice becomes a command: -1, the last one again, or 1. A command that somebody executed, be it a person's analogue
one, is the choice that its change since the last command amounts to. To close what is closed is no choice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from data.errors import UserError
from data.spec import ObservationSpec
from hilserl.agents.networks import Actor, Head, NetworkConfig, hidden_layers

CLOSE, KEEP, OPEN = range(3)
MOVED = 0.1  # a change of the command that counts; closed to open is 2


def choice_of(executed: Tensor, previous: Tensor) -> Tensor:
    """Return the choice, int64 [B], that a command [B] after a previous one [B] amounts to."""
    change = executed - previous
    return KEEP + (change > MOVED).long() - (change < -MOVED).long()


def command_of(choice: Tensor, previous: Tensor) -> Tensor:
    """Return the command [B] that a choice, int64 [B], executes after a previous one [B]."""
    return torch.where(choice == KEEP, previous, (choice - KEEP).to(previous.dtype))


def possible(previous: Tensor) -> Tensor:
    """Return which choices there are after a command [B], bool [B, 3]: whatever moves the gripper, and to keep it."""
    return torch.stack(
        (-1.0 - previous < -MOVED, torch.ones_like(previous, dtype=torch.bool), 1.0 - previous > MOVED), 1
    )


def toggled(executed: Tensor, previous: Tensor) -> Tensor:
    """Return whether a command [B] closes an open gripper or opens a closed one, bool [B].

    A person's trigger moves the command over several steps; one of them passes the middle.
    """
    return (executed > 0) != (previous > 0)


def previous_gripper(spec: ObservationSpec) -> int:
    """Return where in the state the last gripper command is.

    Raises:
        UserError: it is not in the state.
    """
    sizes = {f.name: f.size for f in spec.state}
    if "previous_action" not in sizes:
        raise UserError(
            f"a discrete gripper has to know its last command, and the state holds {', '.join(sizes)}; accepted is a "
            "state with `previous_action`, or --learner.sac.gripper=continuous"
        )
    names = list(sizes)
    return sum(sizes[name] for name in names[: names.index("previous_action") + 1]) - 1


class GraspCritic(nn.Module):
    """The values of closing, keeping and opening the gripper."""

    def __init__(self, features: int, spec: ObservationSpec, config: NetworkConfig) -> None:
        super().__init__()
        self.head, width = Head(features, spec, config), config.hidden
        self.body = hidden_layers(self.head.size, config)
        self.value = nn.Linear(width, 3)
        self._previous = previous_gripper(spec)

    def forward(self, features: Tensor, state: Tensor) -> Tensor:
        """Return Q [B, 3] for features [B, F] and raw state [B, D]."""
        return self.value(self.body(self.head(features, state)))

    def previous(self, state: Tensor) -> Tensor:
        """Return the last gripper command [B]."""
        return state[:, self._previous].clamp(-1.0, 1.0)

    @torch.no_grad()
    def best(self, features: Tensor, state: Tensor) -> Tensor:
        """Return the best of the possible choices, int64 [B]."""
        q = self(features, state)
        return q.masked_fill(~possible(self.previous(state)), -torch.inf).argmax(-1)


class HybridActor(Actor):
    """An actor whose last action, the gripper, is the best choice of its grasp critic; it takes no noise.

    The Gaussian's own last row is not used, so that an actor with a continuous gripper can become one of these.
    """

    def __init__(self, features: int, spec: ObservationSpec, action_dim: int, config: NetworkConfig) -> None:
        super().__init__(features, spec, action_dim, config)
        self.grasp = GraspCritic(features, spec, config)

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean before squashing, infinite for a gripper that closes or opens, and the deviation, [B, A]."""
        mean, std = super().forward(features, state)
        gripper = command_of(self.grasp.best(features, state), self.grasp.previous(state)).atanh()[:, None]
        return torch.cat((mean[:, :-1], gripper), -1), torch.cat((std[:, :-1], torch.zeros_like(gripper)), -1)

    def mode(self, features: Tensor, state: Tensor) -> Tensor:
        """Return the greedy action [B, A]."""
        return torch.tanh(self(features, state)[0])

    def sample(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `Actor.sample` does, all [B, A - 1]: without the gripper, which has no density."""
        mean, std = (x[:, :-1] for x in super().forward(features, state))
        gaussian = Normal(mean, std, validate_args=False)
        squashed = TransformedDistribution(gaussian, TanhTransform(cache_size=1), validate_args=False)
        action = squashed.rsample()
        return action, squashed.log_prob(action), torch.tanh(mean)
