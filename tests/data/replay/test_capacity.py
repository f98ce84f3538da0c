"""What a replay memory costs, said before it is made."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UserError
from data.replay import capacity
from data.replay.capacity import GIB, Column, Estimate, Layout

IMAGES = {name: Column((128, 128, 3), torch.uint8) for name in ("wrist", "front")}


def test_two_cameras_cost_less_than_a_hundred_kib_a_step() -> None:
    layout = Layout.of(IMAGES, state_dim=20, action_dim=4)
    assert layout.slot_bytes == 2 * 49152 + 4 * (20 + 4 + 1) + capacity.BOOKKEEPING_BYTES
    estimate = Estimate.of(layout, 8 * GIB, episode_steps=100, planned_steps=50_000)
    assert 96 < estimate.step_bytes / 1024 < 100
    assert estimate.steps == int(8 * GIB / estimate.step_bytes) and estimate.fits
    assert "8.0 GiB hold 86" in str(estimate) and "50000 steps need 4.6" in str(estimate)


@given(state=st.integers(1, 30), steps=st.integers(1, 200), episodes=st.integers(1, 50))
def test_the_steps_that_are_said_to_fit_have_their_slots(state: int, steps: int, episodes: int) -> None:
    layout = Layout.of({}, state, 4)
    needed = episodes * (steps + 1) * layout.slot_bytes
    assert abs(Estimate.of(layout, needed, steps, 0).steps - episodes * steps) <= 1
    assert layout.slots(needed) == episodes * (steps + 1)
    assert layout.slots(needed - 1) == episodes * (steps + 1) - 1


def test_a_plan_that_does_not_fit_says_what_happens_and_what_to_set() -> None:
    layout = Layout.of(IMAGES, 20, 4)
    estimate = Estimate.of(layout, 2 * GIB, 100, planned_steps=50_000)
    assert not estimate.fits
    assert "oldest policy steps" in str(estimate)
    assert "capacity_gib=4.7" in str(estimate)
    assert Estimate.of(layout, int(4.7 * GIB), 100, 50_000).fits


def test_memory_that_the_machine_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "available_bytes", lambda device: 3 * GIB)
    layout = Layout.of(IMAGES, 20, 4)
    with pytest.raises(UserError, match=r"would use 4\.6 GiB, cpu has 3\.0 GiB free(.|\n)*up to 3\.0"):
        Estimate.of(layout, 8 * GIB, 100, 50_000).require_memory()
    Estimate.of(layout, 8 * GIB, 100, 20_000).require_memory()  # only what is filled is used
    with pytest.raises(UserError, match=r"would use 8\.0 GiB, cuda"):  # a GPU reserves all of it at once
        Estimate.of(layout, 8 * GIB, 100, 20_000).require_memory("cuda")
    monkeypatch.setattr(capacity, "available_bytes", lambda device: None)
    Estimate.of(layout, 8 * GIB, 100, 50_000).require_memory()


def test_free_memory_is_read_from_the_system() -> None:
    free = capacity.available_bytes()
    assert free is not None and 2**20 < free < 2**50


@pytest.mark.parametrize("device", ["gpu", "mps", "cuda:77"])
def test_a_device_that_is_not_there_is_refused_by_name(device: str) -> None:
    with pytest.raises(UserError, match=rf"{device}'.*\nAccepted here is: cpu"):
        capacity.available_bytes(device)
