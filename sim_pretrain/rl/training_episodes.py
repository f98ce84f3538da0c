"""The episodes of a run: demonstrations of the expert, then the policy's own, committed to the run's store.

Everything random in an episode comes from the run's seed and the episode's number: no generator has a state to save.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from data.errors import UserError
from data.schema import Episode, Observation, Source
from data.store.commit_log import Commit
from data.store.episode_store import EpisodeStore
from hilserl.agents.networks import Policy
from sim_pretrain.episodes.many import Batch, rollouts
from sim_pretrain.episodes.rollout import Phase, rollout
from sim_pretrain.rl.config import RLConfig
from sim_pretrain.task.env import SimEnv
from sim_pretrain.task.expert import expert_of
from sim_pretrain.world.truth import Truth

NOISE = (0.7, 0.7, 0.7, 0.0)  # standard deviation of a perturbed step of the expert; the gripper is left alone
Many = VectorEnv[Batch, np.ndarray, np.ndarray]
DEMO, ONLINE = "demo", "online"  # kinds, as in a session on the arm


class Episodes:
    """Plays and commits, in an order that the config alone decides."""

    def __init__(self, env: SimEnv, store: EpisodeStore, config: RLConfig, many: Many | None = None) -> None:
        """Use an environment for training, a store of its policy's cameras, and a settled config.

        With `many` worlds the policy plays an episode in each of them at once; the expert still plays in `env`.
        """
        self._env, self._store, self._config, self._many = env, store, config, many
        self._expert = expert_of(env.task)

    def next(self, policy: Policy, *, after: int, steps: int, version: int, std: float | None) -> Commit:
        """Return the episode that follows: one that an earlier process committed, else a new one.

        Args:
            policy: drives, once there are enough demonstrations.
            after: index of the last commit that was learned from.
            steps: online transitions so far.
            version: updates that made the policy.
            std: of DrQ-v2's exploration; None for the actor's own.

        Raises:
            UserError: the expert fails too often, or the simulation has diverged.
        """
        waiting, demos = self._store.tail(after), self._store.commits(DEMO)
        if waiting and (self._many is None or waiting[0].kind == DEMO):
            return waiting[0]
        assert self._config.demos is not None
        if len(demos) < self._config.demos:
            return self._demonstrate(len(demos), int(demos[-1].notes["number"]) + 1 if demos else 0)
        if self._many is not None:
            return self._explore_many(self._many, policy, after, steps, version)
        return self._explore(policy, len(self._store.commits(ONLINE)), steps, version, std)

    def _demonstrate(self, there: int, number: int) -> Commit:
        """Let the expert play until it succeeds."""
        for tried in range(number, number + 50):
            seed = episode_seed(self._config.seed, 0, tried)
            rng = np.random.default_rng([seed, 1])

            def act(_: Observation, truth: Truth, rng: np.random.Generator = rng) -> tuple[np.ndarray, Source]:
                action = self._expert(truth)
                if rng.random() < self._config.perturbed:
                    action = np.clip(action + rng.normal(0, NOISE), -1, 1).astype(np.float32)
                return action, Source.EXPERT

            run = rollout(self._env, act, self._expert, seed)
            if run.phase is Phase.SUCCESS:
                return self._commit(run.episode, run.phase, DEMO, tried)
        raise UserError(
            f"the scripted expert failed 50 times in a row after {there} demonstrations of {self._env.task.name}, with "
            f"{self._config.perturbed:.0%} of its steps perturbed. Try less: --rl.perturbed=0"
        )

    def _explore(self, policy: Policy, number: int, steps: int, version: int, std: float | None) -> Commit:
        """Let the policy play with noise; at first, play at random."""
        seed = episode_seed(self._config.seed, 1, number)
        noise, blindly = torch.Generator().manual_seed(seed), self._blindly(steps)
        policy.begin()

        def act(observation: Observation, _: Truth) -> tuple[np.ndarray, Source]:
            action = self._at_random(1, noise)[0] if blindly else policy.act(observation, noise, std)
            return action, Source.POLICY

        run = rollout(self._env, act, _nobody, seed)
        return self._commit(run.episode, run.phase, ONLINE, number, version)

    def _explore_many(self, envs: Many, policy: Policy, after: int, steps: int, version: int) -> Commit:
        """Return the next episode of a round: all worlds play one, then each is learned from.

        A kill may have cut the commits of a round short. It is played again then, as its policy is there again.
        """
        played, count = self._store.commits(ONLINE), envs.num_envs
        learned = sum(c.index <= after for c in played)
        if learned % count == 0 and len(played) < learned + count:
            seeds = [episode_seed(self._config.seed, 1, learned + i) for i in range(count)]
            noise, blindly = torch.Generator().manual_seed(seeds[0]), self._blindly(steps)

            def act(states: np.ndarray) -> np.ndarray:
                if blindly:
                    return self._at_random(count, noise)
                return policy.choose(torch.zeros((count, 0)), torch.from_numpy(states), noise).numpy()

            for number, (episode, phase) in enumerate(rollouts(envs, self._env.task.spec, act, seeds), learned):
                if number >= len(played):
                    self._commit(episode, phase, ONLINE, number, version)
        return self._store.commits(ONLINE)[learned]

    def _blindly(self, steps: int) -> bool:
        assert self._config.random_steps is not None
        return steps < self._config.random_steps

    def _at_random(self, count: int, noise: torch.Generator) -> np.ndarray:
        """Draw uniform actions [count, A]."""
        return 2 * torch.rand((count, *(self._env.action_space.shape or ())), generator=noise).numpy() - 1

    def _commit(self, episode: Episode, phase: Phase, kind: str, number: int, version: int = -1) -> Commit:
        if not (np.isfinite(episode.state).all() and np.isfinite(episode.reward).all()):
            raise UserError(
                f"the simulation diverged in {kind} episode {number}: its state or reward is not finite. It was not "
                "stored. Is the table possible? Try without --randomize, or with its defaults"
            )
        meta = replace(
            episode.meta,
            kind=kind,
            spec_fingerprint=self._store.spec.fingerprint,
            started_unix_s=time.time(),
            notes={
                **episode.meta.notes,
                "number": number,
                "phase": str(phase),
                "return": float(episode.reward.sum()),
            },
        )
        versions = np.full(len(episode), version, np.int64)
        return self._store.append(replace(episode, meta=meta, policy_version=versions))


def episode_seed(run_seed: int, stream: int, number: int) -> int:
    """Return the seed of an episode, below 2^32; those of other runs, streams and numbers are unrelated."""
    return int(np.random.SeedSequence([run_seed, stream, number]).generate_state(1)[0])


def _nobody(_: Truth) -> np.ndarray:
    """Label nothing: nobody reads what the expert would have done."""
    return np.zeros(4, np.float32)
