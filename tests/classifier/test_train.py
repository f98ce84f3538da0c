"""It learns on held-out episodes, augments in training only, and notices parameters that cannot learn."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from classifier import train as train_module
from classifier.frames import LabelledFrames, TooFewLabels
from classifier.model import Augmentation, ClassifierSpec, SuccessModel
from classifier.train import NoGradient, augment, fit_detector, train_classifier

QUIET = Augmentation(shift_px=0, brightness=0, contrast=0, colour=0, noise=0)


def images(count=6, size=16, seed=0):
    return {
        "front": torch.randint(0, 256, (count, size, size, 3), generator=torch.Generator().manual_seed(seed)).to(
            torch.uint8
        )
    }


def test_learns_held_out_episodes_and_says_so(episodes, task, tmp_path):
    report = fit_detector(episodes, task, tmp_path / "detector", progress=False)
    assert report.accuracy > 0.95
    assert report.auc > 0.99
    assert report.scores.false_successes == 0
    assert report.scores.missed == 0
    assert not set(report.train.train_uuids) & set(report.train.held_out_uuids)
    assert len(report.train.held_out_uuids) >= len(episodes) / 4
    table = report.table()
    for words in (
        report.version,
        "false successes",
        "missed successes",
        "detection delay",
        "few positive frames",
    ):
        assert words in table
    saved = json.loads((tmp_path / "detector" / "report.json").read_text())
    assert saved["version"] == report.version
    assert saved["calibration"]["threshold"] == report.calibration.threshold


def test_black_images_are_refused(episodes, task, tmp_path):
    """The control: the same pipeline on images that say nothing must not look good."""
    blind = [dataclasses.replace(e, images={n: np.zeros_like(x) for n, x in e.images.items()}) for e in episodes]
    with pytest.raises(ValueError, match="no threshold"):
        fit_detector(blind, task, tmp_path / "detector", quick=True, progress=False)
    assert not list(tmp_path.iterdir())


def test_same_seed_same_weights_and_another_seed_others(episodes, task):
    def weights(seed):
        spec = ClassifierSpec.for_task(task, seed)
        return train_classifier(episodes, spec, seed=seed, max_epochs=2, progress=False)[0].state_dict()

    one, same, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one)


def test_too_few_positive_episodes_are_refused(make_episode, task):
    few = [make_episode(0, True), *(make_episode(i, False) for i in range(1, 6))]
    with pytest.raises(TooFewLabels, match="hilserl record --purpose=classifier"):
        train_classifier(few, ClassifierSpec.for_task(task), progress=False)


def test_marks_of_a_single_frame_are_refused(episodes, task):
    tap = [
        dataclasses.replace(e, marked_success=np.arange(41) == 30) if e.marked_success.any() else e for e in episodes
    ]
    with pytest.raises(TooFewLabels, match="too short"):
        train_classifier(tap, ClassifierSpec.for_task(task), progress=False)


def test_a_detached_parameter_is_an_error_that_names_it(episodes, task, monkeypatch):
    class Detached(SuccessModel):
        def forward(self, images):
            features = [e(images[n].permute(0, 3, 1, 2).float() / 255) for n, e in self.encoders.items()]
            return self.head(torch.cat([features[0].detach(), features[1]], dim=-1)).squeeze(-1)

    monkeypatch.setattr(train_module, "SuccessModel", Detached)
    with pytest.raises(NoGradient, match=r"encoders\.front"):
        train_classifier(episodes, ClassifierSpec.for_task(task), max_epochs=1, progress=False)


def test_only_training_batches_are_augmented(episodes, task, monkeypatch):
    spec = ClassifierSpec.for_task(task)
    frames = LabelledFrames.from_episodes(episodes, spec.cameras, spec.task_fingerprint)
    seen = []

    def spy(batch, *_):
        seen.append(len(batch["front"]))
        return batch

    monkeypatch.setattr(train_module, "augment", spy)
    model, report = train_classifier(episodes, spec, max_epochs=2, progress=False)
    assert sum(seen) == report.frames * 2  # every training frame once per epoch, no held-out frame
    once, again = model.probabilities(frames.images), model.probabilities(frames.images)
    assert sum(seen) == report.frames * 2
    np.testing.assert_array_equal(once, again)


def test_augmentation_changes_frames_within_uint8_and_spares_its_input():
    batch = images()
    before = batch["front"].clone()
    out = augment(batch, Augmentation(), torch.Generator().manual_seed(0))["front"]
    assert out.dtype == torch.uint8
    assert out.shape == before.shape
    assert torch.equal(batch["front"], before)
    assert all(not torch.equal(a, b) for a, b in zip(out, before, strict=True))


def test_augmentation_of_size_zero_is_the_identity():
    batch = images()
    out = augment(batch, QUIET, torch.Generator().manual_seed(0))["front"]
    assert torch.equal(out, batch["front"])


def test_shift_moves_by_whole_pixels_and_repeats_the_border():
    batch = images(count=64)
    out = augment(batch, dataclasses.replace(QUIET, shift_px=2), torch.Generator().manual_seed(0))["front"]
    moves = set()
    for before, after in zip(batch["front"], out, strict=True):
        padded = torch.nn.functional.pad(before.permute(2, 0, 1)[None].float(), [2] * 4, mode="replicate")[0]
        padded = padded.permute(1, 2, 0).to(torch.uint8)
        found = [(r, c) for r in range(5) for c in range(5) if torch.equal(padded[r : r + 16, c : c + 16], after)]
        assert len(found) == 1
        moves.add(found[0])
    assert len(moves) > 10
