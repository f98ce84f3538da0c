"""What a classifier says of stored episodes is a view: kept per version, and recalibrated without training."""

from dataclasses import replace

import numpy as np
import pytest

from classifier.calibration_set import CalibrationSet
from classifier.fit import FitConfig, fit_detector
from classifier.model import ClassifierSpec, SuccessModel
from classifier.view import ClassifierView
from data.errors import UserError
from data.store.episode_store import EpisodeStore
from data.store.reader import open_reader


@pytest.fixture(scope="module")
def run(tmp_path_factory, module_task, module_episodes):
    """A run with twelve labelled episodes and their classifier."""
    folder = tmp_path_factory.mktemp("run")
    with EpisodeStore.create_or_open(folder / "store", module_task) as store:
        for episode in module_episodes:
            store.append(episode)
    spec = replace(ClassifierSpec.for_task(module_task), members=2)
    fit_detector(
        module_episodes, module_task, spec, folder / "classifier", FitConfig(gate=(), epochs=6, progress=False)
    )
    return folder


def test_it_is_computed_once_and_by_the_network_that_has_not_seen_the_episode(run, monkeypatch):
    reader = open_reader(run)
    view = ClassifierView(run / "classifier", reader.spec)
    episode = reader.read(0)
    first = view.probabilities(reader.path, episode)
    k = next(k for k, part in enumerate(view.report.train.parts) if episode.meta.uuid in part)
    logits = view.detector.model.logits(episode.images, episode.state)
    np.testing.assert_array_equal(first, view.detector.calibrated(logits[k], episode.state))
    monkeypatch.setattr(SuccessModel, "logits", None)  # from now on nothing can be computed
    np.testing.assert_array_equal(view.probabilities(reader.path, episode), first)
    assert np.isnan(episode.p_success).all()  # what the episode holds is left alone


def test_a_threshold_that_a_person_keeps_is_a_new_version_with_its_own_numbers(run):
    reader = open_reader(run)
    judged = CalibrationSet(reader, ClassifierView(run / "classifier", reader.spec), run / "classifier")
    before = judged.report.version
    assert "→ " in judged.table()
    judged.keep(0.999999, 1, None)
    after = ClassifierView(run / "classifier", reader.spec)
    assert after.detector.version == after.report.version != before
    assert after.report.scores == judged.scores()
    assert after.report.scores.missed > 0
    judged.choose()
    assert judged.scores().false_successes == 0
    with pytest.raises(UserError, match="accepted"):
        judged.keep(1.5, None, None)
    assert ClassifierView(run / "classifier", reader.spec).detector.version == judged.report.version


def test_new_labels_change_the_numbers_without_training(run):
    reader = open_reader(run)
    judged = CalibrationSet(reader, ClassifierView(run / "classifier", reader.spec), run / "classifier")
    successes = judged.scores().successes
    uuid = next(u for u, t in judged.traces.items() if t.mark.any())
    reader.annotations.relabel(uuid, (), "it was none")
    judged.refresh()
    assert judged.scores().successes == successes - 1
