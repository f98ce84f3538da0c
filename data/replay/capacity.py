"""What a replay memory costs: bytes per slot, how many steps fit, and whether a planned session does."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from data.errors import UserError

GIB = 2**30
BOOKKEEPING_BYTES = 96  # per slot: links, counts, reward and flags 28, index lists with their transient copies 68


@dataclass(frozen=True)
class Column:
    """One named value of a slot."""

    shape: tuple[int, ...]  # without the leading dimension of slots
    dtype: torch.dtype = torch.float32

    @property
    def nbytes(self) -> int:
        """Bytes per slot."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Layout:
    """The columns of a slot: what is kept of a frame, and the step that leaves it."""

    columns: Mapping[str, Column]

    @staticmethod
    def of(frames: Mapping[str, Column], state_dim: int, action_dim: int) -> Layout:
        """Add state, executed action and the human flag, which every replay keeps, to the columns of `frames`."""
        fixed = {"state": Column((state_dim,)), "action": Column((action_dim,)), "human": Column(())}
        return Layout({**frames, **fixed})

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot, bookkeeping included. An episode of T steps takes T+1 slots."""
        return sum(c.nbytes for c in self.columns.values()) + BOOKKEEPING_BYTES

    def slots(self, capacity_bytes: int) -> int:
        """Slots within a capacity."""
        return capacity_bytes // self.slot_bytes


@dataclass(frozen=True)
class Estimate:
    """What a replay memory will hold and need, before it is made."""

    capacity_bytes: int
    step_bytes: float  # a step's slot, and its share of the slot of the last frame of an episode
    planned_steps: int  # of the whole session

    @staticmethod
    def of(layout: Layout, capacity_bytes: int, episode_steps: int, planned_steps: int) -> Estimate:
        """Estimate for episodes of `episode_steps` steps."""
        return Estimate(capacity_bytes, layout.slot_bytes * (1 + 1 / episode_steps), planned_steps)

    @property
    def steps(self) -> int:
        """Steps that fit."""
        return int(self.capacity_bytes / self.step_bytes)

    @property
    def planned_bytes(self) -> int:
        """What the planned session needs."""
        return math.ceil(self.planned_steps * self.step_bytes)

    @property
    def fits(self) -> bool:
        """Whether the planned session needs no more than the capacity."""
        return self.planned_bytes <= self.capacity_bytes

    def __str__(self) -> str:
        """One or two lines for a log."""
        text = (
            f"replay memory: {self.capacity_bytes / GIB:.1f} GiB hold {self.steps} steps of "
            f"{self.step_bytes / 1024:.1f} KiB; the planned {self.planned_steps} steps need "
            f"{self.planned_bytes / GIB:.2f} GiB"
        )
        if self.fits:
            return text
        return (
            f"{text}.\nThe oldest policy steps will leave the memory before the session ends; demonstrations and "
            "interventions will not, and nothing leaves the disk. To keep all of them: "
            f"--learner.replay.capacity_gib={math.ceil(10 * self.planned_bytes / GIB) / 10}"
        )

    def require_memory(self, device: str = "cpu") -> None:
        """Refuse a plan that the machine cannot hold.

        Raises:
            UserError: less memory is free on `device` than will be used.
        """
        free = available_bytes(device)
        used = self.capacity_bytes if device != "cpu" else min(self.planned_bytes, self.capacity_bytes)
        if free is not None and used > free:
            raise UserError(
                f"the replay memory would use {used / GIB:.1f} GiB, {device} has {free / GIB:.1f} GiB free.\n"
                f"Accepted is up to {math.floor(10 * free / GIB) / 10}: set --learner.replay.capacity_gib, or close "
                "other programs."
            )


def available_bytes(device: str = "cpu") -> int | None:
    """Return the memory that is free on a device, without swap; None where the system does not tell.

    Raises:
        UserError: there is no such device.
    """
    if device != "cpu":
        try:
            return int(torch.cuda.mem_get_info(device)[0])
        except (RuntimeError, AssertionError, ValueError) as error:  # no GPU, a torch without CUDA, no device's name
            raise UserError(
                f"torch cannot use the device {device!r}: {str(error).splitlines()[0]}\n"
                f"Accepted here is: {'cpu, cuda' if torch.cuda.is_available() else 'cpu'}"
            ) from error
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):  # not Linux: the installed memory is an upper bound
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
