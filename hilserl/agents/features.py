"""The replay that the learner samples: features of every stored frame, encoded once, plus shifted copies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.replay.capacity import GIB, Column, Layout
from data.replay.ring import Ring
from data.replay.shift import shifted
from data.schema import Episode
from hilserl.agents.networks import Policy, frame_of
from hilserl.agents.sac import Batch


@dataclass(frozen=True)
class ReplayConfig:
    """How frames are cached and batches are made."""

    copies: int = 3  # shifted copies encoded beside each original; what keeps augmentation in a cache
    shift_px: int = 4
    batch_size: int = 256  # half from demonstrations and interventions, half from online data
    capacity_gib: float = 4.0  # memory, used as it fills; when it is full, the oldest policy steps leave it
    seed: int = 0


class FeatureReplay:
    """A `Ring` of float16 features [copies + 1, F]; pixels stay on disk, in the store."""

    def __init__(self, policy: Policy, config: ReplayConfig) -> None:
        self._policy, self._config = policy, config
        self._frames = Ring(
            feature_layout(policy, config), capacity_bytes=int(config.capacity_gib * GIB), seed=config.seed
        )
        self.episodes = 0

    def __len__(self) -> int:
        """Number of transitions."""
        return len(self._frames)

    @property
    def demonstrations(self) -> int:
        """Number of transitions in the half of demonstrations and interventions."""
        return self._frames.demonstrations

    def add(self, episode: Episode) -> None:
        """Encode and append one episode; its shifts depend only on the seed and its place in the order.

        Raises:
            UserError: the capacity is full of demonstrations and interventions.
        """
        images = stacks(episode, self._policy.cameras, self._policy.config.stack)
        rng = np.random.default_rng([self._config.seed, self.episodes])
        features = encode_copies(self._policy, images, self._config.copies, self._config.shift_px, rng)
        self._frames.add(episode, {"features": features})
        self.episodes += 1

    def sample(self) -> Batch:
        """Draw a batch of one-step transitions; see `Ring.draw` for its halves."""
        drawn, frames = self._frames.draw(self._config.batch_size), self._frames
        now, later = drawn.now[:, 0], drawn.later[:, 0]
        copy = torch.randint(self._config.copies + 1, (2, len(now)), generator=frames.generator)
        return Batch(
            features=frames["features"][now, copy[0]].float(),
            state=frames["state"][now],
            action=frames["action"][now],
            reward=drawn.reward,
            discount_mask=drawn.bootstrap,
            next_features=frames["features"][later, copy[1]].float(),
            next_state=frames["state"][later],
            human=frames["human"][now],
        )

    def rng_state(self) -> Tensor:
        """Return the sampling generator's state, for checkpoints."""
        return self._frames.rng_state()

    def set_rng_state(self, state: Tensor) -> None:
        """Restore what `rng_state` returned."""
        self._frames.set_rng_state(state)


def feature_layout(policy: Policy, config: ReplayConfig) -> Layout:
    """Return what the replay keeps of each frame; `Estimate.of` tells what that costs."""
    features = Column((config.copies + 1, policy.features), torch.float16)
    return Layout.of({"features": features}, policy.actor.head.centre.numel(), policy.actor.mean.out_features)


@torch.no_grad()
def encode_copies(policy: Policy, images: Tensor, copies: int, shift_px: int, rng: np.random.Generator) -> Tensor:
    """Encode uint8 images [T, C, S, H, W, 3] and `copies` shifted versions to float16 [T, copies + 1, F].

    S may be left out when it is 1.
    """
    versions = [policy.encode(images)]
    versions += [policy.encode(random_shift(images, shift_px, rng)) for _ in range(copies)]
    return torch.stack(versions, 1).half()


def stacks(episode: Episode, cameras: tuple[str, ...], size: int) -> Tensor:
    """Return the frame stacks of an episode, uint8 [T+1, C, S, H, W, 3], oldest first; the first frame is repeated."""
    if not cameras:
        return torch.empty((len(episode) + 1, 0, size, 0, 0, 3), dtype=torch.uint8)
    frame = np.arange(len(episode) + 1)[:, None] + np.arange(1 - size, 1)
    return torch.from_numpy(frame_of(episode.images, cameras)[:, frame.clip(0)].swapaxes(0, 1))


def random_shift(images: Tensor, shift_px: int, rng: np.random.Generator) -> Tensor:
    """Shift uint8 images [T, C, H, W, 3] or stacks [T, C, S, H, W, 3] by up to `shift_px`, edges replicated.

    Every row and camera has its own offset; the frames of a stack share it.
    """
    if not images.shape[1]:
        return images
    pool = images.flatten(0, -4)
    slots = torch.arange(len(pool)).reshape(images.shape[0] * images.shape[1], -1)
    offsets = torch.from_numpy(rng.integers(-shift_px, shift_px + 1, (2, len(slots)))).T
    return shifted(pool, slots, offsets).reshape(images.shape)
