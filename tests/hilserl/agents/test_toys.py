"""Two tasks that are learned in seconds, from state: to reach a point, and to reach it and close the gripper there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from data.schema import Episode, EpisodeMeta, Observation, Outcome, Source, Transition
from data.spec import ObservationSpec, StateField, TaskSpec
from hilserl.agents.features import FeatureReplay, ReplayConfig
from hilserl.agents.networks import NetworkConfig, Policy
from hilserl.agents.sac import Sac, SacConfig
from hilserl.agents.warm_start import StartConfig, prepare

STATE = (StateField("hand", 3, "m", -1.0, 1.0), StateField("previous_action", 4, "1", -1.0, 1.0))
LIMIT = 10  # steps
NEAR = 0.25
Act = Callable[[Observation], np.ndarray]
SAC = SacConfig(  # nothing is copied and nothing is anchored
    discount=0.9, critic_lr=3e-3, actor_lr=1e-3, tau=0.02, actor_every=1, temperature_init=0.01,
    anchor_start=0.0, cloning_start=0.0, cloning_end=0.0,
)  # fmt: skip


@dataclass(frozen=True)
class Toy:
    """A hand that starts somewhere, open, and has to get to the origin."""

    grasps: bool  # and to close there; closed anywhere else, it has failed

    @property
    def task(self) -> TaskSpec:
        return TaskSpec(name="toy", observation=ObservationSpec((), (), STATE), time_limit_steps=LIMIT)

    def play(self, rng: np.random.Generator, act: Act, source: Source, kind: str = "online") -> Episode:
        """Play one episode."""

        def seen() -> Observation:
            return Observation({}, np.concatenate((hand, last)).astype(np.float32), 0.0)

        hand, last = rng.uniform(-0.9, 0.9, 3), np.array([0.0, 0.0, 0.0, 1.0])
        first, steps = seen(), list[Transition]()
        while not steps or not (steps[-1].terminated or steps[-1].truncated):
            last = act(seen())
            hand = np.clip(hand + 0.3 * last[:3], -1, 1)
            near, closed = bool(np.abs(hand).max() < NEAR), bool(last[3] < 0)
            won = near and closed if self.grasps else near
            ended = won or (self.grasps and closed)
            late = len(steps) == LIMIT - 1 and not ended
            steps.append(Transition(last, last, source, seen(), float(won), ended, late, 0.0, 0))
        outcome = Outcome.SUCCESS if won else Outcome.TIMEOUT if late else Outcome.FAILURE
        return Episode.from_steps(first, steps, EpisodeMeta(outcome, kind, ""))

    def shown(self, rng: np.random.Generator) -> Episode:
        """Play one episode as a person would."""

        def act(seen: Observation) -> np.ndarray:
            move = np.clip(-seen.state[:3] / 0.3 + rng.normal(0, 0.1, 3), -1, 1)
            there = np.abs(seen.state[:3] + 0.3 * move).max() < 0.6 * NEAR
            return np.array([*move, -1.0 if there else 1.0], np.float32)

        return self.play(rng, act, Source.HUMAN, "demo")


def learned(toy: Toy, config: SacConfig, episodes: int, seed: int = 0) -> tuple[int, int]:
    """Learn from 20 demonstrations and so many own episodes; return successes of 40 before and after."""
    torch.manual_seed(seed)
    policy = Policy(toy.task.observation, 4, NetworkConfig(hidden=64))
    policy = prepare(policy, toy.task, StartConfig(), discrete_gripper=config.gripper == "discrete")
    noise, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)

    def wins() -> int:
        starts = np.random.default_rng(1)
        return sum(toy.play(starts, policy.act, Source.POLICY).meta.outcome is Outcome.SUCCESS for _ in range(40))

    before = wins()
    replay = FeatureReplay(policy, ReplayConfig(copies=0, batch_size=64, capacity_gib=0.01))
    for _ in range(20):
        replay.add(toy.shown(rng))
    sac = Sac(toy.task, config, policy)
    for _ in range(episodes):
        replay.add(toy.play(rng, lambda seen: policy.act(seen, noise), Source.POLICY))
        for _ in range(20):
            sac.update(replay.sample())
    return before, wins()


def test_ten_critics_learn_to_reach() -> None:
    before, after = learned(Toy(grasps=False), replace(SAC, critics=10), episodes=30)
    assert before <= 10
    assert after >= 36


def test_a_discrete_gripper_learns_when_to_close() -> None:
    """The arm may copy the demonstrations; the gripper's choice is learned from reward alone."""
    config = replace(SAC, gripper="discrete", cloning_start=1.0, cloning_end=1.0)
    before, after = learned(Toy(grasps=True), config, episodes=40)
    assert before <= 5
    assert after >= 25
