"""Random shift: both ways of making it against padding and cropping."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.replay.shift import by_copy, by_index, shifted


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 4),
    stack=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    reach=st.integers(0, 12),
    seed=st.integers(0, 999),
)
def test_a_shift_is_padding_and_cropping(rows: int, stack: int, height: int, width: int, reach: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, 256, (5, height, width, 3), np.uint8)
    slots, offsets = rng.integers(0, 5, (rows, stack)), rng.integers(-reach, reach + 1, (rows, 2))
    padded = np.pad(pool, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    expected = np.stack(
        [
            padded[slots[i], reach + dy : reach + dy + height, reach + dx : reach + dx + width]
            for i, (dy, dx) in enumerate(offsets.tolist())
        ]
    )
    arguments = (torch.from_numpy(pool), torch.from_numpy(slots), torch.from_numpy(offsets))
    out = torch.full((rows, stack, height, width, 3), 7, dtype=torch.uint8)
    by_copy(*arguments, out)
    for found in (out, by_index(*arguments), shifted(*arguments)):
        assert found.dtype == torch.uint8 and np.array_equal(found.numpy(), expected)


def test_a_buffer_is_filled_in_place() -> None:
    pool = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8)
    slots, buffer = torch.tensor([[0, 1], [2, 3]]), torch.zeros((2, 2, 8, 8, 3), dtype=torch.uint8)
    for offsets in (torch.zeros((2, 2), dtype=torch.int64), torch.tensor([[1, -2], [0, 3]])):
        assert shifted(pool, slots, offsets, buffer) is buffer
        assert torch.equal(buffer, by_index(pool, slots, offsets))
