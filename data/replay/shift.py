"""Random shift (DrQ, Kostrikov et al., 2020): every image moves by a few pixels, its edge pixels are repeated."""

from __future__ import annotations

import cv2
import torch
from torch import Tensor


def shifted(pool: Tensor, slots: Tensor, offsets: Tensor, out: Tensor | None = None) -> Tensor:
    """Gather images out of a pool and shift each: pixel (y, x) of the result is pixel (y + dy, x + dx) of the image.

    Args:
        pool: uint8 [N, H, W, C].
        slots: int64 [B, S]; which images.
        offsets: int64 [B, 2]; dy, dx [px] of every row, the same for the S images of its stack.
        out: uint8 [B, S, H, W, C] to write to, contiguous; new when None. Only used on the CPU.

    Returns:
        uint8 [B, S, H, W, C]; source pixels outside of the image are the nearest ones inside.
    """
    if pool.is_cuda:
        return by_index(pool, slots, offsets)
    out = torch.empty((*slots.shape, *pool.shape[1:]), dtype=torch.uint8) if out is None else out
    if offsets.any():
        by_copy(pool, slots, offsets, out)
    else:
        torch.index_select(pool, 0, slots.flatten(), out=out.flatten(0, 1))
    return out


def by_index(pool: Tensor, slots: Tensor, offsets: Tensor) -> Tensor:
    """`shifted` by index arithmetic: one kernel, on any device."""
    height, width = pool.shape[1:3]
    rows = (offsets[:, :1] + torch.arange(height, device=pool.device)).clamp(0, height - 1)  # clamping repeats edges
    columns = (offsets[:, 1:] + torch.arange(width, device=pool.device)).clamp(0, width - 1)
    return pool[slots[:, :, None, None], rows[:, None, :, None], columns[:, None, None, :]]


def by_copy(pool: Tensor, slots: Tensor, offsets: Tensor, out: Tensor) -> None:
    """`shifted` image by image on the CPU: row copies and edges in one pass, at two thirds of the speed of memory.

    Measured and slower: one flat copy per image at an offset, then the edges repaired in place or by 32-bit words
    (benchmarks/replay.md).
    """
    frames, height, width = pool.numpy(), pool.shape[1], pool.shape[2]
    limit = torch.tensor([height - 1, width - 1])
    stack = slots.shape[1]
    moves = offsets.clamp(-limit, limit).repeat_interleave(stack, 0).tolist()  # further out it is all edge
    for target, slot, (dy, dx) in zip(out.flatten(0, 1).numpy(), slots.flatten().tolist(), moves, strict=True):
        top, bottom = (0, dy) if dy > 0 else (-dy, 0)
        left, right = (0, dx) if dx > 0 else (-dx, 0)
        inside = frames[slot, bottom : height - top, right : width - left]
        cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_REPLICATE, target)
