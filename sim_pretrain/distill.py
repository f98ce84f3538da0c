"""A pixel policy from the scripted expert: behaviour cloning, then DAgger rounds, then its critics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from data.schema import Observation, Source
from data.spec import TaskSpec
from hilserl.agents.features import FeatureReplay, ReplayConfig, random_shift
from hilserl.agents.networks import Policy
from hilserl.agents.sac import Sac, SacConfig
from sim_pretrain.rollout import Rollout, rollout
from sim_pretrain.world import Truth, World
from teleop.expert import ExpertConfig, lift


@dataclass(frozen=True)
class DistillConfig:
    """Sizes of the distillation; the defaults take minutes on two cores."""

    expert_episodes: int = 80
    perturbed: float = 0.3  # fraction of expert steps that get noise, so that recoveries are seen
    rounds: int = 4  # DAgger rounds
    round_episodes: int = 30
    student_share: float = 0.8  # of the steps of a DAgger episode; the expert drives the rest
    cloning_updates: int = 1200
    round_updates: int = 500
    batch_size: int = 128
    lr: float = 1e-3
    brightness: float = 0.15  # random gain of the training images, ±
    critic_updates: int = 1000
    seed: int = 0


def distill(world: World, task: TaskSpec, config: DistillConfig) -> tuple[Policy, dict[str, Tensor], list[Rollout]]:
    """Return the policy, the state of critics trained for it, and every rollout that was made."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    policy = Policy(task.observation, len(task.action.names))
    muted = mute_previous_action(policy, task)
    expert_config = ExpertConfig(step_m=task.action.step_m)

    def expert(truth: Truth) -> np.ndarray:
        return lift(np.array(truth.ee_m), np.array(truth.cube_m), truth.grasped, expert_config)

    def perturbed_expert(_: Observation, truth: Truth) -> tuple[np.ndarray, Source]:
        action = expert(truth)
        if rng.random() < config.perturbed:
            action = np.clip(action + rng.normal(0, (0.7, 0.7, 0.7, 0.0)), -1, 1).astype(np.float32)
        return action, Source.EXPERT

    def mixed(observation: Observation, truth: Truth) -> tuple[np.ndarray, Source]:
        if rng.random() < config.student_share:
            return policy.act(observation), Source.POLICY
        return expert(truth), Source.EXPERT

    runs: list[Rollout] = []
    for _ in tqdm(range(config.expert_episodes), "expert episodes", unit="ep"):
        runs.append(rollout(world, task, perturbed_expert, expert, rng))
    optimizer = torch.optim.AdamW(policy.parameters(), config.lr, weight_decay=1e-4)
    updates = config.cloning_updates + config.rounds * config.round_updates
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates, eta_min=config.lr / 20)
    clone(policy, optimizer, schedule, runs, config.cloning_updates, config, muted, rng, "cloning")
    for number in range(1, config.rounds + 1):
        for _ in tqdm(range(config.round_episodes), f"DAgger {number}/{config.rounds} episodes", unit="ep"):
            runs.append(rollout(world, task, mixed, expert, rng))
        clone(
            policy,
            optimizer,
            schedule,
            runs,
            config.round_updates,
            config,
            muted,
            rng,
            f"DAgger {number} updates",
        )
    return policy, train_critics(policy, task, runs, config), runs


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


def clone(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    runs: list[Rollout],
    updates: int,
    config: DistillConfig,
    muted: slice,
    rng: np.random.Generator,
    title: str,
) -> None:
    """Regress the mode of the policy on the expert's actions, Huber loss, with shift and brightness."""
    images = torch.from_numpy(
        np.concatenate([np.stack([r.episode.images[c][:-1] for c in policy.cameras], 1) for r in runs])
    )
    state = torch.from_numpy(np.concatenate([r.episode.state[:-1] for r in runs]))
    state[:, muted] = 0.0
    labels = torch.from_numpy(np.concatenate([r.expert for r in runs]))
    progress = tqdm(range(updates), title, unit="up")
    for _ in progress:
        rows = torch.from_numpy(rng.integers(len(images), size=config.batch_size))
        batch = random_shift(images[rows], 4, rng)
        gain = torch.from_numpy(rng.uniform(1 - config.brightness, 1 + config.brightness, (len(rows), 1, 1, 1, 1)))
        batch = (batch * gain).clamp(0, 255).to(torch.uint8)
        mean, _ = policy.actor(policy.encode(batch), state[rows])
        loss = F.huber_loss(torch.tanh(mean), labels[rows], delta=0.5)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress.n % 100 == 0:
            progress.set_postfix(loss=f"{loss.item():.4f}")


def train_critics(policy: Policy, task: TaskSpec, runs: list[Rollout], config: DistillConfig) -> dict[str, Tensor]:
    """Fit critics to the simulated episodes under the finished policy; they start the ones on the arm."""
    replay = FeatureReplay(policy, ReplayConfig(copies=1, seed=config.seed))
    for run in runs:
        replay.add(run.episode)
    sac = Sac(task, SacConfig(), policy)
    for _ in tqdm(range(config.critic_updates), "critics", unit="up"):
        sac.update(replay.sample(), operated_episodes=0, train_actor=False)
    policy.encoder.requires_grad_(True)
    return {k: v.clone() for k, v in sac.critic.state_dict().items()}
