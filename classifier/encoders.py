"""Image encoders behind one interface: uint8 images in, features out; their choice, starting weights and identity.

An encoder is a trunk of convolutions, a pooling without weights, and a layer norm, so that its features may be cached
in float16. Pooling that is learned comes after the cache, in the heads of actor and critics (`SpatialLinear`): there
a gradient reaches it, also while the encoder is frozen.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.errors import UserError

CONVOLUTIONS = {  # (kernel, stride) of each convolution to 32 channels
    "strided": ((5, 3), (3, 2), (3, 2), (3, 1)),
    "drqv2": ((3, 2), (3, 1), (3, 1), (3, 1)),
}
RESNETS = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2)}  # basic blocks of each stage, to 512 channels
POOLINGS = ("flatten", "average", "spatial")
EMBEDDINGS = 8  # sums per channel in a `SpatialLinear`; HIL-SERL's


@dataclass(frozen=True)
class EncoderConfig:
    """What the images go through."""

    encoder: str = "strided"  # drqv2: finer at ten times the cost; resnet10, resnet18: for ImageNet's weights
    encoder_weights: Path | None = None  # safetensors file of a torchvision ResNet to start from; none: random weights
    pooling: str = "flatten"  # or average: one feature per channel; spatial: 8 learned ones per channel (HIL-SERL)
    per_camera: bool = False  # an encoder of its own for every camera, instead of one for all
    bf16: bool = False  # encode and squeeze in bfloat16: a third to half of the time where the processor has it
    stack: int = 1  # frames in an observation

    def __post_init__(self) -> None:
        for name, accepted in (("encoder", (*CONVOLUTIONS, *RESNETS)), ("pooling", POOLINGS)):
            if getattr(self, name) not in accepted:
                raise UserError(f"{name} is {getattr(self, name)!r}; accepted are {', '.join(accepted)}")
        if self.encoder_weights and self.encoder not in RESNETS:
            raise UserError(
                f"encoder_weights is {self.encoder_weights} for the encoder {self.encoder!r}; accepted are weights for "
                f"{' and '.join(RESNETS)}"
            )
        if self.stack < 1:
            raise UserError(f"stack is {self.stack}; accepted is 1 or more")

    @property
    def channels(self) -> int:
        """Channels of the feature map of one camera."""
        return 512 * self.stack if self.encoder in RESNETS else 32


class Convolutions(nn.Sequential):
    """Four convolutions to 32 channels, each with a ReLU; uint8 [N, S, H, W, 3], scaled to ±0.5, to [N, 32, h, w]."""

    def __init__(self, name: str, stack: int) -> None:
        channels, layers = 3 * stack, list[nn.Module]()
        for kernel, stride in CONVOLUTIONS[name]:
            layers += [nn.Conv2d(channels, 32, kernel, stride), nn.ReLU(inplace=True)]
            channels = 32
        super().__init__(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Encode images."""
        x = self._first(images)
        for layer in list(self)[2:]:
            x = layer(x)
        return x

    def _first(self, images: Tensor) -> Tensor:
        """Apply the first convolution and its ReLU.

        Scaling is moved into its weights, and the frames of a stack are the depth that a 3D kernel spans: both spare
        passes over the images that would cost as much as the convolution.
        """
        first, stack = self[0], images.shape[1]
        assert isinstance(first, nn.Conv2d) and first.bias is not None
        x = images.to(_precision(images)).movedim(-1, 1)
        weight, bias = first.weight / 255.0, first.bias - 0.5 * first.weight.sum((1, 2, 3))
        if stack == 1:
            return F.relu_(F.conv2d(x.squeeze(2), weight, bias, first.stride))
        weight = weight.unflatten(1, (stack, 3)).transpose(1, 2)
        return F.relu_(F.conv3d(x, weight, bias, (1, *first.stride))).squeeze(2)


class FixedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm by its stored statistics, always; scale and shift train.

    Statistics of the batch would make a feature depend on the images beside it: cache, learner and actor would
    disagree. HIL-SERL has GroupNorm for that reason (research page hilserl_origin 1), but the ImageNet weights that
    torchvision's users have are those of batch norm.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [N, C, h, w]."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class ResNet(nn.Sequential):
    """torchvision's ResNet of basic blocks (He et al., 2015) without its classes; its names of weights are kept.

    Maps uint8 [N, S, H, W, 3] to [N, 512·S, H/32, W/32]: the frames of a stack one by one, their channels side by side.
    """

    def __init__(self, blocks: Sequence[int]) -> None:
        from torchvision.models import resnet  # half a second that other encoders need not wait

        whole = resnet.ResNet(resnet.BasicBlock, list(blocks), norm_layer=FixedBatchNorm2d)
        super().__init__(OrderedDict(list(whole.named_children())[:-2]))  # all but average pooling and classes
        mean, std = 255.0 * torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])  # ImageNet's, of bytes
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("scale", 1.0 / std, persistent=False)
        self.mean: Tensor
        self.scale: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Encode images, standardised as ImageNet's were."""
        x = images.flatten(0, 1).to(_precision(images)).sub_(self.mean).mul_(self.scale)
        return super().forward(x.movedim(-1, 1)).unflatten(0, images.shape[:2]).flatten(1, 2)


class Encoder(nn.Module):
    """Maps uint8 [..., S, H, W, 3] to float [..., F], channel after channel; one instance may serve every camera.

    Images lie in memory as they are stored, channels last, and so do all activations.
    """

    def __init__(self, size_px: int, config: EncoderConfig) -> None:
        """Make an encoder; its weights are random, or those of `config.encoder_weights`.

        Raises:
            UserError: that file is not there, or does not fit, or the images are too small.
        """
        super().__init__()
        resnet, name = config.encoder in RESNETS, config.encoder
        self.conv = ResNet(RESNETS[name]) if resnet else Convolutions(name, config.stack)
        if config.encoder_weights:
            load_weights(self.conv, config.encoder_weights)
        self._stack, self._average, self._bf16 = config.stack, config.pooling == "average", config.bf16
        try:
            with torch.no_grad():
                blank = torch.zeros((1, config.stack, size_px, size_px, 3), dtype=torch.uint8)
                self.features = self._pooled(blank).numel()
        except RuntimeError as error:  # a convolution has run out of pixels
            raise UserError(
                f"images of {size_px} px are too small for the encoder {name!r}; accepted are larger ones, or another "
                f"encoder: {', '.join((*CONVOLUTIONS, *RESNETS))}"
            ) from error
        drqv2 = name == "drqv2"
        self._in_place = drqv2 and config.pooling == "flatten"  # many features: keep them where they lie
        self.norm: nn.Module = nn.Identity() if drqv2 else nn.LayerNorm(self.features)
        if drqv2:
            orthogonal_(self)

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        Raises:
            ValueError: S is not the network's.
        """
        if images.shape[-4] != self._stack:
            raise ValueError(f"got stacks of {images.shape[-4]} frames, this encoder takes {self._stack}")
        x = self._pooled(images.flatten(0, -5))
        x = x.permute(0, 2, 3, 1) if self._in_place else x
        return self.norm(x.flatten(1)).reshape(*images.shape[:-4], -1)

    def _pooled(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16) if self._bf16 else nullcontext():
            x = self.conv(images)
        x = x.float() if self._bf16 else x
        return x.mean((2, 3), keepdim=True) if self._average else x


class PerCamera(nn.Module):
    """An encoder for each of C cameras: uint8 [B, C, S, H, W, 3] to [B, C, F]."""

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.features = encoders[0].features

    def forward(self, images: Tensor) -> Tensor:
        """Encode the images of all cameras.

        Raises:
            ValueError: C is not the number of encoders.
        """
        if images.ndim != 6 or images.shape[1] != len(self.encoders):
            raise ValueError(
                f"got images of shape {list(images.shape)}; accepted is [B, {len(self.encoders)}, S, H, W, 3]: "
                "every camera has an encoder of its own"
            )
        return torch.stack([encoder(images[:, i]) for i, encoder in enumerate(self.encoders)], 1)


class SpatialLinear(nn.Module):
    """A linear layer on weighted sums over the positions of every channel, the weights learned.

    The sums are HIL-SERL's SpatialLearnedEmbeddings. Two linear maps in a row are one, and its matrix costs less than
    the sums of a whole batch.
    """

    def __init__(self, channels: int, positions: int, outputs: int) -> None:
        super().__init__()
        bound = (channels * EMBEDDINGS) ** -0.5
        self.kernel = nn.Parameter(torch.randn(channels, positions, EMBEDDINGS) * positions**-0.5)
        self.weight = nn.Parameter(torch.empty(channels, EMBEDDINGS, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """Map [B, channels · positions] to [B, outputs]."""
        return torch.addmm(self.bias, features, torch.bmm(self.kernel, self.weight).flatten(0, 1))


def make_encoder(size_px: int, config: EncoderConfig, cameras: int) -> Encoder | PerCamera:
    """Return what encodes uint8 [B, C, S, H, W, 3] of that many cameras to [B, C, F]."""
    if config.per_camera:
        return PerCamera([Encoder(size_px, config) for _ in range(cameras)])
    return Encoder(size_px, config)


def for_camera(encoder: nn.Module, camera: int) -> nn.Module:
    """Return what encodes uint8 [..., S, H, W, 3] of one camera."""
    return encoder.encoders[camera] if isinstance(encoder, PerCamera) else encoder


def encoder_hash(encoder: nn.Module, config: EncoderConfig) -> str:
    """Return 16 hex digits that change with whatever changes features: the encoder's shape and every weight."""
    shape = {f.name: getattr(config, f.name) for f in fields(EncoderConfig) if f.name != "encoder_weights"}
    digest = hashlib.sha256(json.dumps(shape).encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def load_weights(trunk: nn.Module, path: Path) -> None:
    """Start a ResNet from a file with torchvision's names; the weights of its classes (`fc`) are left out.

    Raises:
        UserError: there is no such file, it is no safetensors file, or it belongs to another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    convert = (
        "Accepted is a safetensors file of torchvision's names; nothing is downloaded here. To make one, on a machine "
        "that has torchvision's weights or may fetch them:\n"
        'python -c "import safetensors.torch as s, torchvision.models as m; '
        "s.save_file(m.resnet18(weights='DEFAULT').state_dict(), 'resnet18.safetensors')\""
    )
    if not path.is_file():
        raise UserError(f"encoder_weights: there is no file {path}. {convert}")
    try:
        found = {k: v for k, v in load_file(path).items() if not k.startswith("fc.")}
    except SafetensorError as error:
        raise UserError(f"encoder_weights: {path} is no safetensors file: {error}. {convert}") from error
    try:
        trunk.load_state_dict(found)
    except RuntimeError as error:  # lists what is missing, left over, or of another shape
        raise UserError(f"encoder_weights: {path} does not fit this encoder: {error}\n{convert}") from error


def orthogonal_(module: nn.Module) -> None:
    """Initialise as DrQ-v2 does: orthogonal weights, in convolutions with the gain of ReLU; biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(layer.weight, 2**0.5 if isinstance(layer, nn.Conv2d) else 1.0)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _precision(images: Tensor) -> torch.dtype:
    device = images.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
