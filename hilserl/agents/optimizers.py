"""Optimisers in a checkpoint: their tensors by dotted name, the rest as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from hilserl.runs import under


def optimizer_tensors(optimizers: Mapping[str, Optimizer]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return {"optimizer.NAME.PARAMETER.KEY": tensor} and {NAME: parameter groups}, the latter for the info."""
    tensors: dict[str, Tensor] = {}
    groups: dict[str, Any] = {}
    for name, optimizer in optimizers.items():
        state = optimizer.state_dict()
        groups[name] = state["param_groups"]
        tensors |= {f"optimizer.{name}.{i}.{k}": v for i, p in state["state"].items() for k, v in p.items()}
    return tensors, groups


def load_optimizers(
    optimizers: Mapping[str, Optimizer], tensors: Mapping[str, Tensor], groups: Mapping[str, Any]
) -> None:
    """Restore what `optimizer_tensors` returned."""
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in under(f"optimizer.{name}", dict(tensors)).items():
            index, part = key.split(".", 1)
            state.setdefault(int(index), {})[part] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": groups[name]})
