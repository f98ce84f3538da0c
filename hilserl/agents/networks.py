"""The networks: image encoder, squashed-Gaussian actor, critic ensemble. Sizes come from the task spec."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.schema import Observation
from data.spec import ObservationSpec

LOG_STD_MIN = -5.0


class Encoder(nn.Module):
    """A small strided CNN; one instance serves every policy camera.

    Maps uint8 [..., H, W, 3] to float32 [..., 512], layer-normalised so that features may be cached in float16.
    """

    def __init__(self, size_px: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(3, 32, 5, stride=3), nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2), nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2), nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=1), nn.ReLU(),
        )  # fmt: skip
        with torch.no_grad():
            self.features = self.conv(torch.zeros(1, 3, size_px, size_px)).numel()
        self.norm = nn.LayerNorm(self.features)

    def forward(self, images: Tensor) -> Tensor:
        """Encode uint8 images [..., H, W, 3]; the first operation turns them into floats."""
        lead = images.shape[:-3]
        x = images.reshape(-1, *images.shape[-3:]).permute(0, 3, 1, 2).float() / 255.0 - 0.5
        return self.norm(self.conv(x).flatten(1)).reshape(*lead, -1)


class Head(nn.Module):
    """What actor and critics share in shape: image features squeezed to 64, joined with the normalised state."""

    def __init__(self, features: int, spec: ObservationSpec) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(nn.Linear(features, 64), nn.LayerNorm(64), nn.Tanh())
        low = np.concatenate([np.full(f.size, f.low) for f in spec.state])
        high = np.concatenate([np.full(f.size, f.high) for f in spec.state])
        self.register_buffer("centre", torch.tensor((high + low) / 2, dtype=torch.float32))
        self.register_buffer("half_range", torch.tensor((high - low) / 2, dtype=torch.float32))
        self.centre: Tensor
        self.half_range: Tensor
        self.size = 64 + spec.state_dim

    def forward(self, features: Tensor, state: Tensor) -> Tensor:
        """Join features [B, F] and raw state [B, D]."""
        normalised = ((state - self.centre) / self.half_range).clamp(-3.0, 3.0)
        return torch.cat((self.squeeze(features), normalised), -1)


class Actor(nn.Module):
    """Squashed Gaussian over actions [-1, 1]^A with a capped standard deviation."""

    def __init__(self, features: int, spec: ObservationSpec, action_dim: int, std_max: float) -> None:
        super().__init__()
        self.head = Head(features, spec)
        self.body = nn.Sequential(
            nn.Linear(self.head.size, 256), nn.LayerNorm(256), nn.ReLU(),
            nn.Linear(256, 256), nn.LayerNorm(256), nn.ReLU(),
        )  # fmt: skip
        self.mean = nn.Linear(256, action_dim)
        self.log_std = nn.Linear(256, action_dim)
        nn.init.zeros_(self.log_std.weight)
        nn.init.constant_(self.log_std.bias, float(np.log(std_max / 2)))
        self.log_std_max = float(np.log(std_max))

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean before squashing and the standard deviation, both [B, A]."""
        hidden = self.body(self.head(features, state))
        return self.mean(hidden), self.log_std(hidden).clamp(LOG_STD_MIN, self.log_std_max).exp()

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
    """N critics with layer norm, evaluated together. They share the squeeze of the image features."""

    def __init__(self, features: int, spec: ObservationSpec, action_dim: int, members: int) -> None:
        super().__init__()
        self.members = members
        self.head = Head(features, spec)
        self.first = EnsembleLinear(members, self.head.size + action_dim, 256)
        self.second = EnsembleLinear(members, 256, 256)
        self.value = EnsembleLinear(members, 256, 1)
        self.norm_first, self.norm_second = nn.LayerNorm(256), nn.LayerNorm(256)

    def forward(self, features: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Return Q [N, B]."""
        x = torch.cat((self.head(features, state), action), -1).expand(self.members, -1, -1)
        x = F.relu(self.norm_first(self.first(x)))
        x = F.relu(self.norm_second(self.second(x)))
        return self.value(x).squeeze(-1)


class Policy(nn.Module):
    """Encoder and actor: all that is needed to act. This is what checkpoints, actors and simulation share."""

    def __init__(self, spec: ObservationSpec, action_dim: int, std_max: float = 0.3) -> None:
        super().__init__()
        size = {c.size_px for c in spec.cameras if c.name in spec.policy_cameras}
        if len(size) != 1:
            raise ValueError(f"policy cameras must share one size; {spec.policy_cameras} have sizes {sorted(size)}")
        self.cameras = spec.policy_cameras
        self.encoder = Encoder(size.pop())
        self.features = self.encoder.features * len(self.cameras)
        self.actor = Actor(self.features, spec, action_dim, std_max)

    def encode(self, images: Tensor) -> Tensor:
        """Encode uint8 [B, C, H, W, 3], one image per policy camera, to [B, C·512]."""
        return self.encoder(images).flatten(-2)

    @torch.inference_mode()
    def act(self, observation: Observation, noise: torch.Generator | None = None) -> np.ndarray:
        """Return an action float32 [A]: a sample drawn with `noise`, else the mode."""
        images = torch.from_numpy(np.stack([observation.images[c] for c in self.cameras]))[None]
        mean, std = self.actor(self.encode(images), torch.from_numpy(observation.state)[None])
        if noise is not None:
            mean = mean + std * torch.randn(std.shape, generator=noise)
        action: np.ndarray = torch.tanh(mean)[0].numpy()
        return action
