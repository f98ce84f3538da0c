"""The spec guards the weights; the network sees where things are and treats frames one by one."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from classifier.encoders import Encoder, EncoderConfig
from classifier.model import ClassifierSpec, StateInput, SuccessModel
from data.errors import UserError
from data.spec import SpecMismatch


def random_images(spec, count, seed=0):
    rng = np.random.default_rng(seed)
    return {c.name: rng.integers(0, 256, (count, c.size_px, c.size_px, 3), dtype=np.uint8) for c in spec.cameras}


def with_camera(task, which, **changes):
    cameras = tuple(dataclasses.replace(c, **changes) if c.name == which else c for c in task.observation.cameras)
    return dataclasses.replace(task, observation=dataclasses.replace(task.observation, cameras=cameras))


def test_spec_survives_json_and_refuses_unknown_keys(task):
    spec = ClassifierSpec.for_task(task, seed=3)
    assert ClassifierSpec.from_json(spec.to_json()) == spec
    with pytest.raises(Exception, match="typo"):
        ClassifierSpec.from_json(json.dumps({**json.loads(spec.to_json()), "typo": 1}))


def test_another_crop_or_size_is_refused_with_the_key(task):
    spec = ClassifierSpec.for_task(task)
    spec.require_cameras(task, "it")
    with pytest.raises(SpecMismatch, match=r"cameras\.wrist\.crop.*0\.9.*\n(?!.*front)"):
        spec.require_cameras(with_camera(task, "wrist", crop=(0.0, 0.0, 0.9, 1.0)), "it")
    with pytest.raises(SpecMismatch, match=r"cameras\.front\.size_px: this session has 64, it has 48"):
        spec.require_cameras(with_camera(task, "front", size_px=64), "it")
    with pytest.raises(SpecMismatch, match="no such camera"):
        spec.require_cameras(with_camera(task, "front", name="side"), "it")


def test_cameras_it_does_not_look_through_may_differ(task):
    spec = dataclasses.replace(ClassifierSpec.for_task(task), cameras=task.observation.cameras[:1])
    spec.require_cameras(with_camera(task, "wrist", size_px=64), "it")


def logits(model, images):
    count = len(next(iter(images.values())))
    return model.logits(images, np.zeros((count, 2), np.float32))


def test_a_frame_scores_the_same_alone_and_in_a_batch(task):
    model = SuccessModel(ClassifierSpec.for_task(task)).eval()
    images = random_images(model.spec, 5)
    together = logits(model, images)
    alone = [logits(model, {n: x[i : i + 1] for n, x in images.items()})[:, 0] for i in range(5)]
    np.testing.assert_allclose(together, np.stack(alone, 1), atol=1e-5)
    assert together.shape == (3, 5, 1)


def test_every_camera_and_every_state_changes_the_score(task):
    state = StateInput.parse("q.1", task.observation)
    model = SuccessModel(dataclasses.replace(ClassifierSpec.for_task(task), state=(state,))).eval()
    images, others = random_images(model.spec, 1), random_images(model.spec, 1, seed=1)
    base = logits(model, images)
    for name in images:
        assert (np.abs(logits(model, {**images, name: others[name]}) - base) > 1e-6).all()
    assert (np.abs(model.logits(images, np.array([[0.0, 1.0]], np.float32)) - base) > 1e-6).all()
    np.testing.assert_array_equal(model.logits(images, np.array([[1.0, 0.0]], np.float32)), base)  # not looked at


def test_a_state_that_there_is_not_or_that_never_changes_is_refused(task):
    with pytest.raises(UserError, match=r"accepted are q\.0 to \.1"):
        StateInput.parse("height", task.observation)
    state = StateInput.parse("q.0", task.observation)
    model = SuccessModel(dataclasses.replace(ClassifierSpec.for_task(task), state=(state,)))
    with pytest.raises(UserError, match=r"q\.0 never changes"):
        model.standardise(np.zeros((9, 2), np.float32))
    with pytest.raises(SpecMismatch, match=r"state\.5: this session has \(nothing\)"):
        dataclasses.replace(model.spec, state=(StateInput("q.0", 5),)).require_cameras(task, "it")


def test_where_a_thing_is_changes_the_score(task):
    """A move by the total stride, far from the border: a globally pooled feature could not see it."""
    camera = dataclasses.replace(task.observation.cameras[0], size_px=128)
    spec = dataclasses.replace(ClassifierSpec.for_task(task), cameras=(camera,))
    scene = np.zeros((2, 128, 128, 3), np.uint8)
    scene[0, 48:56, 48:56] = scene[1, 72:80, 72:80] = 255
    here, there = logits(SuccessModel(spec).eval(), {camera.name: scene})[0, :, 0]
    assert abs(here - there) > 1e-4


def test_the_seed_decides_the_weights_and_the_global_generator_is_left_alone(task):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    one, same = SuccessModel(ClassifierSpec.for_task(task, 1)), SuccessModel(ClassifierSpec.for_task(task, 1))
    assert torch.rand(1) == expected
    other = SuccessModel(ClassifierSpec.for_task(task, 2))
    weights = [m.state_dict()["heads.0.out.0.weight"] for m in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_frozen_model_keeps_the_weights_that_it_was_given_and_trains_none_of_them(task):
    given = Encoder(task.observation.cameras[0].size_px, EncoderConfig())
    spec = dataclasses.replace(ClassifierSpec.for_task(task), frozen=True)
    model = SuccessModel(spec, lambda _: given)
    assert len(model.trunks) == 1 and len(model.heads) == 3
    assert not any(p.requires_grad for p in model.trunks.parameters())
    for name in ("front", "wrist"):
        for ours, theirs in zip(model.trunks[0][name].parameters(), given.parameters(), strict=True):
            assert torch.equal(ours, theirs) and ours is not theirs


def test_drift_tells_another_light_and_another_scene_from_the_training_frames(task):
    model = SuccessModel(ClassifierSpec.for_task(task)).eval()
    rng = np.random.default_rng(0)
    known = {n: 100 + rng.integers(0, 40, (64, 48, 48, 3), np.uint8) for n in ("front", "wrist")}
    state = np.zeros((64, 2), np.float32)
    model.remember(known, state)
    drift, brightness = model.drift(known, model.look(known, state)[1])
    assert (drift < 1).mean() == pytest.approx(0.95, abs=0.02)
    np.testing.assert_allclose(brightness, 1.0, atol=0.02)
    dark = {**known, "wrist": known["wrist"] // 2}
    drift, brightness = model.drift(dark, model.look(dark, state)[1])
    assert np.median(drift) > 1.2
    np.testing.assert_allclose(brightness, 0.5, atol=0.02)
