"""Train the success model on labelled episodes, and turn it into a calibrated detector on disk."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from classifier.calibrate import (
    Calibration,
    EventScores,
    auc,
    calibrate,
    evaluate,
    hardest_negative,
    leave_one_out,
)
from classifier.detector import REPORT, SuccessDetector
from classifier.frames import RECORD_MORE, LabelledFrames, Split, TooFewLabels, split_by_episode
from classifier.model import Augmentation, ClassifierSpec, SuccessModel
from data.schema import Episode
from data.spec import TaskSpec

BATCH = 64
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-2
PATIENCE_EPOCHS = 6  # without a held-out loss that is better by MIN_GAIN
MIN_GAIN = 1e-3
MAX_EPOCHS, QUICK_EPOCHS = 30, 10
ADVISED_POSITIVE_FRAMES = 200


class NoGradient(RuntimeError):
    """A parameter that is said to be trainable was never reached by the loss."""


@dataclass(frozen=True)
class TrainReport:
    """How training went."""

    train_uuids: tuple[str, ...]
    held_out_uuids: tuple[str, ...]
    frames: int  # trained on, without the unsure ones
    positive_frames: int
    best_epoch: int  # counted from 1; its weights are the ones kept
    train_loss: tuple[float, ...]  # per epoch
    held_out_loss: tuple[float, ...]
    duration_s: float


def train_classifier(
    episodes: Sequence[Episode],
    spec: ClassifierSpec,
    *,
    seed: int = 0,
    max_epochs: int = MAX_EPOCHS,
    progress: bool = True,
) -> tuple[SuccessModel, TrainReport]:
    """Split by episode and train; deterministic for a seed.

    Raises:
        TooFewLabels: see `split_by_episode`.
        NoGradient: a trainable parameter got no gradient in the first epoch.
    """
    frames = LabelledFrames.from_episodes(episodes, spec.cameras, spec.task_fingerprint)
    return train_on_split(frames, split_by_episode(frames, seed), spec, seed, max_epochs, progress)


def train_on_split(
    frames: LabelledFrames, split: Split, spec: ClassifierSpec, seed: int, max_epochs: int, progress: bool
) -> tuple[SuccessModel, TrainReport]:
    """Train on one part, stop on the other; returns the weights with the lowest held-out loss."""
    started = time.perf_counter()
    train, held_out = (frames.rows(part, sure_only=True) for part in (split.train, split.held_out))
    positives = int(frames.label[train].sum())
    if not positives or not frames.label[held_out].any():
        raise TooFewLabels(f"the marked successes are too short: hold the button for a second or more. {RECORD_MORE}")
    weight = torch.tensor((len(train) - positives) / positives)
    model = SuccessModel(spec)
    optimiser = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    generator = torch.Generator().manual_seed(seed)
    reached: set[str] = set()
    losses: list[float] = []
    judged: list[float] = []
    best = copy.deepcopy(model.state_dict())
    bar = tqdm(range(max_epochs), desc="success classifier", unit="epoch", disable=not progress)
    for epoch in bar:
        model.train()
        total = 0.0
        for rows in np.array_split(
            train[torch.randperm(len(train), generator=generator).numpy()], max(1, round(len(train) / BATCH))
        ):
            images = augment(frames.batch(rows), spec.augmentation, generator)
            loss = _loss(model(images), frames.label[rows], weight)
            optimiser.zero_grad()
            loss.backward()
            if epoch == 0:
                reached |= {n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
            optimiser.step()
            total += loss.item() * len(rows)
        if epoch == 0:
            _require_reached(model, reached)
        losses.append(total / len(train))
        judged.append(_held_out_loss(model.eval(), frames, held_out, weight))
        bar.set_postfix(train=f"{losses[-1]:.3f}", held_out=f"{judged[-1]:.3f}")
        if judged[-1] == min(judged):
            best = copy.deepcopy(model.state_dict())
        # the best of the last epochs has to beat the best before them, or the person waits for nothing
        if epoch >= PATIENCE_EPOCHS and min(judged[-PATIENCE_EPOCHS:]) > min(judged[:-PATIENCE_EPOCHS]) - MIN_GAIN:
            break
    bar.close()
    model.load_state_dict(best)
    return model.eval(), TrainReport(
        train_uuids=tuple(frames.uuids[i] for i in split.train),
        held_out_uuids=tuple(frames.uuids[i] for i in split.held_out),
        frames=len(train),
        positive_frames=positives,
        best_epoch=int(np.argmin(judged)) + 1,
        train_loss=tuple(losses),
        held_out_loss=tuple(judged),
        duration_s=time.perf_counter() - started,
    )


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
    colour = 1 + uniform(how.colour, 1, 1, 3)
    # ((x - mean) contrast + mean + brightness) colour, gathered into one multiplication and one addition
    x.mul_(contrast * colour).add_((mean * (1 - contrast) + brightness) * colour)
    x.add_(torch.randn(x.shape, generator=generator), alpha=255 * how.noise)
    return x.round_().clamp_(0, 255).to(torch.uint8)


def _loss(logits: Tensor, label: np.ndarray, positive_weight: Tensor) -> Tensor:
    target = torch.from_numpy(label.astype(np.float32))
    return functional.binary_cross_entropy_with_logits(logits, target, pos_weight=positive_weight)


@torch.inference_mode()
def _held_out_loss(model: SuccessModel, frames: LabelledFrames, rows: np.ndarray, weight: Tensor) -> float:
    chunks = np.array_split(rows, max(1, len(rows) // 128))
    total = sum(_loss(model(frames.batch(c)), frames.label[c], weight).item() * len(c) for c in chunks)
    return total / len(rows)


def _require_reached(model: SuccessModel, reached: set[str]) -> None:
    missing = [n for n, p in model.named_parameters() if p.requires_grad and n not in reached]
    if missing:
        raise NoGradient(
            f"{len(missing)} trainable parameters got no gradient in the first epoch: "
            f"{', '.join(missing[:8])}. Freeze them on purpose (requires_grad_(False)) "
            "or connect them to the output."
        )


@dataclass(frozen=True)
class DetectorReport:
    """What a person needs to know before the detector may hand out rewards. All JSON."""

    version: str
    train: TrainReport
    calibration: Calibration
    scores: EventScores  # held-out episodes, with the threshold chosen on them
    left_out: EventScores | None  # the same, each episode judged by a threshold chosen without it
    auc: float  # held-out frames
    accuracy: float  # held-out frames, p against the threshold
    hardest: tuple[str, int, float]  # episode uuid, frame, p: the closest call among unmarked held-out frames
    skipped_aborted: int

    def to_json(self) -> str:
        """Return the JSON text."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    def table(self) -> str:
        """Return the table that the terminal shows."""
        t, s, c, out = self.train, self.scores, self.calibration, self.left_out
        delay = f"{np.mean(s.delays_frames):.1f} mean, {max(s.delays_frames)} max" if s.delays_frames else "none caught"
        honest = (
            f"{out.false_per_episode:.2f} false per episode, {out.missed} of {out.successes} missed"
            if out
            else "needs two held-out success episodes"
        )
        rows = [
            (
                "episodes",
                f"{len(t.train_uuids)} trained on, {len(t.held_out_uuids)} held out"
                + (f", {self.skipped_aborted} aborted left out" if self.skipped_aborted else ""),
            ),
            ("frames trained on", f"{t.frames}, {t.positive_frames} positive"),
            ("best epoch", f"{t.best_epoch} of {len(t.held_out_loss)} ({t.duration_s:.0f} s)"),
            (
                "threshold, hold",
                f"{c.threshold:.3f}, {c.hold} frames in a row (margin {c.margin_logit:.1f} logits)",
            ),
            ("false successes", f"{s.false_per_episode:.2f} per held-out episode (chosen to be 0)"),
            ("missed successes", f"{s.missed} of {s.successes}"),
            ("threshold left-out", honest),
            ("detection delay", f"{delay} frames"),
            ("held-out frames", f"AUC {self.auc:.4f}, accuracy {self.accuracy:.4f}"),
            ("closest call", f"p {self.hardest[2]:.3f}, episode {self.hardest[0]}, frame {self.hardest[1]}"),
        ]
        lines = [f"success detector {self.version}", *(f"  {name:<20}{value}" for name, value in rows)]
        if t.positive_frames < ADVISED_POSITIVE_FRAMES:
            lines.append(f"  few positive frames (advised: {ADVISED_POSITIVE_FRAMES} or more). {RECORD_MORE}")
        return "\n".join(lines)


def fit_detector(
    episodes: Sequence[Episode],
    task: TaskSpec,
    out_dir: Path,
    seed: int = 0,
    quick: bool = False,
    progress: bool = True,
) -> DetectorReport:
    """Split, train, calibrate and save `out_dir` (detector.json, weights.safetensors, report.json).

    The model is not trained again on all episodes: the held-out numbers are those of the saved weights.

    Raises:
        TooFewLabels, CannotCalibrate, SpecMismatch, NoGradient: nothing is written.
    """
    spec = ClassifierSpec.for_task(task, seed)
    frames = LabelledFrames.from_episodes(episodes, spec.cameras, task.fingerprint)
    split = split_by_episode(frames, seed)
    model, trained = train_on_split(frames, split, spec, seed, QUICK_EPOCHS if quick else MAX_EPOCHS, progress)
    rows = [frames.rows([i]) for i in split.held_out]
    traces = [model.probabilities({n: images[r] for n, images in frames.images.items()}) for r in rows]
    marks = [frames.label[r] for r in rows]
    chosen = calibrate(traces, marks)
    detector = SuccessDetector(model, chosen)
    p, mark = np.concatenate(traces), np.concatenate(marks)
    episode, frame, closest = hardest_negative(traces, marks)
    report = DetectorReport(
        version=detector.version,
        train=trained,
        calibration=chosen,
        scores=evaluate(traces, marks, chosen.threshold, chosen.hold),
        left_out=leave_one_out(traces, marks),
        auc=auc(p, mark),
        accuracy=float(((p >= chosen.threshold) == mark).mean()),
        hardest=(frames.uuids[split.held_out[episode]], frame, closest),
        skipped_aborted=frames.skipped_aborted,
    )
    detector.save(out_dir, {REPORT: report.to_json()})
    return report
