"""Replay of images: the right frames, shifted as they are drawn."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch

from data.errors import UserError
from data.replay.capacity import GIB
from data.replay.pixel_replay import PixelBatch, PixelReplay, PixelReplayConfig
from data.schema import Episode
from data.spec import TaskSpec

SIZE_PX = 12


@pytest.fixture(scope="module")
def task(made: ModuleType) -> TaskSpec:
    task = made.task(cameras=2, size_px=SIZE_PX, state_dim=2)
    both = {"policy_cameras": ("camera1", "camera0")}
    return TaskSpec(**(vars(task) | {"observation": type(task.observation)(**(vars(task.observation) | both))}))


def episodes(made: ModuleType, task: TaskSpec, count: int = 4) -> list[Episode]:
    """State tells the number of the episode and the step; pixel (y, x) shows y, x and the step."""
    found = []
    for number in range(count):
        episode = made.episode(task, number, 5 + number)
        t = np.arange(len(episode) + 1)
        state = np.stack((np.full_like(t, number), t), 1).astype(np.float32)
        y, x = np.mgrid[0:SIZE_PX, 0:SIZE_PX]
        images = np.stack([np.stack((y, x, np.full_like(y, 10 * number + s)), -1) for s in t]).astype(np.uint8)
        found.append(
            Episode(**(vars(episode) | {"state": state, "images": {c: images.copy() for c in episode.images}}))
        )
    return found


def filled(made: ModuleType, task: TaskSpec, **config) -> PixelReplay:
    replay = PixelReplay(task, PixelReplayConfig(**({"capacity_gib": 0.01, "batch_size": 64} | config)))
    for episode in episodes(made, task):
        replay.add(episode)
    return replay


def ends(batch: PixelBatch) -> list[tuple[dict[str, torch.Tensor], torch.Tensor]]:
    return [(batch.images, batch.state), (batch.next_images, batch.next_state)]


def offsets(images: torch.Tensor, shift_px: int) -> torch.Tensor:
    """Return dy, dx of every image [B, S, 2], read from the coordinates that its middle pixel shows."""
    return images[:, :, SIZE_PX // 2, SIZE_PX // 2, :2].int() - SIZE_PX // 2


@pytest.mark.parametrize(("stack", "n_step", "shift_px"), [(1, 1, 4), (3, 2, 2), (2, 1, 0)])
def test_images_state_and_action_of_a_row_belong_together(
    made: ModuleType, task: TaskSpec, stack: int, n_step: int, shift_px: int
) -> None:
    source = episodes(made, task)
    replay = filled(made, task, stack=stack, n_step=n_step, shift_px=shift_px)
    assert len(replay) == sum(len(e) for e in source)
    batch = replay.sample()
    for images, state in ends(batch):
        assert images.keys() == {"camera0", "camera1"}
        for stacked in images.values():
            assert stacked.shape == (64, stack, SIZE_PX, SIZE_PX, 3) and stacked.dtype == torch.uint8
            for i in range(stack):
                t = (state[:, 1] - (stack - 1 - i)).clamp(min=0)
                assert torch.equal(stacked[:, i, 0, 0, 2].float(), 10 * state[:, 0] + t)
    for row in range(64):
        episode, t = source[int(batch.state[row, 0])], int(batch.state[row, 1])
        assert batch.next_state[row].tolist() == [batch.state[row, 0], min(t + n_step, len(episode))]
        assert np.array_equal(batch.action[row].numpy(), episode.executed[t])
        rewards = episode.reward[t : t + n_step]
        discounts = np.float32(PixelReplayConfig.discount) ** np.arange(len(rewards) + 1)
        assert batch.reward[row].item() == pytest.approx(float(rewards @ discounts[:-1]))
        ended = episode.terminated[t : t + n_step].any()
        assert batch.bootstrap[row].item() == pytest.approx(0.0 if ended else discounts[-1])


def test_a_stack_shares_one_shift_and_everything_else_has_its_own(made: ModuleType, task: TaskSpec) -> None:
    batch = filled(made, task, stack=3, shift_px=4, batch_size=400).sample()
    found = {(c, i): offsets(images[c], 4) for i, (images, _) in enumerate(ends(batch)) for c in images}
    for moves in found.values():
        assert torch.equal(moves, moves[:, :1].expand_as(moves))
        for axis in range(2):
            assert set(moves[:, 0, axis].tolist()) == set(range(-4, 5))
        assert (moves[:, 0, 0] != moves[:, 0, 1]).any()
    pairs = [(a, b) for a in found for b in found if a < b]
    assert len(pairs) == 6 and all((found[a] != found[b]).any() for a, b in pairs)


@pytest.mark.parametrize("field", ["stack", "n_step"])
def test_fewer_than_one_frame_or_step_is_refused(field: str) -> None:
    with pytest.raises(UserError, match=f"{field} is 0; accepted is 1 or more"):
        PixelReplayConfig(**{field: 0})


def test_two_batches_of_one_step_differ_by_their_shift(made: ModuleType, task: TaskSpec) -> None:
    def two(shift_px: int) -> tuple[torch.Tensor, torch.Tensor]:
        replay = PixelReplay(task, PixelReplayConfig(capacity_gib=0.01, batch_size=8, shift_px=shift_px))
        replay.add(made.episode(task, 0, 1))
        return replay.sample().images["camera0"].clone(), replay.sample().images["camera0"].clone()

    assert torch.equal(*two(0))
    assert not torch.equal(*two(2))


def test_same_seed_same_batches(made: ModuleType, task: TaskSpec) -> None:
    one, same, other = (filled(made, task, seed=seed) for seed in (0, 0, 1))
    for _ in range(3):
        a, b, c = (r.sample() for r in (one, same, other))
        assert torch.equal(a.images["camera0"], b.images["camera0"]) and torch.equal(a.state, b.state)
        assert not torch.equal(a.state, c.state)


def test_the_oldest_policy_steps_leave_a_full_replay(made: ModuleType, task: TaskSpec) -> None:
    slot_bytes = PixelReplay.layout(task).slot_bytes
    replay = PixelReplay(task, PixelReplayConfig(capacity_gib=20 * slot_bytes / GIB, batch_size=200))
    for episode in episodes(made, task):  # 6, 7, 8 and 9 frames
        replay.add(Episode(**(vars(episode) | {"source": np.zeros(len(episode), np.uint8)})))
    assert len(replay) == 8 + 7 + 2  # beside two whole episodes, three frames are left for the end of the second
    steps = {tuple(row) for row in replay.sample().state.int().tolist()}
    assert {step for step in steps if step[0] < 2} == {(1, 4), (1, 5)}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_batches(made: ModuleType, task: TaskSpec) -> None:
    config = PixelReplayConfig(capacity_gib=0.01, batch_size=32, stack=2, n_step=2)
    host, device = PixelReplay(task, config), PixelReplay(task, config, "cuda")
    for episode in episodes(made, task):
        host.add(episode)
        device.add(episode)
    a, b = host.sample(), device.sample()
    assert all(torch.equal(a.images[c], b.images[c].cpu()) for c in a.images)
    assert torch.equal(a.next_state, b.next_state.cpu()) and torch.equal(a.bootstrap, b.bootstrap.cpu())
