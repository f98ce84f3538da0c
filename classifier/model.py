"""A few small networks that look at one frame per camera, and the arm's state, and say how likely it is a success."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import draccus
import numpy as np
import torch
from torch import Tensor, nn

from classifier.augment import Augmentation
from classifier.encoders import Encoder, EncoderConfig
from classifier.frames import image_batch
from data.errors import UserError
from data.spec import CameraSpec, ObservationSpec, SpecMismatch, TaskSpec

SUCCESS = "success"
HIDDEN = 64  # width of the head
EDGE = 0.95  # of the training frames are no further from their mean than a drift of 1
CHUNK = 128  # frames that are encoded at once


@dataclass(frozen=True)
class StateInput:
    """One number of the state vector that the model may look at."""

    name: str  # FIELD.INDEX, e.g. ee_in_base.2: the height of the hand
    index: int  # into the state vector [D]

    @staticmethod
    def parse(name: str, observation: ObservationSpec) -> StateInput:
        """Find `FIELD.INDEX` in the state of a task; UserError lists what there is."""
        offset, known = 0, []
        for part in observation.state:
            names = [f"{part.name}.{i}" for i in range(part.size)]
            if name in names:
                return StateInput(name, offset + names.index(name))
            known.append(f"{part.name}.0 to .{part.size - 1}")
            offset += part.size
        raise UserError(f"there is no state {name!r}; accepted are {', '.join(known)}")


@dataclass(frozen=True)
class ClassifierSpec:
    """What the weights were made for and how; saved beside them."""

    cameras: tuple[CameraSpec, ...]
    task_fingerprint: str
    state: tuple[StateInput, ...] = ()  # what else it may look at; empty: images alone
    stages: tuple[str, ...] = (SUCCESS,)  # labels, in the order in which the task passes them; the last is success
    failures: tuple[str, ...] = ()  # labels that end an episode as a failure, e.g. fell
    encoder: EncoderConfig = field(default_factory=EncoderConfig)  # one for each camera
    frozen: bool = False  # the encoders keep the weights that they started from
    members: int = 3  # networks that are averaged; each was trained without a part of the episodes
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0

    @staticmethod
    def for_task(task: TaskSpec, seed: int = 0) -> ClassifierSpec:
        """A spec that looks through every camera of the task."""
        return ClassifierSpec(task.observation.cameras, task.fingerprint, seed=seed)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Labels that the model tells, one logit each."""
        return (*self.stages, *self.failures)

    def to_json(self) -> str:
        """Return the canonical JSON text of this spec."""
        return json.dumps(draccus.encode(self), sort_keys=True, indent=1)

    @staticmethod
    def from_json(text: str) -> ClassifierSpec:
        """Read back what `to_json` wrote; an unknown or missing key is an error."""
        return draccus.decode(ClassifierSpec, json.loads(text))

    def require_cameras(self, task: TaskSpec, what: str) -> None:
        """Raise `SpecMismatch` with a key-by-key diff unless the task shows these cameras and this state the same way.

        Only what the classifier looks at is compared: a task may have more.
        """
        theirs = {c.name: c for c in task.observation.cameras}
        lines = []
        for ours in self.cameras:
            other = theirs.get(ours.name)
            for key in ("crop", "size_px"):
                session = getattr(other, key) if other else "(no such camera)"
                if session != getattr(ours, key):
                    lines.append(
                        f"  cameras.{ours.name}.{key}: this session has {session}, {what} has {getattr(ours, key)}"
                    )
        names = [f"{f.name}.{i}" for f in task.observation.state for i in range(f.size)]
        for state in self.state:
            found = names[state.index] if state.index < len(names) else "(nothing)"
            if found != state.name:
                lines.append(f"  state.{state.index}: this session has {found}, {what} has {state.name}")
        if lines:
            raise SpecMismatch(
                f"{what} was trained on other images or another state:\n" + "\n".join(lines) + "\nStart this session "
                "with that crop and size, or train again with `hilserl classifier train`."
            )


class SuccessModel(nn.Module):
    """Encoder per camera → head, for each member; the heads see standardised state, too. Logits [K, B, outputs]."""

    def __init__(self, spec: ClassifierSpec, start: Callable[[str], nn.Module] | None = None) -> None:
        """Build with weights drawn from `spec.seed`; the global generator is left as it was.

        Args:
            spec: the shape.
            start: returns the encoder to copy for a camera; None for new ones.
        """
        super().__init__()
        self.spec = spec
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            start = start or (lambda name: Encoder(self._size_px(name), spec.encoder))
            trunks = [
                nn.ModuleDict({c.name: copy.deepcopy(start(c.name)) for c in spec.cameras})
                for _ in range(1 if spec.frozen else spec.members)
            ]
            self.trunks = nn.ModuleList(trunks)
            features = sum(int(e.features) for e in trunks[0].values())  # type: ignore[arg-type, misc]
            self.heads = nn.ModuleList(
                [Head(features, len(spec.state), len(spec.outputs)) for _ in range(spec.members)]
            )
        self.trunks.requires_grad_(not spec.frozen)
        self.register_buffer("state_mean", torch.zeros(len(spec.state)))
        self.register_buffer("state_scale", torch.ones(len(spec.state)))
        for name, size in (("embedding_mean", HIDDEN), ("embedding_scale", HIDDEN), ("grey_mean", len(spec.cameras))):
            self.register_buffer(name, torch.ones(size))
        self.register_buffer("edge", torch.ones(()))
        self.embedding_mean: Tensor
        self.embedding_scale: Tensor
        self.grey_mean: Tensor
        self.edge: Tensor
        self.state_mean: Tensor
        self.state_scale: Tensor

    def _size_px(self, name: str) -> int:
        return next(c.size_px for c in self.spec.cameras if c.name == name)

    def standardise(self, state: np.ndarray) -> None:
        """Take mean and spread of the state's inputs from data [N, D].

        Raises:
            UserError: one of them never changes.
        """
        chosen = state[:, [s.index for s in self.spec.state]]
        scale = chosen.std(0)
        still = [s.name for s, spread in zip(self.spec.state, scale, strict=True) if not spread > 1e-6]
        if still:
            raise UserError(f"{', '.join(still)} never changes in the labelled episodes: leave it out of --state")
        self.state_mean.copy_(torch.from_numpy(chosen.mean(0)))
        self.state_scale.copy_(torch.from_numpy(scale))

    def inputs(self, state: Tensor) -> Tensor:
        """Return the standardised inputs [B, S] among a state float32 [B, D]."""
        return (state[:, [s.index for s in self.spec.state]] - self.state_mean) / self.state_scale

    def features(self, images: Mapping[str, Tensor], member: int) -> Tensor:
        """Encode {camera: uint8 [B, H, W, 3]} to [B, F] as a member does."""
        trunk = self.trunks[0 if self.spec.frozen else member]
        return torch.cat([encoder(images[name][:, None]) for name, encoder in trunk.items()], -1)  # type: ignore[operator]

    def member(self, images: Mapping[str, Tensor], state: Tensor, member: int) -> Tensor:
        """Return the logits [B, outputs] of one member."""
        return self.heads[member](self.features(images, member), self.inputs(state))

    @torch.inference_mode()
    def remember(self, images: Mapping[str, np.ndarray], state: np.ndarray) -> None:
        """Keep what the training frames look like, for `drift`."""
        _, embedding = self.look(images, state)
        self.embedding_mean.copy_(torch.from_numpy(embedding.mean(0)))
        self.embedding_scale.copy_(torch.from_numpy(embedding.std(0) + 1e-6))
        self.grey_mean.copy_(torch.from_numpy(self._grey(images).mean(0)))
        self.edge.fill_(1.0)
        self.edge.fill_(max(1e-6, float(np.quantile(self.drift(images, embedding)[0], EDGE))))

    def drift(self, images: Mapping[str, np.ndarray], embedding: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how far frames are from the training's, and their brightness over the training's, both [N].

        The distance is the mean over the embedding [N, HIDDEN] of |deviation| / spread, in units of the `EDGE` quantile
        of the training frames. The brightness is that of the camera that differs most.
        """
        off = np.abs(embedding - self.embedding_mean.numpy()) / self.embedding_scale.numpy()
        ratio = self._grey(images) / self.grey_mean.numpy()
        furthest = np.abs(np.log(np.maximum(ratio, 1e-3))).argmax(1)
        return off.mean(1) / self.edge.item(), ratio[np.arange(len(ratio)), furthest]

    def _grey(self, images: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.stack([images[c.name][:, ::4, ::4].mean((1, 2, 3)) for c in self.spec.cameras], 1)

    @torch.inference_mode()
    def look(self, images: Mapping[str, np.ndarray], state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `logits` and the first member's embedding of the images, float64 [N, HIDDEN]."""
        logits, embeddings = [], []
        for i in range(0, len(state), CHUNK):
            batch = image_batch({c.name: images[c.name][i : i + CHUNK] for c in self.spec.cameras})
            inputs = self.inputs(torch.from_numpy(np.array(state[i : i + CHUNK], np.float32)))
            features = self.features(batch, 0)
            embeddings.append(self.heads[0].squeeze(features))  # type: ignore[operator]
            members = [self.heads[0](features, inputs)]
            for k in range(1, self.spec.members):
                members.append(self.heads[k](features if self.spec.frozen else self.features(batch, k), inputs))
            logits.append(torch.stack(members))
        return torch.cat(logits, 1).double().numpy(), torch.cat(embeddings).double().numpy()

    def logits(self, images: Mapping[str, np.ndarray], state: np.ndarray) -> np.ndarray:
        """Return every member's logits, float64 [K, N, outputs]; no augmentation, no debounce."""
        return self.look(images, state)[0]


class Head(nn.Module):
    """Features and state to one logit per output."""

    def __init__(self, features: int, state: int, outputs: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(nn.Linear(features, HIDDEN), nn.LayerNorm(HIDDEN), nn.SiLU())
        self.out = nn.Sequential(nn.Linear(HIDDEN + state, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, outputs))

    def forward(self, features: Tensor, state: Tensor) -> Tensor:
        """Return logits [B, outputs]."""
        return self.out(torch.cat((self.squeeze(features), state), -1))
