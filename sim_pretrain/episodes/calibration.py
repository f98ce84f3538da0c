"""Are the critics right? What they predict at every step of a policy's episodes, against what then came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from hilserl.agents.networks import CriticEnsemble, Policy
from sim_pretrain.episodes.rollout import Rollout


@dataclass(frozen=True)
class Calibration:
    """Predicted against realised discounted return, over the steps of untouched episodes."""

    steps: int
    predicted: float  # mean over the steps of the least of the critics
    realised: float  # mean discounted return; an episode cut by the time limit ends in 0
    error: float  # mean absolute difference
    correlation: float  # NaN where nothing varies
    bins: tuple[tuple[float, float, int], ...]  # mean predicted, mean realised and number of steps, by fifths

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    def text(self) -> str:
        """Return one line for the terminal."""
        bins = ", ".join(f"{p:.2f}/{r:.2f}" for p, r, _ in self.bins)
        return (
            f"critics: predicted {self.predicted:.2f}, realised {self.realised:.2f} on average of {self.steps} steps; "
            f"mean error {self.error:.2f}, correlation {self.correlation:.2f}; by fifths {bins}"
        )


@torch.inference_mode()
def calibrate(policy: Policy, critic: CriticEnsemble, runs: Sequence[Rollout], discount: float) -> Calibration:
    """Compare the critics with the episodes `runs`, which the policy drove alone and nothing was trained on."""
    predicted, realised = [], []
    for run in runs:
        episode = run.episode
        images = torch.from_numpy(np.stack([episode.images[c][:-1] for c in policy.cameras], 1))
        state, action = torch.from_numpy(episode.state[:-1]), torch.from_numpy(episode.executed)
        predicted.append(critic(policy.encode(images), state, action).amin(0).numpy())
        realised.append(discounted(episode.reward, discount))
    q, g = np.concatenate(predicted), np.concatenate(realised)
    order = np.array_split(np.argsort(q), 5)
    varies = q.std() > 0 and g.std() > 0
    return Calibration(
        steps=len(q),
        predicted=float(q.mean()),
        realised=float(g.mean()),
        error=float(np.abs(q - g).mean()),
        correlation=float(np.corrcoef(q, g)[0, 1]) if varies else float("nan"),
        bins=tuple((float(q[i].mean()), float(g[i].mean()), len(i)) for i in order if len(i)),
    )


def discounted(reward: np.ndarray, discount: float) -> np.ndarray:
    """Return [T] discounted sums of the rewards [T] from each step on."""
    returns = np.zeros(len(reward))
    after = 0.0
    for t in range(len(reward) - 1, -1, -1):
        returns[t] = after = float(reward[t]) + discount * after
    return returns
