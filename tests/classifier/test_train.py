"""It learns on held-out episodes, augments in training only, and notices parameters that cannot learn."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from classifier import train as train_module
from classifier.augment import Augmentation, augment
from classifier.calibrate import CannotCalibrate
from classifier.detector import SuccessDetector
from classifier.encoders import Encoder, EncoderConfig
from classifier.fit import FitConfig, fit_detector
from classifier.frames import LabelledFrames, TooFewLabels, make_folds
from classifier.model import ClassifierSpec, SuccessModel
from classifier.report import DetectorReport
from classifier.train import NoGradient, held_out_logits, train_classifier
from data.errors import UserError

QUIET = Augmentation(shift_px=0, brightness=0, contrast=0, colour=0, noise=0)
PLAIN = FitConfig(gate=(), epochs=6, progress=False)


def images(count=6, size=16, seed=0):
    return {
        "front": torch.randint(0, 256, (count, size, size, 3), generator=torch.Generator().manual_seed(seed)).to(
            torch.uint8
        )
    }


def train(episodes, spec, **how):
    frames = LabelledFrames.from_episodes(episodes, spec.cameras, spec.task_fingerprint)
    folds = make_folds(frames, 2, spec.seed)
    return frames, *train_classifier(frames, folds, spec, **({"epochs": 1, "progress": False} | how))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, module_task, module_episodes):
    """A detector from twelve synthetic episodes: its folder and its report."""
    folder = tmp_path_factory.mktemp("fit") / "detector"
    spec = dataclasses.replace(ClassifierSpec.for_task(module_task), members=2)
    return folder, fit_detector(module_episodes, module_task, spec, folder, PLAIN)


def test_learns_held_out_episodes_and_says_so(fitted, episodes):
    folder, report = fitted
    assert report.accuracy > 0.95
    assert report.auc > 0.99
    assert report.scores.false_successes == 0
    assert report.scores.missed == 0
    assert report.scores.episodes == len(episodes)  # every one is held out once
    assert sorted(u for part in report.train.parts for u in part) == sorted(report.train.uuids)
    table = report.table()
    for words in (report.version, "false successes", "missed successes", "detection delay", "few positive frames"):
        assert words in table
    assert "one session" in table
    assert "optimistic" in table
    assert DetectorReport.read(folder / "report.json") == report
    assert json.loads((folder / "report.json").read_text())["version"] == report.version
    assert (folder / "report.png").stat().st_size > 10_000


def test_the_worst_mistakes_name_frames_that_somebody_can_look_at(fitted, episodes):
    lengths = {e.meta.uuid: len(e.marked_success) for e in episodes}
    for mistake in fitted[1].mistakes:
        assert 0 <= mistake.frame < lengths[mistake.uuid]


def test_images_that_say_nothing_are_refused(episodes, task, tmp_path):
    """The control: one picture in every frame of every episode, so that no frame outdoes another by luck."""
    noise = np.random.default_rng(0).integers(0, 255, episodes[0].images["front"].shape[1:], np.uint8)
    blind = [
        dataclasses.replace(e, images={n: np.broadcast_to(noise, x.shape) for n, x in e.images.items()})
        for e in episodes
    ]
    spec = dataclasses.replace(ClassifierSpec.for_task(task), members=2)
    with pytest.raises(CannotCalibrate):
        fit_detector(blind, task, spec, tmp_path / "detector", dataclasses.replace(PLAIN, epochs=1))
    assert not list(tmp_path.iterdir())


def test_same_seed_same_weights_and_another_seed_others(episodes, task):
    def weights(seed, threads=1):
        return train(episodes, ClassifierSpec.for_task(task, seed), threads=threads)[1].state_dict()

    one, same, other = weights(0), weights(0, threads=2), weights(1)
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one)


def test_marks_of_a_single_frame_are_refused(episodes, task):
    tap = [
        dataclasses.replace(e, marked_success=np.arange(41) == 30) if e.marked_success.any() else e for e in episodes
    ]
    with pytest.raises(TooFewLabels, match="too short"):
        train(tap, ClassifierSpec.for_task(task))


def test_a_detached_parameter_is_an_error_that_names_it(episodes, task, monkeypatch):
    class Detached(SuccessModel):
        def features(self, images, member):
            parts = [e(images[n][:, None]) for n, e in self.trunks[member].items()]
            return torch.cat([parts[0].detach(), parts[1]], dim=-1)

    monkeypatch.setattr(train_module, "SuccessModel", Detached)
    with pytest.raises(NoGradient, match=r"front\.conv"):
        train(episodes, ClassifierSpec.for_task(task))


def test_a_frozen_projection_that_is_said_to_train_is_caught(episodes, task):
    """LeRobot's classifier builds its projection under no_grad: it never learns, and nothing says so."""

    class Frozen(Encoder):
        def forward(self, images):
            with torch.no_grad():
                return super().forward(images)

    side = task.observation.cameras[0].size_px
    with pytest.raises(NoGradient, match="got no gradient"):
        train(episodes, ClassifierSpec.for_task(task), start=lambda _: Frozen(side, EncoderConfig()))


def test_with_a_frozen_encoder_only_the_heads_change(episodes, task):
    given = Encoder(task.observation.cameras[0].size_px, EncoderConfig())
    spec = dataclasses.replace(ClassifierSpec.for_task(task), frozen=True)
    _, model, _ = train(episodes, spec, start=lambda _: given)
    trunk = model.trunks[0]["front"].state_dict()
    assert all(torch.equal(trunk[k], v) for k, v in given.state_dict().items())
    fresh = SuccessModel(model.spec).heads.state_dict()
    assert all(not torch.equal(fresh[k], v) for k, v in model.heads.state_dict().items() if "weight" in k)


def test_every_episode_is_judged_by_the_network_that_has_not_seen_it(episodes, task):
    frames, model, report = train(episodes, ClassifierSpec.for_task(task))
    every, judged = model.logits(frames.images, frames.state), held_out_logits(model, frames, report.parts)
    for k, part in enumerate(report.parts):
        rows = frames.rows([frames.uuids.index(u) for u in part])
        np.testing.assert_array_equal(judged[rows], every[k, rows])
    np.testing.assert_allclose(held_out_logits(model, frames, ()), every.mean(0))  # new episodes: all networks


def test_a_split_by_frame_looks_better_than_it_is(episodes, task):
    """Every episode has a background of its own; labels that follow it can be learned by heart, and by nothing else."""
    by_heart = [dataclasses.replace(e, marked_success=np.full(41, i % 2 == 0)) for i, e in enumerate(episodes)]
    still = [dataclasses.replace(e, images={n: np.repeat(x[:1], 41, 0) for n, x in e.images.items()}) for e in by_heart]
    frames, model, report = train(still, ClassifierSpec.for_task(task), epochs=3)
    honest = ((held_out_logits(model, frames, report.parts)[:, 0] > 0) == frames.success).mean()
    assert train_module.optimistic_accuracy(model, frames, 0) > honest + 0.2


def test_only_training_batches_are_augmented(episodes, task, monkeypatch):
    seen = []

    def spy(batch, *_):
        seen.append(len(batch["front"]))
        return batch

    monkeypatch.setattr(train_module, "augment", spy)
    frames, model, report = train(episodes, ClassifierSpec.for_task(task))
    assert sum(seen) == report.frames  # two networks, each on the half that the other is judged on
    once, again = (model.logits(frames.images, frames.state) for _ in range(2))
    assert sum(seen) == report.frames
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


DROPPED = 29  # the frame in which the square of every other episode lies where it began


def test_stages_and_failures_are_learned_and_calibrated_each_on_their_own(episodes, task, tmp_path):
    """What has fallen looks as it did before it was raised: the failure is looked for from there on."""
    staged = []
    for i, episode in enumerate(episodes):
        won = i % 2 == 0
        raised = np.clip(np.linspace(-0.5, 1.6, 41), 0, 1) * (1.0 if won else 0.5) > 0.25
        fell = (np.arange(41) >= DROPPED) & (not won)
        images = {n: np.where(fell[:, None, None, None], x[:1], x) for n, x in episode.images.items()}
        staged.append(dataclasses.replace(episode, images=images, labels={"raised": raised & ~fell, "fell": fell}))
    spec = ClassifierSpec.for_task(task)
    spec = dataclasses.replace(spec, members=2, stages=("raised", "success"), failures=("fell",))
    fit_detector(staged, task, spec, tmp_path / "detector", PLAIN)
    detector = SuccessDetector.load(tmp_path / "detector", task)
    assert [c.after for c in detector.calibrations] == [0, 1, 1]
    for episode, last in zip(staged[:4], (2, 1, 2, 1), strict=True):
        detector.reset()
        told = [detector.judge(p) for p in detector.probabilities(episode.images, episode.state)]
        stages = [v.stage for v in told]
        assert stages == sorted(stages) and (stages[0], stages[-1]) == (0, last)
        failed = [t for t, v in enumerate(told) if v.failure == "fell"]
        assert (failed and DROPPED <= failed[0] <= DROPPED + 5) if last == 1 else not failed


def test_a_stage_that_nobody_labelled_is_refused(episodes, task, tmp_path):
    spec = dataclasses.replace(ClassifierSpec.for_task(task), stages=("grasped", "success"))
    with pytest.raises(UserError, match=r"no frame is labelled grasped.*hilserl label"):
        fit_detector(episodes, task, spec, tmp_path / "detector", PLAIN)
