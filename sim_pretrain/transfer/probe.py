"""What a policy looks at: give it one of its inputs from another moment, and see whether it cares.

Two measures, which answer two questions. The change of its action is measured on recorded observations and says what
the network listens to. The success with an input shuffled at every step says what the task needs of it; an input that
steers only the grasp changes few actions and decides everything. Permutation importance: Breiman, "Random forests",
2001. Inputs that say the same thing are shuffled together: apart, each would seem to be of no use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data.schema import Episode, Observation
from data.spec import ObservationSpec
from sim_pretrain.episodes.evaluation import Acts

GRIPPER = 5  # of the six joints
ARM = (("joint_position", range(GRIPPER)), ("ee_in_base", range(3)))  # the second follows from the first
IMAGE = "image"


@dataclass(frozen=True)
class InputGroup:
    """Inputs that are shuffled together."""

    name: str
    cameras: tuple[str, ...] = ()
    state: tuple[int, ...] = ()  # indices into the state vector


@dataclass(frozen=True)
class Moment:
    """An observation, and those before it that a policy of stacked frames has in mind."""

    episode: int
    before: tuple[Observation, ...]
    observation: Observation


def input_groups(spec: ObservationSpec) -> tuple[InputGroup, ...]:
    """Return every input of a policy in exactly one group; the gripper's angle is one, the rest of the pose another."""
    start, where = 0, dict[str, range]()
    for field in spec.state:
        where[field.name] = range(start, start + field.size)
        start += field.size
    groups = [InputGroup(IMAGE, cameras=spec.policy_cameras)] if spec.policy_cameras else []
    arm = tuple(where[name][i] for name, indices in ARM if name in where for i in indices)
    jaw = (where["joint_position"][GRIPPER],) if "joint_position" in where else ()
    groups += [InputGroup("arm pose", state=arm), InputGroup("gripper", state=jaw)]
    pose = {name for name, _ in ARM}
    groups += [InputGroup(n.replace("_", " "), state=tuple(rows)) for n, rows in where.items() if n not in pose]
    return tuple(g for g in groups if g.cameras or g.state)


def moments(episodes: Sequence[Episode], policy: Acts) -> list[Moment]:
    """Return every moment of the episodes at which the policy acted."""
    depth = _depth(policy)

    def at(episode: Episode, t: int) -> Observation:
        return Observation({c: i[t] for c, i in episode.images.items()}, episode.state[t], float(episode.stamp_s[t]))

    return [
        Moment(number, tuple(at(episode, k) for k in range(max(0, t - depth + 1), t)), at(episode, t))
        for number, episode in enumerate(episodes)
        for t in range(len(episode))
    ]


def action_change(
    policy: Acts, seen: Sequence[Moment], groups: Sequence[InputGroup], rng: np.random.Generator, limit: int = 400
) -> dict[str, np.ndarray]:
    """Return {group: float64 [A]}: by how much the greedy action changes on average when that input is another's.

    Args:
        policy: any; one with a memory is given the frames that belong to its image.
        seen: where it acted. The other moment is of another episode, if there are several.
        groups: what to exchange.
        rng: chooses moments.
        limit: how many moments are tried, at most.
    """
    chosen = rng.permutation(len(seen))[:limit]
    own = np.stack([_act(policy, seen[i], seen[i].observation) for i in chosen])
    others = [_other(seen, seen[i].episode, rng) for i in chosen]
    changes = {}
    for group in groups:
        acted = [
            _act(policy, other if group.cameras else seen[i], swapped(seen[i].observation, other.observation, group))
            for i, other in zip(chosen, others, strict=True)
        ]
        changes[group.name] = np.abs(np.stack(acted) - own).mean(0)
    return changes


def shares(changes: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return each group's share of all change of action; all 0 for a policy that heeds nothing."""
    sizes = {name: float(change.mean()) for name, change in changes.items()}
    total = sum(sizes.values())
    return {name: size / total if total > 0 else 0.0 for name, size in sizes.items()}


def swapped(observation: Observation, other: Observation, group: InputGroup) -> Observation:
    """Return `observation` with the inputs of a group from `other`."""
    state = observation.state.copy()
    state[list(group.state)] = other.state[list(group.state)]
    return replace(
        observation, images={**observation.images, **{c: other.images[c] for c in group.cameras}}, state=state
    )


class Shuffled:
    """A policy that at every step gets one of its inputs from a random moment of other episodes."""

    def __init__(self, policy: Acts, seen: Sequence[Moment], group: InputGroup, seed: int) -> None:
        self._policy, self._seen, self._group = policy, seen, group
        self._rng = np.random.default_rng(seed)

    def begin(self) -> None:
        """Start an episode."""
        _begin(self._policy)

    def act(self, observation: Observation) -> np.ndarray:
        """Act on what is now and, in one respect, on what was at some other time."""
        other = _other(self._seen, None, self._rng)
        mixed = swapped(observation, other.observation, self._group)
        return _act(self._policy, other, mixed) if self._group.cameras else self._policy.act(mixed)


class Blinded:
    """A policy behind a lens cap: all its images are black."""

    def __init__(self, policy: Acts) -> None:
        self._policy = policy

    def begin(self) -> None:
        """Start an episode."""
        _begin(self._policy)

    def act(self, observation: Observation) -> np.ndarray:
        """Act on the state alone."""
        return self._policy.act(replace(observation, images={c: i * 0 for c, i in observation.images.items()}))


def _act(policy: Acts, past: Moment, observation: Observation) -> np.ndarray:
    """Act on an observation that follows the frames before `past`."""
    see = getattr(policy, "see", None)
    if see is not None:
        _begin(policy)
        for earlier in past.before:
            see(earlier)
    return policy.act(observation)


def _begin(policy: Acts) -> None:
    getattr(policy, "begin", lambda: None)()


def _depth(policy: Acts) -> int:
    """Return how many frames a policy looks at."""
    return int(getattr(getattr(policy, "config", None), "stack", 1))


def _other(seen: Sequence[Moment], episode: int | None, rng: np.random.Generator) -> Moment:
    """Draw a moment, of another episode if there is one."""
    if len({seen[0].episode, seen[-1].episode}) == 1:
        episode = None
    while (moment := seen[int(rng.integers(len(seen)))]).episode == episode:
        pass
    return moment
