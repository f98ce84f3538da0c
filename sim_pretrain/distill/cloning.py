"""Behaviour cloning: regress the policy's mode on the teacher's actions, from shifted and brightened images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from data.spec import TaskSpec
from hilserl.agents.features import random_shift
from hilserl.agents.networks import Policy
from sim_pretrain.episodes.rollout import Rollout


@dataclass(frozen=True)
class CloningConfig:
    """How the policy is fitted to the labels."""

    batch_size: int = 128
    lr: float = 1e-3  # falls to a twentieth over all updates, as a cosine
    weight_decay: float = 1e-4
    shift_px: int = 4  # random shift of the images, each way
    brightness: float = 0.15  # random gain of the images, ±
    bf16: bool = True  # encode in bfloat16 while fitting: half the time on a CPU or GPU that has it


def mute_previous_action(policy: Policy, task: TaskSpec) -> slice:
    """Zero the actor's weights for the previous action, and return where it sits in the state.

    A cloned policy that sees its last action learns to repeat it. Reinforcement learning may use it later: the
    weights start at zero, so un-muting changes nothing at first.
    """
    names = [f.name for f in task.observation.state]
    start = sum(f.size for f in task.observation.state[: names.index("previous_action")])
    where = slice(start, start + len(task.action.names))
    offset = policy.actor.head.size - task.observation.state_dim
    first = policy.actor.body[0]
    assert isinstance(first, torch.nn.Linear)
    with torch.no_grad():
        first.weight[:, offset + where.start : offset + where.stop] = 0.0
    return where


class Cloner:
    """Fits one policy, round after round, to a growing set of labelled steps."""

    def __init__(self, policy: Policy, task: TaskSpec, config: CloningConfig, total_updates: int) -> None:
        self._policy, self._config, self._total = policy, config, total_updates
        self._muted = mute_previous_action(policy, task)
        self.optimizer = torch.optim.AdamW(policy.parameters(), config.lr, weight_decay=config.weight_decay, fused=True)
        self.updates = 0

    def fit(
        self, runs: Sequence[Rollout], updates: int, rng: np.random.Generator, tick: Callable[[int, float], Any]
    ) -> float:
        """Make `updates` updates on all steps of `runs`; return the mean loss of the last tenth of them.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        c, cameras = self._config, self._policy.cameras
        images = torch.from_numpy(
            np.concatenate([np.stack([r.episode.images[n][:-1] for n in cameras], 1) for r in runs])
        )
        state = torch.from_numpy(np.concatenate([r.episode.state[:-1] for r in runs]))
        state[:, self._muted] = 0.0
        labels = torch.from_numpy(np.concatenate([r.expert for r in runs]))
        losses = []
        for number in range(updates):
            rows = torch.from_numpy(rng.integers(len(images), size=c.batch_size))
            loss = self._update(self._augmented(images[rows], rng), state[rows], labels[rows])
            losses.append(loss)
            if number % 100 == 99 or number == updates - 1:
                recent = float(torch.stack(losses[-100:]).mean())
                if not math.isfinite(recent):
                    raise FloatingPointError(f"the cloning loss is {recent}")
                tick(min(100, number % 100 + 1), recent)
        return float(torch.stack(losses[-max(1, updates // 10) :]).mean())

    def _augmented(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        spread = self._config.brightness
        shifted = random_shift(images, self._config.shift_px, rng)
        gain = torch.from_numpy(rng.uniform(1 - spread, 1 + spread, (len(images), 1, 1, 1, 1)).astype(np.float32))
        return (shifted * gain).clamp_(0, 255).to(torch.uint8)

    def _update(self, images: Tensor, state: Tensor, labels: Tensor) -> Tensor:
        lr = self._config.lr
        progress = min(1.0, self.updates / self._total)
        for group in self.optimizer.param_groups:
            group["lr"] = lr / 20 + (lr - lr / 20) * 0.5 * (1 + math.cos(math.pi * progress))
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._config.bf16):
            features = self._policy.encode(images)
        mean, _ = self._policy.actor(features.float(), state)
        loss = F.huber_loss(torch.tanh(mean), labels, delta=0.5)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.updates += 1
        return loss.detach()
