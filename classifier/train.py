"""Train the networks of a success model: each learns from all episodes but a part, and stops by that part."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from classifier.augment import augment
from classifier.frames import RECORD_MORE, Folds, LabelledFrames, TooFewLabels, turns
from classifier.model import ClassifierSpec, Head, SuccessModel

BATCH = 64
LEARNING_RATE = 1e-3  # at most; one cycle
WEIGHT_DECAY = 1e-2
PATIENCE = 0.4  # share of the epochs without a better held-out loss, after which a network is done
EPOCHS, QUICK_EPOCHS, QUICK_MEMBERS = 16, 6, 2
COPIES, CHUNK = 8, 256  # shifted and re-lit copies of every frame whose features are cached, while they are frozen
FRAME_EPOCHS = 20  # of the head that shows what a split by frame would claim
STATE_NOISE = 0.1  # of its spread, added in training


class NoGradient(RuntimeError):
    """A parameter that is said to be trainable was never reached by the loss."""


@dataclass(frozen=True)
class MemberReport:
    """How the training of one network went."""

    best_epoch: int  # counted from 1; its weights are the ones kept
    train_loss: tuple[float, ...]  # per epoch
    held_out_loss: tuple[float, ...]


@dataclass(frozen=True)
class TrainReport:
    """How training went."""

    uuids: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...]  # uuids that each network was judged on, and did not learn from
    split_by: str  # session or episode
    sessions: int
    frames: int  # without the unsure ones
    positive_frames: int
    members: tuple[MemberReport, ...]
    duration_s: float


def train_classifier(
    frames: LabelledFrames,
    folds: Folds,
    spec: ClassifierSpec,
    *,
    start: Callable[[str], nn.Module] | None = None,
    epochs: int = EPOCHS,
    threads: int = 1,
    progress: bool = True,
) -> tuple[SuccessModel, TrainReport]:
    """Train every network on its part of the episodes; deterministic for a seed, whatever the threads.

    Args:
        frames, folds: what to learn from, and what each network must not see.
        spec: the shape; its members become as many as there are parts.
        start: returns the encoder to start from for a camera; None for random weights.
        epochs: at most.
        threads: networks that are trained at once.
        progress: show a bar.

    Raises:
        TooFewLabels: a part has no marked frame that is sure.
        UserError: a state input never changes.
        NoGradient: a trainable parameter got no gradient in the first epoch.
    """
    began = time.perf_counter()
    spec = replace(spec, members=len(folds.held_out))
    model = SuccessModel(spec, start)
    model.standardise(frames.state)
    sure, learn = ~frames.unsure, _Labels(frames.label, turns(frames, len(spec.stages)).counts)
    for part in folds.held_out:
        for episodes in (part, _rest(folds, part)):
            if not (learn.label & learn.counts)[frames.rows(episodes, sure_only=True)].any(0).all():
                raise TooFewLabels(
                    "the marked successes are too short: hold the button for a second or more (and where a task has "
                    f"stages, label in each episode those that come before). {RECORD_MORE}"
                )
    cache = _Cache(model, frames) if spec.frozen else None
    with (
        tqdm(total=epochs * spec.members, desc="success classifier", unit="epoch", disable=not progress) as bar,
        ThreadPoolExecutor(threads) as pool,
    ):
        jobs = [
            pool.submit(_train_member, model, k, frames, learn, folds, cache, epochs, bar) for k in range(spec.members)
        ]
        members = tuple(job.result() for job in jobs)
    model.eval().remember(frames.images, frames.state)
    return model, TrainReport(
        uuids=frames.uuids,
        parts=tuple(tuple(frames.uuids[e] for e in part) for part in folds.held_out),
        split_by=folds.by,
        sessions=len(set(frames.sessions)),
        frames=int(sure.sum()),
        positive_frames=int(frames.success[sure].sum()),
        members=members,
        duration_s=time.perf_counter() - began,
    )


def held_out_logits(model: SuccessModel, frames: LabelledFrames, parts: Sequence[Sequence[str]]) -> np.ndarray:
    """Return for each frame the logits [N, outputs] of the network that has not learned from its episode.

    Args:
        model: all networks.
        frames: of any episodes; those that no network has seen get the mean of all networks.
        parts: uuids that each network has not learned from (`TrainReport.parts`).
    """
    every = model.logits(frames.images, frames.state)
    out = every.mean(0)
    for k, part in enumerate(parts):
        rows = frames.rows([i for i, uuid in enumerate(frames.uuids) if uuid in part])
        out[rows] = every[k, rows]
    return out


def optimistic_accuracy(model: SuccessModel, frames: LabelledFrames, seed: int) -> float:
    """Return the accuracy that a split by *frame* would claim: it judges on near copies of what was learned.

    A new head on the first network's features, as its images are; for comparison only.
    """
    generator = torch.Generator().manual_seed(seed)
    features = _encode(model, frames, 0)
    inputs = model.inputs(torch.from_numpy(frames.state))
    label = torch.from_numpy(frames.label.astype(np.float32))
    order = torch.randperm(len(label), generator=generator)
    train, judged = order[: len(order) * 3 // 4], order[len(order) * 3 // 4 :]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = Head(features.shape[1], inputs.shape[1], label.shape[1])
    optimiser = torch.optim.AdamW(head.parameters(), LEARNING_RATE)
    for _ in range(FRAME_EPOCHS):
        for rows in train[torch.randperm(len(train), generator=generator)].split(BATCH):
            loss = functional.binary_cross_entropy_with_logits(head(features[rows], inputs[rows]), label[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    at = len(model.spec.stages) - 1
    with torch.inference_mode():
        right = (head(features[judged], inputs[judged])[:, at] > 0) == (label[judged, at] > 0)
    return float(right.float().mean())


class _Labels(NamedTuple):
    """What is learned of N frames."""

    label: np.ndarray  # bool [N, outputs]
    counts: np.ndarray  # bool [N, outputs], where it is the output's turn

    def loss(self, logits: Tensor, rows: np.ndarray, positive_weight: Tensor) -> Tensor:
        """Return the mean loss of those frames' logits [n, outputs] where they count."""
        target, counts = (torch.from_numpy(a[rows].astype(np.float32)) for a in self)
        each = functional.binary_cross_entropy_with_logits(logits, target, pos_weight=positive_weight, reduction="none")
        return (each * counts).sum() / counts.sum().clamp(min=1.0)


class _Cache:
    """Features of every frame as it is (copy 0) and of augmented copies, float16 [1 + COPIES, N, F]."""

    def __init__(self, model: SuccessModel, frames: LabelledFrames) -> None:
        generator = torch.Generator().manual_seed(model.spec.seed)
        copies = [None, *[generator] * COPIES]
        self.features = torch.stack([_encode(model, frames, 0, g).half() for g in copies])

    def draw(self, rows: np.ndarray, generator: torch.Generator) -> Tensor:
        """Return features of these frames, each of a copy of its own."""
        copy = torch.randint(1, len(self.features), (len(rows),), generator=generator)
        return self.features[copy, torch.from_numpy(rows)].float()


@torch.inference_mode()
def _encode(
    model: SuccessModel, frames: LabelledFrames, member: int, generator: torch.Generator | None = None
) -> Tensor:
    parts = []
    for rows in np.array_split(np.arange(len(frames.label)), max(1, len(frames.label) // CHUNK)):
        images, _ = frames.batch(rows)
        images = images if generator is None else augment(images, model.spec.augmentation, generator)
        parts.append(model.features(images, member))
    return torch.cat(parts)


def _train_member(
    model: SuccessModel,
    k: int,
    frames: LabelledFrames,
    learn: _Labels,
    folds: Folds,
    cache: _Cache | None,
    epochs: int,
    bar: tqdm,
) -> MemberReport:
    """Train one network in place; keep the weights with the lowest held-out loss."""
    spec = model.spec
    train = frames.rows(folds.trained_on(k), sure_only=True)
    held_out = frames.rows(folds.held_out[k], sure_only=True)
    positives = (learn.label & learn.counts)[train].sum(0)
    weight = torch.from_numpy((learn.counts[train].sum(0) - positives) / positives).float()
    trained = nn.ModuleList([model.heads[k]] if spec.frozen else [model.trunks[k], model.heads[k]])
    parameters = {n: p for n, p in trained.named_parameters() if p.requires_grad}
    batches = max(1, round(len(train) / BATCH))
    optimiser = torch.optim.AdamW(parameters.values(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=epochs * batches)
    generator = torch.Generator().manual_seed(spec.seed * 1009 + k)
    reached: set[str] = set()
    losses, judged = list[float](), list[float]()
    best = copy.deepcopy(trained.state_dict())
    for epoch in range(epochs):
        trained.train()
        total = 0.0
        for rows in np.array_split(train[torch.randperm(len(train), generator=generator).numpy()], batches):
            images, state = frames.batch(rows)
            inputs = model.inputs(state)
            inputs += STATE_NOISE * torch.randn(inputs.shape, generator=generator)
            if cache is None:
                features = model.features(augment(images, spec.augmentation, generator), k)
            else:
                features = cache.draw(rows, generator)
            loss = learn.loss(model.heads[k](features, inputs), rows, weight)
            optimiser.zero_grad()
            loss.backward()
            if epoch == 0:
                reached |= {n for n, p in parameters.items() if p.grad is not None and bool(p.grad.any())}
            optimiser.step()
            cycle.step()
            total += loss.item() * len(rows)
        if epoch == 0:
            require_reached(parameters, reached)
        losses.append(total / len(train))
        trained.eval()
        judged.append(_held_out_loss(model, k, frames, learn, held_out, weight))
        if judged[-1] == min(judged):
            best = copy.deepcopy(trained.state_dict())
        bar.set_postfix(train=f"{losses[-1]:.3f}", held_out=f"{judged[-1]:.3f}")
        bar.update()
        if epoch - int(np.argmin(judged)) > PATIENCE * epochs:
            break
    trained.load_state_dict(best)
    trained.eval()
    return MemberReport(int(np.argmin(judged)) + 1, tuple(losses), tuple(judged))


def require_reached(parameters: dict[str, nn.Parameter], reached: set[str]) -> None:
    """Raise NoGradient unless every trainable parameter got a gradient other than zero."""
    missing = [n for n in parameters if n not in reached]
    if missing:
        raise NoGradient(
            f"{len(missing)} trainable parameters got no gradient in the first epoch: "
            f"{', '.join(missing[:8])}. Freeze them on purpose (requires_grad_(False)) "
            "or connect them to the output."
        )


def _rest(folds: Folds, part: Sequence[int]) -> list[int]:
    return [e for episodes in folds.held_out if episodes != part for e in episodes]


@torch.inference_mode()
def _held_out_loss(
    model: SuccessModel, k: int, frames: LabelledFrames, learn: _Labels, rows: np.ndarray, weight: Tensor
) -> float:
    chunks = np.array_split(rows, max(1, len(rows) // 128))
    total = sum(learn.loss(model.member(*frames.batch(c), k), c, weight).item() * len(c) for c in chunks)
    return total / len(rows)
