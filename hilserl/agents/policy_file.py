"""A policy on disk: a checkpoint folder whose info holds task spec and network shape, and pairs that prove it acts
as it did. Simulation and arm share the format.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import draccus
import numpy as np
import torch
from torch import Tensor

from data.errors import UserError
from data.schema import Observation
from data.spec import TaskSpec, require_same
from hilserl.agents.actors import GAUSSIAN, kind_of, new_actor
from hilserl.agents.networks import NetworkConfig, Policy
from hilserl.runs import find_checkpoint, load_checkpoint, load_info, prefixed, save_checkpoint, under

MAKE_ONE = "`hilserl pretrain` makes a policy."
GOLDEN_PAIRS = 32  # stored at most
GOLDEN_TOLERANCE = 1e-4  # per dimension of an action; other kernels for the same arithmetic differ by 1e-6
GOLDEN_TOLERANCE_BF16 = 1e-2  # of an encoder in bfloat16, which rounds at the third digit


class LoadedPolicy(NamedTuple):
    """What a policy folder holds."""

    policy: Policy
    critic: dict[str, Tensor]  # state of the critics trained for it; {} when it has none
    info: dict[str, Any]
    golden: tuple[Observation, ...] = ()  # what it was verified with


def save_policy(
    path: Path,
    policy: Policy,
    task: TaskSpec,
    info: Mapping[str, Any],
    critic: Mapping[str, Tensor] | None = None,
    golden: Sequence[Observation] = (),
) -> Path:
    """Write a policy folder, whole or not at all.

    Args:
        path: the folder.
        policy: on any device.
        task: what it was made for.
        info: anything else to keep; JSON.
        critic: state of the critics trained for it.
        golden: observations to keep with the policy's greedy actions, for `load_policy` to verify; the first 32. They
            count as one episode: with stacked frames, each is seen after the ones before it.
    """
    return save_checkpoint(path, *policy_checkpoint(policy, task, info, critic, golden))


def policy_checkpoint(
    policy: Policy,
    task: TaskSpec,
    info: Mapping[str, Any],
    critic: Mapping[str, Tensor] | None = None,
    golden: Sequence[Observation] = (),
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the info of a policy's checkpoint; arguments as of `save_policy`."""
    tensors = prefixed("policy", policy.state_dict()) | prefixed("critic", critic or {})
    tensors |= prefixed("golden", golden_tensors(policy, golden))
    return tensors, {**info, **described(policy, task)}


def made_for(path: Path | str) -> TaskSpec:
    """Return the task spec of the policy in a checkpoint folder or run.

    Raises:
        UserError: there is no policy at `path`.
    """
    folder = find_checkpoint(path)
    info = load_info(folder)
    if "spec" not in info:
        raise UserError(
            f"the checkpoint at {folder} is no policy: its info names {sorted(info)}, not `spec`. {MAKE_ONE}"
        )
    return TaskSpec.from_json(json.dumps(info["spec"]))


def load_policy(path: Path | str, task: TaskSpec) -> LoadedPolicy:
    """Read the policy of a checkpoint folder, or of a run's newest checkpoint, made for `task`.

    Raises:
        UserError: there is no policy at `path`, it is damaged, its kind of actor is unknown, or it does not act here as
            it did where it was made.
        SpecMismatch: it was made for another task spec; the message lists the keys that differ.
    """
    tensors, info = load_checkpoint(path)
    what = f"the policy at {find_checkpoint(path)}"
    if "spec" not in info:
        raise UserError(f"{what} is none: its info names {sorted(info)}, not `spec`. {MAKE_ONE}")
    require_same(task, TaskSpec.from_json(json.dumps(info["spec"])), what)
    policy = Policy(task.observation, len(task.action.names), read_network(info.get("network", {}), what))
    if (kind := info.get("actor", GAUSSIAN)) != GAUSSIAN:
        policy.actor = new_actor(kind, policy, task.observation)
    try:
        policy.load_state_dict(under("policy", tensors))
    except RuntimeError as error:  # lists the tensors that are missing or have another shape
        raise UserError(f"{what} does not fit the networks of this version: {error}\n{MAKE_ONE}") from error
    golden = _require_golden(policy, task, under("golden", tensors), what)
    return LoadedPolicy(policy, under("critic", tensors), info, golden)


def copy_policy(path: Path | str, task: TaskSpec, folder: Path, other: TaskSpec) -> Path:
    """Copy a policy that was made for `task` as one for `other`, which differs in crop, workspace or start pose only.

    Nobody knows how well it works there: its pictures are other ones.

    Raises:
        UserError, SpecMismatch: as `load_policy` for `task`.
    """
    load_policy(path, task)
    tensors, info = load_checkpoint(path)
    return save_checkpoint(folder, tensors, {**info, "spec": json.loads(other.to_json()), "copied_from": str(path)})


def described(policy: Policy, task: TaskSpec) -> dict[str, Any]:
    """Return what the info of a policy's checkpoint must hold, as JSON."""
    network = replace(policy.config, encoder_weights=None)  # they are in the checkpoint, wherever that file is now
    return {"spec": json.loads(task.to_json()), "network": asdict(network), "actor": kind_of(policy.actor)}


def golden_tensors(policy: Policy, observations: Sequence[Observation]) -> dict[str, Tensor]:
    """Return up to 32 observations and the policy's greedy actions, to store under "golden"; {} for none."""
    kept = list(observations[:GOLDEN_PAIRS])
    if not kept:
        return {}
    images = {f"images.{c}": torch.from_numpy(np.stack([o.images[c] for o in kept])) for c in policy.cameras}
    state = torch.from_numpy(np.stack([o.state for o in kept]))
    return {**images, "state": state, "action": torch.from_numpy(greedy(policy, kept))}


def greedy(policy: Policy, observations: Sequence[Observation]) -> np.ndarray:
    """Return the greedy actions [N, A] on the CPU for the observations of one episode; the policy stays as it is."""
    acting = copy.deepcopy(policy).cpu().eval()
    acting.begin()
    return np.stack([acting.act(o) for o in observations])


def read_network(stored: Mapping[str, Any], what: str) -> NetworkConfig:
    """Return the network that a checkpoint's info describes; keys that its version did not have are the defaults.

    Raises:
        UserError: this version does not know it; `what` names the checkpoint.
    """
    try:
        return draccus.decode(NetworkConfig, stored)
    except (draccus.ParsingError, UserError) as error:
        accepted = ", ".join(asdict(NetworkConfig()))
        raise UserError(
            f"{what} has a network that this version does not know: {error}\nAccepted are the keys {accepted}. "
            f"Load it with the version that made it. {MAKE_ONE}"
        ) from error


def _require_golden(policy: Policy, task: TaskSpec, stored: Mapping[str, Tensor], what: str) -> tuple[Observation, ...]:
    """Return the golden observations of a policy that still acts on them as it did."""
    if not stored:
        return ()
    needed = {*(f"images.{c}" for c in policy.cameras), "state", "action"}
    if stored.keys() != needed or len({len(t) for t in stored.values()}) != 1:
        shapes = {name: list(t.shape) for name, t in sorted(stored.items())}
        raise UserError(f"{what} has damaged golden pairs: {shapes}, accepted are {sorted(needed)}. {MAKE_ONE}")
    observations = tuple(
        Observation({c: stored[f"images.{c}"][i].numpy() for c in policy.cameras}, state.numpy(), 0.0)
        for i, state in enumerate(stored["state"])
    )
    found, expected = greedy(policy, observations), stored["action"].numpy()
    apart, tolerance = np.abs(found - expected), GOLDEN_TOLERANCE_BF16 if policy.config.bf16 else GOLDEN_TOLERANCE
    wrong = ~(apart <= tolerance)  # so that NaN is wrong, too
    if not wrong.any():
        return observations
    pair, dimension = np.unravel_index(np.argmax(np.where(np.isnan(apart), np.inf, apart)), apart.shape)
    raise UserError(
        f"{what} does not act here as it did where it was made: {wrong.any(1).sum()} of its {len(wrong)} golden pairs "
        f"do not reproduce. The worst is pair {pair}, {task.action.names[dimension]}: {found[pair, dimension]:+.6f} "
        f"here, {expected[pair, dimension]:+.6f} there, {apart[pair, dimension]:.3g} apart; accepted is "
        f"{tolerance:g}.\nAnother version of PyTorch (here {torch.__version__}) or of this code treats images "
        f"or state differently. Use the version that made it, or make it again: {MAKE_ONE}"
    )
