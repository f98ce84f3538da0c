"""The networks: image encoder, squashed-Gaussian actor, critic ensemble. Sizes come from task spec and config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from classifier.encoders import (
    EncoderConfig,
    SpatialLinear,
    encoder_hash,
    for_camera,
    make_encoder,
    orthogonal_,
)
from data.errors import UserError
from data.schema import Observation
from data.spec import ObservationSpec

LOG_STD_MIN = -5.0


@dataclass(frozen=True)
class NetworkConfig(EncoderConfig):
    """Shape of the networks; a checkpoint keeps it beside the weights."""

    squeeze: int = 64  # what image features are reduced to, in the actor and in the critics
    hidden: int = 256  # width of the two hidden layers
    layer_norm: bool = True  # in the hidden layers
    std_max: float = 0.3  # cap of the standard deviation before squashing

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("squeeze", "hidden"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; accepted is 1 or more")
        if not self.std_max > 0:
            raise UserError(f"std_max is {self.std_max}; accepted is more than 0")


class Head(nn.Module):
    """What actor and critics share in shape: image features pooled and squeezed, joined with the normalised state."""

    def __init__(self, features: int, spec: ObservationSpec, config: NetworkConfig) -> None:
        super().__init__()
        squeeze = config.squeeze if features else 0
        layers: list[nn.Module] = []
        if features and config.pooling == "spatial":
            channels = config.channels * len(spec.policy_cameras)
            layers = [SpatialLinear(channels, features // channels, squeeze), nn.LayerNorm(squeeze), nn.Tanh()]
        elif features:
            layers = [nn.Linear(features, squeeze), nn.LayerNorm(squeeze), nn.Tanh()]
        self.squeeze, self._bf16 = nn.Sequential(*layers), config.bf16
        low = np.concatenate([np.full(f.size, f.low) for f in spec.state])
        high = np.concatenate([np.full(f.size, f.high) for f in spec.state])
        self.register_buffer("centre", torch.tensor((high + low) / 2, dtype=torch.float32))
        self.register_buffer("half_range", torch.tensor((high - low) / 2, dtype=torch.float32))
        self.centre: Tensor
        self.half_range: Tensor
        self.size = squeeze + spec.state_dim

    def forward(self, features: Tensor, state: Tensor) -> Tensor:
        """Join features [B, F] and raw state [B, D]; without features it is the state alone."""
        normalised = ((state - self.centre) / self.half_range).clamp(-3.0, 3.0)
        return torch.cat((self._squeezed(features), normalised), -1) if features.shape[-1] else normalised

    def _squeezed(self, features: Tensor) -> Tensor:
        if not self._bf16:
            return self.squeeze(features)
        with torch.autocast(features.device.type, torch.bfloat16):
            x = self.squeeze[0](features)
        return self.squeeze[1:](x.float())


class Actor(nn.Module):
    """Squashed Gaussian over actions [-1, 1]^A with a capped standard deviation."""

    def __init__(self, features: int, spec: ObservationSpec, action_dim: int, config: NetworkConfig) -> None:
        super().__init__()
        self.head, width = Head(features, spec, config), config.hidden
        self.body = hidden_layers(self.head.size, config)
        self.mean = nn.Linear(width, action_dim)
        self.log_std = nn.Linear(width, action_dim)
        if config.encoder == "drqv2":
            orthogonal_(self)
        nn.init.zeros_(self.log_std.weight)
        nn.init.constant_(self.log_std.bias, float(np.log(config.std_max / 2)))
        self.log_std_max = float(np.log(config.std_max))

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean before squashing and the standard deviation, both [B, A]."""
        hidden = self.body(self.head(features, state))
        return self.mean(hidden), self.log_std(hidden).clamp(LOG_STD_MIN, self.log_std_max).exp()

    def mode(self, features: Tensor, state: Tensor) -> Tensor:
        """Return the greedy action [B, A]."""
        return torch.tanh(self.mean(self.body(self.head(features, state))).float())

    def sample(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return a reparametrised action [B, A], its per-dimension log-density [B, A] and the mode [B, A]."""
        mean, std = self(features, state)
        raw = mean + std * torch.randn_like(std)
        normal = -0.5 * ((raw - mean) / std) ** 2 - std.log() - 0.9189385
        squash = 2.0 * (0.6931472 - raw - F.softplus(-2.0 * raw))  # log of the derivative of tanh
        return torch.tanh(raw), normal - squash, torch.tanh(mean)


class EnsembleLinear(nn.Module):
    """N independent linear layers as one batched product."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, B, inputs] to [N, B, outputs]."""
        return torch.baddbmm(self.bias, x, self.weight)


class CriticEnsemble(nn.Module):
    """N critics, evaluated together. They share the squeeze of the image features."""

    def __init__(
        self, features: int, spec: ObservationSpec, action_dim: int, members: int, config: NetworkConfig | None = None
    ) -> None:
        super().__init__()
        config = config or NetworkConfig()
        self.members, width = members, config.hidden
        self.head = Head(features, spec, config)
        self.first = EnsembleLinear(members, self.head.size + action_dim, width)
        self.second = EnsembleLinear(members, width, width)
        self.value = EnsembleLinear(members, width, 1)
        self.norm_first, self.norm_second = norm_of(config), norm_of(config)
        if config.encoder == "drqv2":
            orthogonal_(self)
            for weight in (w for layer in (self.first, self.second, self.value) for w in layer.weight.data):
                nn.init.orthogonal_(weight)

    def forward(self, features: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Return Q [N, B]."""
        x = torch.cat((self.head(features, state), action), -1).expand(self.members, -1, -1)
        x = F.relu(self.norm_first(self.first(x)))
        x = F.relu(self.norm_second(self.second(x)))
        with torch.autocast(x.device.type, enabled=False):  # values in bfloat16 would be 0.4 % apart
            return self.value(x.float()).squeeze(-1)


class Policy(nn.Module):
    """Encoder and actor: all that is needed to act. This is what checkpoints, actors and simulation share.

    A policy of stacked frames remembers the last ones: say `begin` before every episode, and let it `see` each
    observation that it does not `act` on.
    """

    def __init__(self, spec: ObservationSpec, action_dim: int, config: NetworkConfig | None = None) -> None:
        """Make a policy with random weights; one without policy cameras has no encoder and 0 features.

        Raises:
            ValueError: the policy's cameras differ in size.
        """
        super().__init__()
        self.config = config or NetworkConfig()
        self.cameras = spec.policy_cameras
        size = {c.size_px for c in spec.cameras if c.name in spec.policy_cameras}
        if len(size) > 1 or (self.cameras and not size):
            raise ValueError(f"policy cameras must share one size; {spec.policy_cameras} have sizes {sorted(size)}")
        eyes = make_encoder(size.pop(), self.config, len(self.cameras)) if self.cameras else None
        self.encoder: nn.Module = eyes or nn.Identity()
        self.features = eyes.features * len(self.cameras) if eyes else 0
        self.actor = Actor(self.features, spec, action_dim, self.config)
        self._frames = FrameStack(self.config.stack)

    def encode(self, images: Tensor) -> Tensor:
        """Encode uint8 [B, C, S, H, W, 3] (or [B, C, H, W, 3] when S is 1) of C policy cameras to [B, C·F]."""
        if not self.cameras:
            return torch.zeros((len(images), 0), device=images.device)
        return self.encoder(images if images.ndim == 6 else images.unsqueeze(2)).flatten(-2)

    def encode_batch(self, images: Mapping[str, Tensor], encoder: nn.Module | None = None) -> Tensor:
        """Encode {camera: uint8 [B, S, H, W, 3]}, the images of a `PixelBatch`, to [B, C·F].

        `encoder` is the policy's own, or one that was copied from it before.
        """
        encoder = encoder or self.encoder
        parts = [for_camera(encoder, i)(images[c]) for i, c in enumerate(self.cameras)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def encoder_hash(self) -> str:
        """Return what identifies the features that `encode` makes; see `encoders.encoder_hash`."""
        return encoder_hash(self.encoder, self.config)

    @torch.inference_mode()
    def choose(
        self, images: Tensor, state: Tensor, noise: torch.Generator | None = None, std: float | None = None
    ) -> Tensor:
        """Return actions float32 [B, A] for images uint8 [B, C, S, H, W, 3] and states float32 [B, D].

        Args:
            images, state: on the policy's device.
            noise: a CPU generator to sample with; None for the mode.
            std: what is sampled is the mode plus noise of this size, clipped (DrQ-v2); None for the actor's Gaussian.
        """
        mean, own_std = self.actor(self.encode(images), state)
        if noise is None:
            return torch.tanh(mean)
        normal = torch.randn(mean.shape, generator=noise).to(mean.device)
        if std is None:
            return torch.tanh(mean + own_std * normal)
        return (torch.tanh(mean) + std * normal).clamp(-1.0, 1.0)

    def begin(self) -> None:
        """Forget the frames of the last episode."""
        self._frames.begin()

    def see(self, observation: Observation) -> np.ndarray:
        """Take in the frame of an observation; return the newest stack of each camera, uint8 [C, S, H, W, 3]."""
        return self._frames.add(frame_of(observation.images, self.cameras))

    def act(
        self, observation: Observation, noise: torch.Generator | None = None, std: float | None = None
    ) -> np.ndarray:
        """See an observation and return an action float32 [A]; `noise` and `std` are those of `choose`."""
        device = self.actor.mean.weight.device
        images = torch.from_numpy(self.see(observation))[None].to(device)
        state = torch.from_numpy(observation.state)[None].to(device)
        return np.asarray(self.choose(images, state, noise, std)[0].cpu())


class FrameStack:
    """The last frames of an episode, its first one repeated until there are enough."""

    def __init__(self, size: int) -> None:
        self._size, self._frames = size, list[np.ndarray]()

    def begin(self) -> None:
        """Forget all frames."""
        self._frames = []

    def add(self, frame: np.ndarray) -> np.ndarray:
        """Take in a frame [C, H, W, 3]; return [C, S, H, W, 3], oldest first."""
        self._frames = [*(self._frames or [frame] * self._size), frame][-self._size :]
        return np.stack(self._frames, 1)


def frame_of(images: Mapping[str, np.ndarray], cameras: tuple[str, ...]) -> np.ndarray:
    """Stack images [..., H, W, 3] of the cameras to [C, ..., H, W, 3]; uint8 [0, 0, 0, 3] without cameras."""
    return np.stack([images[c] for c in cameras]) if cameras else np.empty((0, 0, 0, 3), np.uint8)


def hidden_layers(inputs: int, config: NetworkConfig) -> nn.Sequential:
    """Return the two hidden layers between a head and its outputs."""
    width = config.hidden
    return nn.Sequential(
        nn.Linear(inputs, width), norm_of(config), nn.ReLU(),
        nn.Linear(width, width), norm_of(config), nn.ReLU(),
    )  # fmt: skip


def norm_of(config: NetworkConfig) -> nn.Module:
    """Return what stands between a hidden layer and its ReLU."""
    return nn.LayerNorm(config.hidden) if config.layer_norm else nn.Identity()
