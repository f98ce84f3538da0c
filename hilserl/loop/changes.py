"""Going on with other flags: shown, refused where the saved numbers would mean something else, applied otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.errors import UserError
from data.spec import TaskSpec, difference, require_same
from hilserl.agents.policy_file import read_network
from hilserl.loop.learner_config import LearnerConfig
from hilserl.runs import load_checkpoint, under

ABOUT_THE_START = {"resume", "rollback"}  # flags that say how to start, not what is run
BEGINNING = ("learner.seed", "learner.sac.temperature_init", "learner.start.critics", "learner.start.residual_scale")
LASTING = (  # what the saved numbers are
    "learner.agent",
    "learner.sac.critics",
    "learner.sac.gripper",
    "learner.drqv2.critics",
    "learner.start.actor",
    "learner.start.encoder",
)


@dataclass(frozen=True)
class Change:
    """One flag that is another than when the run was started last."""

    flag: str
    old: Any
    new: Any

    @property
    def refused(self) -> bool:
        """Whether the checkpoint cannot go on with it; an encoder is trained from pixels, or frozen and cached."""
        if self.flag.endswith(".encoder_lr"):
            return bool(self.old) != bool(self.new)
        return self.flag in LASTING

    def __str__(self) -> str:
        late = " (no effect any more: the checkpoint has its own)" if self.flag in BEGINNING else ""
        return f"  --{self.flag}: {_shown(self.old)} -> {_shown(self.new)}{late}"


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Return the flags in which two `train.json` differ, in alphabetical order.

    Raises:
        UserError: one of them would make the checkpoint mean something else.
    """
    before, now = dict(_flat(old)), dict(_flat(new))
    flags = sorted(f for f in before.keys() | now.keys() if f.split(".")[0] not in ABOUT_THE_START)
    found = [Change(f, before.get(f), now.get(f)) for f in flags if before.get(f) != now.get(f)]
    if refused := [str(c) for c in found if c.refused]:
        raise UserError(
            "this run cannot go on with\n" + "\n".join(refused) + "\nits networks were made for the old value. Give "
            "that, or start another run: --output_dir=..., and --policy.path=THIS_RUN to begin with its policy"
        )
    return found


def require_same_meaning(run: Path, task: TaskSpec, policy: Path, config: LearnerConfig) -> None:
    """Check that a run's checkpoint still means the same: task spec, shape of the networks, frozen encoder.

    The actor takes a frozen encoder from `policy` and the rest from the learner, so the two must fit.

    Raises:
        SpecMismatch: another task spec; the message lists the keys that differ.
        UserError: another network or another frozen encoder.
    """
    (saved, info), (given, given_info) = load_checkpoint(run), load_checkpoint(policy)
    require_same(task, TaskSpec.from_json(json.dumps(info["spec"])), f"the checkpoint of {run}")
    advice = f"\nGive the --policy.path that the run was started with, or {run}. To go back: --rollback=best"
    ours, theirs = (asdict(read_network(i.get("network", {}), str(p))) for i, p in ((info, run), (given_info, policy)))
    if lines := difference(ours, theirs, "the run", "the policy"):
        raise UserError(f"the policy {policy} has another network than the run:\n" + "\n".join(lines) + advice)
    frozen = not config.encoder_lr
    eyes, other = (under("policy.encoder", tensors) for tensors in (saved, given))
    if frozen and (eyes.keys() != other.keys() or any(not eyes[name].equal(other[name]) for name in eyes)):
        raise UserError(f"the policy {policy} sees with another encoder than the run, which is frozen.{advice}")


def _shown(value: Any) -> str:
    return "(absent)" if value is None else json.dumps(value)


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, leaf) of nested JSON objects; a list is a leaf."""
    if not isinstance(tree, Mapping):
        yield prefix, tree
        return
    for key, value in tree.items():
        yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
