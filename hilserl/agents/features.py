"""The replay that the learner samples: features of every stored frame, encoded once, plus shifted copies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.schema import Episode, Outcome, Source
from hilserl.agents.networks import Policy
from hilserl.agents.sac import Batch


@dataclass(frozen=True)
class ReplayConfig:
    """How frames are cached and batches are made."""

    copies: int = 3  # shifted copies encoded beside each original; what keeps augmentation in a cache
    shift_px: int = 4
    batch_size: int = 256  # half from demonstrations and interventions, half from everything
    seed: int = 0


class FeatureReplay:
    """Whole episodes laid end to end; transition i goes from frame f to frame f+1 of the same episode.

    Frames are kept as float16 features [copies + 1, F]; pixels stay on disk, in the store.
    """

    def __init__(self, policy: Policy, config: ReplayConfig) -> None:
        self._policy, self._config = policy, config
        self._generator = torch.Generator().manual_seed(config.seed)
        self._frames = _Growing()  # features and state, T+1 rows per episode
        self._steps = _Growing()  # T rows per episode
        self._demos: np.ndarray = np.empty(0, np.int64)
        self.episodes = 0

    def __len__(self) -> int:
        """Number of transitions."""
        return len(self._steps)

    @property
    def demonstrations(self) -> int:
        """Number of transitions in the half that holds human steps and successful untouched episodes."""
        return len(self._demos)

    def add(self, episode: Episode) -> None:
        """Encode and append one episode; its shifts depend only on the seed and its place in the order."""
        images = torch.from_numpy(np.stack([episode.images[c] for c in self._policy.cameras], 1))
        rng = np.random.default_rng([self._config.seed, self.episodes])
        first_frame, first_step, length = len(self._frames), len(self._steps), len(episode)
        self._frames.append(
            features=encode_copies(self._policy, images, self._config.copies, self._config.shift_px, rng),
            state=torch.from_numpy(episode.state),
        )
        human = episode.source == Source.HUMAN
        self._steps.append(
            frame=torch.arange(first_frame, first_frame + length),
            action=torch.from_numpy(episode.executed),
            reward=torch.from_numpy(episode.reward),
            mask=torch.from_numpy(1.0 - episode.terminated.astype(np.float32)),
            human=torch.from_numpy(human.astype(np.float32)),
        )
        untouched_success = episode.meta.outcome is Outcome.SUCCESS and not human.any()
        shown = np.ones(length, bool) if untouched_success and episode.meta.kind == "baseline" else human
        self._demos = np.concatenate((self._demos, first_step + np.flatnonzero(shown)))
        self.episodes += 1

    def sample(self) -> Batch:
        """Draw a batch: exactly half from demonstrations when there are any, the rest from everything."""
        half = self._config.batch_size // 2 if len(self._demos) else 0
        anywhere = torch.randint(len(self), (self._config.batch_size - half,), generator=self._generator)
        if half:
            chosen = torch.randint(len(self._demos), (half,), generator=self._generator)
            anywhere = torch.cat((torch.from_numpy(self._demos)[chosen], anywhere))
        steps, frames = self._steps, self._frames
        frame = steps["frame"][anywhere]
        copy = torch.randint(self._config.copies + 1, (2, len(anywhere)), generator=self._generator)
        return Batch(
            features=frames["features"][frame, copy[0]].float(),
            state=frames["state"][frame],
            action=steps["action"][anywhere],
            reward=steps["reward"][anywhere],
            discount_mask=steps["mask"][anywhere],
            next_features=frames["features"][frame + 1, copy[1]].float(),
            next_state=frames["state"][frame + 1],
            human=steps["human"][anywhere],
        )

    def rng_state(self) -> Tensor:
        """Return the sampling generator's state, for checkpoints."""
        return self._generator.get_state()

    def set_rng_state(self, state: Tensor) -> None:
        """Restore what `rng_state` returned."""
        self._generator.set_state(state)


@torch.no_grad()
def encode_copies(policy: Policy, images: Tensor, copies: int, shift_px: int, rng: np.random.Generator) -> Tensor:
    """Encode uint8 images [T, C, H, W, 3] and `copies` shifted versions to float16 [T, copies + 1, F]."""
    versions = [policy.encode(images)]
    versions += [policy.encode(random_shift(images, shift_px, rng)) for _ in range(copies)]
    return torch.stack(versions, 1).half()


def random_shift(images: Tensor, shift_px: int, rng: np.random.Generator) -> Tensor:
    """Shift uint8 images [T, C, H, W, 3] by up to `shift_px`, edges replicated; own offset per frame and camera."""
    t, c, h, w, _ = images.shape
    offsets = torch.from_numpy(rng.integers(-shift_px, shift_px + 1, (2, t * c)))
    rows = (offsets[0][:, None] + torch.arange(h)).clamp(0, h - 1)  # clamping is edge replication
    columns = (offsets[1][:, None] + torch.arange(w)).clamp(0, w - 1)
    index = torch.arange(t * c)[:, None, None]
    return images.reshape(t * c, h, w, 3)[index, rows[:, :, None], columns[:, None, :]].reshape(images.shape)


class _Growing:
    """Named tensors that grow along dimension 0 by doubling."""

    def __init__(self) -> None:
        self._rows = 0
        self._tensors: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def append(self, **rows: Tensor) -> None:
        count = len(next(iter(rows.values())))
        for name, value in rows.items():
            held = self._tensors.get(name)
            capacity = 0 if held is None else len(held)
            if self._rows + count > capacity:
                grown = value.new_zeros((max(2 * capacity, self._rows + count, 1024), *value.shape[1:]))
                if held is not None:
                    grown[: self._rows] = held[: self._rows]
                self._tensors[name] = held = grown
            assert held is not None
            held[self._rows : self._rows + count] = value
        self._rows += count
