"""What training does to a frame, and nothing else does: shift, light, colour, noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """How far a training frame may be from the recorded one; each draw is uniform, for every image anew."""

    shift_px: int = 4  # random shift, border pixels repeated
    brightness: float = 0.25  # ± of the full range, added to the whole image
    contrast: float = 0.3  # ± around the image's mean
    colour: float = 0.2  # ± gain of each colour channel
    noise: float = 0.04  # up to this standard deviation, of the full range


def augment(images: dict[str, Tensor], how: Augmentation, generator: torch.Generator) -> dict[str, Tensor]:
    """Shift, re-light and add noise, each image on its own; uint8 [B, H, W, 3] in and out. Training only."""
    return {name: _augment_one(batch, how, generator) for name, batch in images.items()}


def _augment_one(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    count, height, width, _ = images.shape

    def uniform(amount: float, *shape: int) -> Tensor:
        return (torch.rand(count, *shape, generator=generator) * 2 - 1) * amount

    shift = torch.randint(-how.shift_px, how.shift_px + 1, (2, count, 1), generator=generator)
    rows = (torch.arange(height) + shift[0]).clamp(0, height - 1)  # clamping repeats the border pixels
    columns = (torch.arange(width) + shift[1]).clamp(0, width - 1)
    x = images[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]].float()
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    contrast, brightness = 1 + uniform(how.contrast, 1, 1, 1), 255 * uniform(how.brightness, 1, 1, 1)
    colour, noise = 1 + uniform(how.colour, 1, 1, 3), 255 * uniform(how.noise, 1, 1, 1)
    # ((x - mean) contrast + mean + brightness) colour, gathered into one multiplication and one addition
    x.mul_(contrast * colour).add_((mean * (1 - contrast) + brightness) * colour)
    x.add_(torch.randn(x.shape, generator=generator) * noise)
    return x.round_().clamp_(0, 255).to(torch.uint8)
