"""Many episodes at once: one process per core, each with one world and one renderer for its whole life.

An episode depends on its seed, its driver and the policy, and on nothing else: any number of workers gives the same.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, cast

import numpy as np
import torch

from data.errors import UserError
from data.schema import Observation, Source
from hilserl.agents.networks import Policy
from sim_pretrain.episodes.rollout import Rollout, rollout
from sim_pretrain.episodes.teacher import make_teacher
from sim_pretrain.task.env import EnvConfig, SimEnv
from sim_pretrain.world.truth import Truth

NOISE = (0.7, 0.7, 0.7, 0.0)  # standard deviation of a perturbed step; the gripper is left alone


@dataclass(frozen=True)
class Driver:
    """Who drives an episode. The teacher labels every step, whoever drives."""

    student: float = 0.0  # share of the steps that the policy drives; the teacher drives the rest
    perturbed: float = 0.0  # share of the teacher's steps that get noise, so that recoveries are seen


class Collector:
    """Runs episodes of one environment. Use in a `with` block; workers are started on entry."""

    def __init__(self, config: EnvConfig, workers: int, teacher: str = "expert") -> None:
        """Describe the workers.

        Args:
            config: the environment that each worker builds.
            workers: number of processes; 1 runs everything in this one.
            teacher: see `sim_pretrain.episodes.teacher.make_teacher`.
        """
        self._config, self._workers, self._teacher = config, workers, teacher
        self._pipes: list[Connection] = []
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._local: _Worker | None = None

    def __enter__(self) -> Collector:
        """Start the workers; they build their worlds while the caller goes on."""
        if self._workers <= 1:
            self._local = _Worker(self._config, self._teacher)
            return self
        context = multiprocessing.get_context("spawn")  # a forked process must not use its parent's OpenGL
        for _ in range(self._workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, self._config, self._teacher), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the workers."""
        if self._local is not None:
            self._local.close()
        for pipe in self._pipes:
            pipe.close()  # a worker ends when nobody listens to it any more
        for process in self._processes:
            process.join(timeout=5.0)
            if process.is_alive():
                process.kill()

    def run(
        self, driver: Driver, seeds: Sequence[int], policy: Policy | None = None, tick: Callable[[int], Any] = abs
    ) -> Iterator[Rollout]:
        """Yield one rollout per seed, in the order of the seeds.

        Args:
            driver: who drives.
            seeds: one per episode.
            policy: the student; needed when the driver lets it drive.
            tick: called with 1 for each finished episode.

        Raises:
            UserError: a worker cannot work, or was killed.
            RuntimeError: a worker failed; its own words follow.
        """
        if self._local is not None:
            self._local.learn(_packed(policy))
            for seed in seeds:
                result = self._local.run(driver, seed)
                tick(1)
                yield result
            return
        for pipe in self._pipes:
            _send(pipe, "policy", _packed(policy))
        waiting, done, idle, yielded = list(reversed(seeds)), dict[int, Rollout](), list(self._pipes), 0
        while yielded < len(seeds):
            while idle and waiting:
                _send(idle.pop(), "run", driver, waiting.pop())
            for pipe in cast(list[Connection], wait(self._pipes)):
                seed, result = _receive(pipe)
                done[seed] = result
                idle.append(pipe)
                tick(1)
            while yielded < len(seeds) and seeds[yielded] in done:
                yield done.pop(seeds[yielded])
                yielded += 1


class _Worker:
    """A world, its teacher and the newest student."""

    def __init__(self, config: EnvConfig, teacher: str) -> None:
        self._env: SimEnv = config.make()
        self._teacher = make_teacher(self._env, teacher)
        self._student: Policy | None = None

    def learn(self, packed: dict[str, Any] | None) -> None:
        """Take the student's weights."""
        if packed is None:
            return
        spec = self._env.task.spec
        self._student = Policy(spec.observation, len(spec.action.names), packed["config"]).eval()
        self._student.load_state_dict({k: torch.from_numpy(v) for k, v in packed["weights"].items()})

    def run(self, driver: Driver, seed: int) -> Rollout:
        """Run one episode."""
        rng, student = np.random.default_rng([seed, 1]), self._student

        def act(observation: Observation, truth: Truth) -> tuple[np.ndarray, Source]:
            proposed = student.act(observation) if student is not None and driver.student > 0 else None
            if proposed is not None and rng.random() < driver.student:
                return proposed, Source.POLICY
            action = self._teacher(truth)
            if rng.random() < driver.perturbed:
                action = np.clip(action + rng.normal(0, NOISE), -1, 1).astype(np.float32)
            return action, Source.EXPERT

        if student is not None:
            student.begin()
        return rollout(self._env, act, self._teacher, seed)

    def close(self) -> None:
        """Free the renderer."""
        self._env.close()


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _packed(policy: Policy | None) -> dict[str, Any] | None:
    if policy is None:
        return None
    return {"config": policy.config, "weights": {k: v.detach().cpu().numpy() for k, v in policy.state_dict().items()}}


def _send(pipe: Connection, *message: Any) -> None:
    with contextlib.suppress(OSError):  # nobody is there any more: `_receive` gets the last words
        pipe.send(message)


def _receive(pipe: Connection) -> tuple[int, Rollout]:
    """Return the seed and the episode that a worker has finished; raise what it failed with."""
    try:
        seed, result = pipe.recv()
    except (EOFError, OSError) as error:
        raise UserError(
            "a simulation process ended without a word; when memory runs out, the system kills the largest. "
            "Use fewer of them, such as --workers=1"
        ) from error
    if isinstance(result, Exception):
        raise result
    return seed, result


def _serve(pipe: Connection, config: EnvConfig, teacher: str) -> None:
    """Life of a worker process."""
    torch.set_num_threads(1)
    worker: _Worker | None = None
    seed = -1
    try:
        worker = _Worker(config, teacher)
        while True:
            match pipe.recv():
                case ("policy", packed):
                    worker.learn(packed)
                case ("run", driver, seed):
                    pipe.send((seed, worker.run(driver, seed)))
    except (EOFError, ConnectionError, KeyboardInterrupt):
        pass  # nobody listens any more
    except UserError as error:
        pipe.send((seed, UserError(str(error))))
    except Exception:
        words = f"a simulation worker failed in the episode of seed {seed}:\n{traceback.format_exc()}"
        pipe.send((seed, RuntimeError(words)))
    finally:
        if worker is not None:
            worker.close()
