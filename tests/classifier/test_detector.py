"""One detector for actor and evaluation: debounce, exact save and load, refusal of other images."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from classifier.calibrate import Calibration, Gate
from classifier.detector import SuccessDetector
from classifier.events import fires
from classifier.frames import LabelledFrames
from classifier.model import ClassifierSpec, SuccessModel
from data.errors import UserError
from data.schema import Observation
from data.spec import CameraSpec, SpecMismatch


@pytest.fixture
def detector(task):
    return SuccessDetector(SuccessModel(ClassifierSpec.for_task(task)), Calibration(0.6, 2, 1.0))


def observe(episode, t):
    return Observation({n: x[t] for n, x in episode.images.items()}, episode.state[t], float(episode.stamp_s[t]))


class Bare(SuccessDetector):
    """The debounce without a network."""

    def __init__(self, *calibrations, stages=("success",), failures=()):
        self.calibrations = calibrations
        self.model = SimpleNamespace(spec=SimpleNamespace(stages=stages, failures=failures))
        self.reset()

    def judge(self, probability):
        return super().judge(np.atleast_1d(probability))


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.01, 1), st.integers(1, 3))
def test_success_needs_hold_frames_in_a_row_and_agrees_with_the_calibration(trace, threshold, hold):
    detector = Bare(Calibration(threshold, hold, 0.0))
    verdicts = [detector.judge(p) for p in trace]
    for t, verdict in enumerate(verdicts):
        recent = trace[max(0, t + 1 - hold) : t + 1]
        assert verdict.success == (len(recent) == hold and all(p >= threshold for p in recent))
        assert verdict.probability == trace[t]
    np.testing.assert_array_equal([v.success for v in verdicts], fires(np.array(trace), threshold, hold))


def test_reset_forgets_held_frames_and_nan_breaks_the_row():
    detector = Bare(Calibration(0.5, 2, 0.0))
    assert [detector.judge(p).success for p in (0.9, float("nan"), 0.9, 0.9)] == [False, False, False, True]
    detector.reset()
    assert [detector.judge(0.9).success for _ in range(2)] == [False, True]


def test_save_and_load_are_bit_equal(detector, task, episodes, tmp_path):
    detector.save(tmp_path / "d")
    loaded = SuccessDetector.load(tmp_path / "d", task)
    assert loaded.version == detector.version
    assert loaded.calibration == detector.calibration
    for t in (0, 7, 40):
        assert loaded.step(observe(episodes[0], t)) == detector.step(observe(episodes[0], t))


def test_a_crop_typed_as_integers_has_the_same_version_after_loading(task, tmp_path):
    whole = tuple(CameraSpec(c.name, (0, 0, 1, 1), c.size_px) for c in task.observation.cameras)
    spec = dataclasses.replace(ClassifierSpec.for_task(task), cameras=whole)
    made = SuccessDetector(SuccessModel(spec), Calibration(0.5, 1, 0.0))
    made.save(tmp_path / "d")
    assert SuccessDetector.load(tmp_path / "d", task).version == made.version


def test_version_follows_weights_threshold_and_hold(detector):
    versions = {detector.version}
    for changed in (Calibration(0.61, 2, 1.0), Calibration(0.6, 3, 1.0)):
        versions.add(SuccessDetector(detector.model, changed).version)
    with torch.no_grad():
        detector.model.heads[0].out[0].weight[0, 0] += 1e-3
    versions.add(SuccessDetector(detector.model, detector.calibration).version)
    assert len(versions) == 4


def test_a_golden_frame_gives_the_same_tensor_in_training_and_in_the_detector(detector, task, episodes):
    frames = LabelledFrames.from_episodes(episodes, task.observation.cameras, task.fingerprint)
    trained_on, _ = frames.batch(np.array([41 + 12]))  # episode 1, frame 12
    seen = {}
    for name, encoder in detector.model.trunks[0].items():
        encoder.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0][:, 0].clone()}))
    detector.step(observe(episodes[1], 12))
    assert seen.keys() == trained_on.keys()
    for name in seen:
        assert seen[name].dtype == torch.uint8
        assert torch.equal(seen[name], trained_on[name])


def test_the_same_frame_gives_the_same_probability_every_time(detector, episodes):
    assert len({detector.step(observe(episodes[0], 5)).probability for _ in range(5)}) == 1


def test_load_refuses_another_crop_with_the_key(detector, task, tmp_path):
    detector.save(tmp_path / "d")
    front, wrist = task.observation.cameras
    moved = (dataclasses.replace(front, crop=(0.1, 0.0, 0.9, 1.0)), wrist)
    other = dataclasses.replace(task, observation=dataclasses.replace(task.observation, cameras=moved))
    with pytest.raises(SpecMismatch, match=r"cameras\.front\.crop"):
        SuccessDetector.load(tmp_path / "d", other)


def test_load_accepts_a_task_that_differs_elsewhere(detector, task, tmp_path):
    detector.save(tmp_path / "d")
    SuccessDetector.load(tmp_path / "d", dataclasses.replace(task, time_limit_steps=999))


def test_load_refuses_weights_of_another_detector_and_an_empty_folder(detector, task, tmp_path):
    other = SuccessDetector(SuccessModel(ClassifierSpec.for_task(task, seed=9)), detector.calibration)
    detector.save(tmp_path / "a")
    other.save(tmp_path / "b")
    (tmp_path / "a" / "weights.safetensors").write_bytes((tmp_path / "b" / "weights.safetensors").read_bytes())
    with pytest.raises(UserError, match="Train again"):
        SuccessDetector.load(tmp_path / "a", task)
    with pytest.raises(UserError, match="hilserl classifier train"):
        SuccessDetector.load(tmp_path / "nothing", task)


def test_saving_again_keeps_the_earlier_detector_and_spares_other_folders(detector, task, tmp_path):
    later = SuccessDetector(detector.model, Calibration(0.7, 1, 1.0))
    detector.save(tmp_path / "d")
    later.save(tmp_path / "d")
    assert SuccessDetector.load(tmp_path / "d", task).version == later.version
    assert SuccessDetector.load(tmp_path / "d.old-1", task).version == detector.version
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(UserError, match="not a detector"):
        later.save(tmp_path / "mine")
    assert {p.name for p in tmp_path.iterdir()} == {"d", "d.old-1", "mine"}


def test_a_failed_save_leaves_nothing(detector, tmp_path):
    with pytest.raises(TypeError):
        detector.save(tmp_path / "d", {"report.json": 5})
    assert not list(tmp_path.iterdir())


def test_an_observation_without_the_camera_or_with_floats_is_refused(detector, episodes):
    good = observe(episodes[0], 0)
    with pytest.raises(ValueError, match="no camera 'wrist'"):
        detector.step(dataclasses.replace(good, images={"front": good.images["front"]}))
    with pytest.raises(ValueError, match="uint8"):
        detector.step(dataclasses.replace(good, images={n: x / 255.0 for n, x in good.images.items()}))


STAGES = {"stages": ("grasped", "placed", "success"), "failures": ("fell",)}


def staged():
    return Bare(*(Calibration(0.5, 1, 0.0, after=after) for after in (0, 1, 2, 0)), **STAGES)


def test_stages_count_in_their_order_and_stay_passed():
    detector = staged()
    told = [detector.judge(p) for p in ([0, 0, 1, 0], [1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0])]
    assert [(v.stage, v.success) for v in told] == [(0, False), (1, False), (2, False), (3, True)]
    detector.reset()
    assert not detector.judge([0, 0, 1, 0]).success  # put there by hand: not grasped first


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=4, max_size=4), max_size=25))
def test_a_stage_never_falls_and_success_needs_every_one(frames):
    detector, before, passed = staged(), 0, []
    for p in frames:
        verdict = detector.judge(p)
        assert verdict.stage >= before or verdict.stage == 2  # success is of this moment, the stages are for good
        assert not verdict.success or (before >= 2 and p[2] == 1)
        assert verdict.failure == ("fell" if p[3] else "")
        passed.append(p)
        before = min(verdict.stage, 2)
        if before >= 1:
            assert any(q[0] for q in passed)


def test_a_shut_gate_is_no_success_whatever_the_images_say(detector, episodes):
    shut = SuccessDetector(detector.model, dataclasses.replace(detector.calibration, gates=(Gate("q.0", 0, 5.0, 6.0),)))
    assert shut.step(observe(episodes[0], 3)).probability == 0.0
    assert shut.version != detector.version
