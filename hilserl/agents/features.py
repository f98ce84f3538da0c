"""The replay that the learner samples: features of every stored frame, encoded once, plus shifted copies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.errors import UserError
from data.replay.capacity import GIB, Column, Layout
from data.replay.ring import Ring
from data.replay.shift import shifted
from data.schema import Episode
from hilserl.agents.networks import Policy, frame_of
from hilserl.agents.sac import Batch

ROWS = 8  # frames that are encoded together


@dataclass(frozen=True)
class ReplayConfig:
    """How frames are cached and batches are made."""

    copies: int = 3  # shifted copies encoded beside each original; what keeps augmentation in a cache
    shift_px: int = 4
    batch_size: int = 256  # half from demonstrations and interventions, half from online data
    n_step: int = 1  # steps in a return
    capacity_gib: float = 4.0  # memory, used as it fills; when it is full, the oldest policy steps leave it
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_step < 1:
            raise UserError(f"n_step is {self.n_step}; accepted is 1 or more")


class FeatureReplay:
    """A `Ring` of float16 features [copies + 1, F]; pixels stay on disk, in the store.

    The features are those of one encoder: `add` and `sample` refuse to go on with a policy whose encoder has changed,
    until `refresh` has encoded everything again.
    """

    def __init__(
        self, policy: Policy, config: ReplayConfig, discount: float | None = None, device: str = "cpu"
    ) -> None:
        """Make an empty replay.

        Args:
            policy: its encoder makes the features.
            config: sizes.
            discount: the agent's, per step; needed when a return has several.
            device: where the features lie and the batches come from; that of the agent.

        Raises:
            ValueError: it has several, and there is no discount.
        """
        if config.n_step == 1:
            discount = 1.0  # the agent's own is all there is to it
        if discount is None:
            raise ValueError(f"returns over {config.n_step} steps need the discount of the agent that samples them")
        self._policy, self._config, self._discount, self._device = policy, config, discount, device
        self._frames = Ring(
            feature_layout(policy, config),
            capacity_bytes=int(config.capacity_gib * GIB),
            n_step=config.n_step,
            discount=self._discount,
            seed=config.seed,
            device=device,
        )
        self.episodes = 0
        self.encoder_hash = ""  # of the encoder that made the features
        self._probe = probe(policy)  # of its weights

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
            ValueError: the encoder has changed.
        """
        self._require_same_encoder()
        images = stacks(episode, self._policy.cameras, self._policy.config.stack)
        rng = np.random.default_rng([self._config.seed, self.episodes])
        features = encode_copies(self._policy, images, self._config.copies, self._config.shift_px, rng)
        self._frames.add(episode, {"features": features})
        self.episodes += 1

    def sample(self) -> Batch:
        """Draw a batch; see `Ring.draw` for its halves.

        With n steps, `reward` is their discounted sum, and the next observation the one after them.

        Raises:
            ValueError: the replay is empty, or the encoder has changed.
        """
        if not torch.equal(self._probe, probe(self._policy)):
            self._require_same_encoder()
        drawn, frames = self._frames.draw(self._config.batch_size), self._frames
        now, later = drawn.now[:, 0], drawn.later[:, 0]
        copy = torch.randint(self._config.copies + 1, (2, len(now)), generator=frames.generator).to(self._device)
        return Batch(
            features=self._features(now, copy[0]),
            state=frames["state"][now],
            action=frames["action"][now],
            reward=drawn.reward,
            discount_mask=drawn.bootstrap / self._discount,  # the agent discounts once more
            next_features=self._features(later, copy[1]),
            next_state=frames["state"][later],
            human=frames["human"][now],
        )

    def refresh(self, policy: Policy, episodes: Iterable[Episode]) -> Iterator[int]:
        """Encode everything again after the encoder has changed, one episode per step of the iteration.

        A learner does whatever is due between the steps. If `policy` is a copy with the new encoder, `add` and
        `sample` meanwhile go on with the old features; when the iteration ends, the new ones replace all of them. Until
        then there is memory for both.

        Args:
            policy: its encoder makes the features from now on.
            episodes: everything that was added, in that order, from the store. The next one is taken when the last
                one is encoded, so an iterator may come to those that are added meanwhile.

        Yields:
            How many episodes are encoded.

        Raises:
            ValueError: `episodes` are not as many as were added, or the encoder changes again meanwhile.
        """
        fresh = FeatureReplay(policy, self._config, self._discount, self._device)
        for episode in episodes:
            fresh.add(episode)
            yield fresh.episodes
        if fresh.episodes != self.episodes:
            raise ValueError(f"refreshed {fresh.episodes} episodes, but {self.episodes} were added")
        fresh.set_rng_state(self.rng_state())
        self._policy, self._frames = policy, fresh._frames
        self.encoder_hash, self._probe = fresh.encoder_hash, fresh._probe

    def rng_state(self) -> Tensor:
        """Return the sampling generator's state, for checkpoints."""
        return self._frames.rng_state()

    def set_rng_state(self, state: Tensor) -> None:
        """Restore what `rng_state` returned."""
        self._frames.set_rng_state(state)

    def _features(self, frame: Tensor, copy: Tensor) -> Tensor:
        """Return one version of each frame, float [B, F]."""
        versions = self._frames["features"]
        return versions.flatten(0, 1).index_select(0, frame * versions.shape[1] + copy).float()

    def _require_same_encoder(self) -> None:
        found = self._policy.encoder_hash()
        if self.episodes and found != self.encoder_hash:
            raise ValueError(
                f"the features are those of encoder {self.encoder_hash}, the policy now has {found}: "
                "`FeatureReplay.refresh` encodes the episodes again"
            )
        self.encoder_hash, self._probe = found, probe(self._policy)


def probe(policy: Policy) -> Tensor:
    """Return a few values of every weight of the encoder: whatever trains or loads it changes some of them.

    A hash of all of them takes too long for every batch; a tensor's version misses the steps of a fused optimiser.
    """
    weights = (*policy.encoder.parameters(), *policy.encoder.buffers())
    few = [w.detach().flatten()[:: w.numel() // 4 + 1].float() for w in weights]
    return torch.cat(few) if few else torch.empty(0)


def feature_layout(policy: Policy, config: ReplayConfig) -> Layout:
    """Return what the replay keeps of each frame; `Estimate.of` tells what that costs."""
    features = Column((config.copies + 1, policy.features), torch.float16)
    return Layout.of({"features": features}, policy.actor.head.centre.numel(), policy.actor.mean.out_features)


@torch.no_grad()
def encode_copies(policy: Policy, images: Tensor, copies: int, shift_px: int, rng: np.random.Generator) -> Tensor:
    """Encode uint8 images [T, C, S, H, W, 3] and `copies` shifted versions to float16 [T, copies + 1, F].

    S may be left out when it is 1. The features are where the encoder is.
    """
    device = next(policy.encoder.parameters(), images).device
    versions = [images, *(random_shift(images, shift_px, rng) for _ in range(copies))]
    # a few rows at a time: the activations of a whole episode would need gigabytes, and leave the processor's cache
    encoded = [torch.cat([policy.encode(rows.to(device)).half() for rows in v.split(ROWS)]) for v in versions]
    return torch.stack(encoded, 1)


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
