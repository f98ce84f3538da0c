"""Whole episodes of many worlds at once, recorded like those of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from gymnasium.vector import VectorEnv

from data.schema import Episode, EpisodeMeta, Observation, Source, Transition
from data.spec import TaskSpec
from sim_pretrain.episodes.rollout import Phase, verdict

Batch = dict[str, np.ndarray]


def rollouts(
    envs: VectorEnv[Batch, np.ndarray, np.ndarray],
    spec: TaskSpec,
    act: Callable[[np.ndarray], np.ndarray],
    seeds: Sequence[int],
) -> list[tuple[Episode, Phase]]:
    """Run one episode in each world, from the start that belongs to its seed to its end.

    Args:
        envs: N worlds of an oracle (no images), which reset in the step that ends an episode.
        spec: theirs.
        act: from the states [N, D] of all worlds to their actions float32 [N, A]. Worlds that have ended go on with
            episodes that nobody records, until the last one has ended, too.
        seeds: [N].
    """
    count = envs.num_envs
    observed, start = envs.reset(seed=list(seeds))  # type: ignore[arg-type]  # every vector of Gymnasium's takes a list
    first = [Observation({}, state, 0.0) for state in observed["state"]]
    steps: list[list[Transition]] = [[] for _ in seeds]
    had_it, found = start["stage"] == "grasped", dict[int, tuple[Episode, Phase]]()
    while len(found) < count:
        actions = act(observed["state"])
        observed, rewards, terminated, truncated, info = envs.step(actions)
        for i in sorted({*range(count)} - {*found}):
            ended = bool(terminated[i] or truncated[i])
            told = info["final_info"] if ended else info
            had_it[i] |= told["grasped"][i]
            state = info["final_obs"][i]["state"] if ended else observed["state"][i]
            steps[i].append(
                Transition(
                    proposed=actions[i],
                    executed=told["executed"][i],
                    source=Source.POLICY,
                    next_observation=Observation({}, state, (len(steps[i]) + 1) / spec.rate_hz),
                    reward=float(rewards[i]),
                    terminated=bool(terminated[i]),
                    truncated=bool(truncated[i]),
                    p_success=float("nan"),
                    policy_version=0,
                )
            )
            if ended:
                flags = {name: bool(told[name][i]) for name in ("success", "lost", "grasped")}
                outcome, phase = verdict(**flags, had_it=had_it[i])
                notes = {"seed": seeds[i], "stage": start["stage"][i]}
                meta = EpisodeMeta(outcome, kind="simulation", spec_fingerprint=spec.fingerprint, notes=notes)
                found[i] = Episode.from_steps(first[i], steps[i], meta), phase
    return [found[i] for i in range(count)]
