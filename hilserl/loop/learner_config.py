"""What a learner can be told."""

from __future__ import annotations

from dataclasses import dataclass

from data.errors import UserError
from hilserl.loop.agents import AgentConfig


@dataclass(frozen=True)
class LearnerConfig(AgentConfig):
    """The agent, pacing and warm start."""

    baseline_episodes: int = 20  # frozen-policy episodes that must be there before the first update
    critic_updates: int = 1000  # critic-only updates before the actor may change
    utd: float = 3.0  # critic updates per environment step after that
    publish_every: int = 100  # updates between new weights
    checkpoint_every: int = 5  # episodes between checkpoints
    check_every: int = 25  # operated episodes between two checks of how the policy does untouched; 0: none
    check_episodes: int = 10  # untouched, greedy episodes of one check
    health_every: int = 500  # updates between two looks at whether learning is sane; 0: none
    simulated: bool = False  # episodes are a simulation's own: not linted, and any reward is learned from
    seed: int = 0

    def __post_init__(self) -> None:
        if self.baseline_episodes < 0 or (self.critic_updates > 0 and self.baseline_episodes == 0):
            raise UserError(
                f"baseline_episodes is {self.baseline_episodes} with {self.critic_updates} critic_updates; accepted is "
                "1 or more, as critics need data, or 0 for both: learning without a warm start"
            )
        if self.check_every < 0 or self.check_episodes < 1:
            raise UserError(
                f"check_every is {self.check_every} and check_episodes {self.check_episodes}; accepted are 0 (no "
                "checks) or more, and 1 or more"
            )
