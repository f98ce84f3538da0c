"""Labelled episodes on disk, a folder per round of a distillation: whole or not there, and bitwise the same again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.schema import Episode, EpisodeMeta, Outcome
from data.spec import TaskSpec
from hilserl.runs import load_checkpoint, save_checkpoint
from sim_pretrain.episodes.rollout import Phase, Rollout

FRAMES = ("state", "stamp_s", "marked_success")  # one more of these than steps
STEPS = ("proposed", "executed", "source", "reward", "terminated", "truncated", "p_success", "policy_version")


def save_shard(folder: Path, runs: Sequence[Rollout]) -> None:
    """Write the rollouts of one round; whatever the folder held before is replaced."""
    columns = {n: [getattr(r.episode, n) for r in runs] for n in (*FRAMES, *STEPS)}
    columns |= {f"image.{c}": [r.episode.images[c] for r in runs] for c in runs[0].episode.images}
    columns["expert"] = [r.expert for r in runs]
    tensors = {name: torch.from_numpy(np.concatenate(arrays)) for name, arrays in columns.items()}
    rows = [
        {"steps": len(r.episode), "phase": r.phase, "outcome": r.episode.meta.outcome,
         "max_height_m": r.max_height_m, "held_s": r.held_s}
        for r in runs
    ]  # fmt: skip
    save_checkpoint(folder, tensors, {"episodes": rows})


def load_shard(folder: Path, task: TaskSpec) -> list[Rollout]:
    """Read back what `save_shard` wrote, but for the reward's terms.

    Raises:
        UserError: there is no whole shard in the folder.
    """
    tensors, info = load_checkpoint(folder)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    runs, step, frame = [], 0, 0
    for row in info["episodes"]:
        steps, frames = slice(step, step + row["steps"]), slice(frame, frame + row["steps"] + 1)
        step, frame = steps.stop, frames.stop
        columns: dict[str, Any] = {n: arrays[n][frames] for n in FRAMES} | {n: arrays[n][steps] for n in STEPS}
        images = {n.removeprefix("image."): a[frames] for n, a in arrays.items() if n.startswith("image.")}
        meta = EpisodeMeta(Outcome(row["outcome"]), "simulation", task.fingerprint)
        episode = Episode(images=images, meta=meta, **columns)
        run = Rollout(episode, arrays["expert"][steps], Phase(row["phase"]), row["max_height_m"], row["held_s"])
        runs.append(run)
    return runs
