"""Does the task need its camera? `uv run python benchmarks/blind_baseline.py`, some five minutes on two cores.

Distils two small policies in the same way, one of them from black images, and evaluates both. A task that the blind
one solves too would leak the object's place through the state, and its pixel results would mean nothing.
"""

from __future__ import annotations

import torch

from hilserl.metrics import wilson
from hilserl.tasks import lift_task
from sim_pretrain.distill import DistillConfig, distill
from sim_pretrain.rollout import success_count
from sim_pretrain.world import World

CONFIG = DistillConfig(expert_episodes=60, cloning_updates=700, rounds=1, round_updates=300, critic_updates=1)
EPISODES = 50


class BlindWorld(World):
    """The same world behind a lens cap."""

    def render(self, camera: str):
        """Return a black frame."""
        return super().render(camera) * 0


def main() -> None:
    torch.set_num_threads(1)
    task = lift_task()
    print("| policy | success of untouched episodes | 95 % interval |\n|---|---|---|")
    for name, kind in (("sighted", World), ("blind (black images)", BlindWorld)):
        world = kind()
        policy, _, _ = distill(world, task, CONFIG)
        wins, _ = success_count(world, task, policy, EPISODES, seed=77)
        world.close()
        low, high = wilson(wins, EPISODES)
        print(f"| {name} | {wins}/{EPISODES} | {low:.0%} to {high:.0%} |", flush=True)


if __name__ == "__main__":
    main()
