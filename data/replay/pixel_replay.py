"""Replay of images, shifted at random as they are drawn: what end-to-end training samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from data.errors import UserError
from data.replay.capacity import GIB, Column, Layout
from data.replay.ring import Ring
from data.replay.shift import shifted
from data.schema import Episode
from data.spec import TaskSpec


@dataclass(frozen=True)
class PixelReplayConfig:
    """How frames are kept and batches are made."""

    capacity_gib: float = 8.0  # memory; when it is full, the oldest policy steps leave it
    batch_size: int = 256  # half from demonstrations and interventions, half from online data
    stack: int = 1  # frames in an observation; the first one of an episode is repeated
    n_step: int = 1  # steps in a return
    discount: float = 0.97  # per step of a return
    shift_px: int = 4  # largest shift each way; 0 for none
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("stack", "n_step"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; accepted is 1 or more")


class PixelBatch(NamedTuple):
    """Transitions with images; B rows, stacks of S."""

    images: dict[str, Tensor]  # {camera: uint8 [B, S, H, W, 3]}, oldest first
    state: Tensor  # float [B, D], of the newest frame
    action: Tensor  # float [B, A], executed
    reward: Tensor  # float [B], discounted sum of n steps
    bootstrap: Tensor  # float [B], factor of the value of the next observation
    next_images: dict[str, Tensor]
    next_state: Tensor
    human: Tensor  # float [B]; 1 where a person chose the action


class PixelReplay:
    """The images of the policy's cameras in a `Ring`, on the CPU or a GPU."""

    def __init__(self, task: TaskSpec, config: PixelReplayConfig, device: str = "cpu") -> None:
        self._config = config
        self._layout = self.layout(task)
        self._cameras = task.observation.policy_cameras
        self.ring = Ring(
            self._layout,
            capacity_bytes=int(config.capacity_gib * GIB),
            stack=config.stack,
            n_step=config.n_step,
            discount=config.discount,
            seed=config.seed,
            device=device,
        )
        # On the CPU, batches are made in place: fresh memory would cost as much as filling it.
        self._buffers: dict[str, tuple[Tensor, Tensor]] = {}
        if device == "cpu":
            for camera in self._cameras:
                shape = (2, config.batch_size, config.stack, *self._layout.columns[camera].shape)
                now, later = torch.empty(shape, dtype=torch.uint8)
                self._buffers[camera] = (now, later)

    @staticmethod
    def layout(task: TaskSpec) -> Layout:
        """Return what a slot holds for this task; `Estimate.of` tells what that costs."""
        images = {
            c.name: Column((c.size_px, c.size_px, 3), torch.uint8)
            for c in task.observation.cameras
            if c.name in task.observation.policy_cameras
        }
        return Layout.of(images, task.observation.state_dim, len(task.action.names))

    def __len__(self) -> int:
        """Number of transitions."""
        return len(self.ring)

    def add(self, episode: Episode) -> None:
        """Append one episode; see `Ring.add`."""
        self.ring.add(episode, {c: torch.from_numpy(episode.images[c]) for c in self._cameras})

    def sample(self) -> PixelBatch:
        """Draw a batch. Its images are overwritten by the next call.

        The frames of a stack share one shift; every row, every camera, and the two ends of a step have their own.
        """
        config, drawn = self._config, self.ring.draw(self._config.batch_size)
        shape = (2, len(self._cameras), config.batch_size, 2)
        offsets = torch.randint(-config.shift_px, config.shift_px + 1, shape, generator=self.ring.generator)
        offsets = offsets.to(drawn.now.device)
        images, next_images = (
            {
                camera: shifted(self.ring[camera], slots, offsets[end, i], self._buffers.get(camera, (None, None))[end])
                for i, camera in enumerate(self._cameras)
            }
            for end, slots in enumerate((drawn.now, drawn.later))
        )
        step, end = drawn.now[:, -1], drawn.later[:, -1]
        return PixelBatch(
            images=images,
            state=self.ring["state"][step],
            action=self.ring["action"][step],
            reward=drawn.reward,
            bootstrap=drawn.bootstrap,
            next_images=next_images,
            next_state=self.ring["state"][end],
            human=self.ring["human"][step],
        )
