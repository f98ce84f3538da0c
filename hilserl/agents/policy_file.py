"""A policy on disk: a checkpoint folder whose info holds the task spec. Simulation and arm share the format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from data.errors import UserError
from data.spec import TaskSpec, require_same
from hilserl.agents.networks import Policy
from hilserl.runs import find_checkpoint, load_checkpoint, prefixed, save_checkpoint, under

MAKE_ONE = "`hilserl pretrain` makes a policy."


class LoadedPolicy(NamedTuple):
    """What a policy folder holds."""

    policy: Policy
    critic: dict[str, Tensor]  # state of the critics trained for it; {} when it has none
    info: dict[str, Any]


def save_policy(
    path: Path,
    policy: Policy,
    task: TaskSpec,
    info: Mapping[str, Any],
    critic: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write a policy folder, whole or not at all."""
    tensors = prefixed("policy", policy.state_dict()) | prefixed("critic", critic or {})
    return save_checkpoint(path, tensors, {"spec": json.loads(task.to_json()), **info})


def load_policy(path: Path | str, task: TaskSpec) -> LoadedPolicy:
    """Read the policy of a checkpoint folder, or of a run's newest checkpoint, made for `task`.

    Raises:
        UserError: there is no policy at `path`, or it is damaged.
        SpecMismatch: it was made for another task spec; the message lists the keys that differ.
    """
    tensors, info = load_checkpoint(path)
    what = f"the policy at {find_checkpoint(path)}"
    if "spec" not in info:
        raise UserError(f"{what} is none: its info names {sorted(info)}, not `spec`. {MAKE_ONE}")
    require_same(task, TaskSpec.from_json(json.dumps(info["spec"])), what)
    policy = Policy(task.observation, len(task.action.names))
    try:
        policy.load_state_dict(under("policy", tensors))
    except RuntimeError as error:  # lists the tensors that are missing or have another shape
        raise UserError(f"{what} does not fit the networks of this version: {error}\n{MAKE_ONE}") from error
    return LoadedPolicy(policy, under("critic", tensors), info)
