"""The card of a checkpoint: a page that says what it is, how good it is, and how it was made.

The checkpoint folder is the policy folder: one format for simulation, arm and resume, so there is no second folder with
the same weights in it.
"""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data.spec import TaskSpec
from hilserl.loop.checks import Check
from hilserl.runs import load_info, write_text

CARD = "README.md"


def write_card(folder: Path, check: Check | None) -> Path:
    """Write or replace the card in a checkpoint folder, with what the check of its policy found, if there was one."""
    return write_text(folder / CARD, card(folder, load_info(folder), check))


def card(folder: Path, info: Mapping[str, Any], check: Check | None) -> str:
    """Return the card's text.

    Args:
        folder: of the checkpoint, for the commands.
        info: of the checkpoint.
        check: of the same version of the policy.
    """
    spec = TaskSpec.from_json(json.dumps(info["spec"]))
    seen = spec.observation
    success = f"{check}; 95 % interval" if check else "not measured; the command below does it"
    versions = ", ".join(f"{name} {version(name)}" for name in ("hilserl", "torch", "lerobot"))
    return f"""# {spec.name}: policy after {info["updates"]} updates

| | |
|---|---|
| task | {spec.name}, SO-101, {spec.rate_hz:g} Hz, {spec.time_limit_steps} steps at most; spec `{spec.fingerprint}` |
| sees | {", ".join(seen.policy_cameras) or "no camera"}; {", ".join(f"{f.name} [{f.unit}]" for f in seen.state)} |
| does | {", ".join(spec.action.names)}; {spec.action.step_m:g} m per unit and step |
| trained on | {info["operated_episodes"]} operated episodes, {info["steps"]} steps |
| success | {success} |
| made by | `{shlex.join(sys.argv)}` |
| versions | {versions}, Python {platform.python_version()} |

`tensors.safetensors` holds the policy and all that a resume needs, `info.json` the spec, the network and the counters.

    hilserl eval  --policy.path={folder} ...
    hilserl train --policy.path={folder} ...
"""
