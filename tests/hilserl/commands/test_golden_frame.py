"""Invariant 5: one native frame is the same network input wherever a classifier looks, through the commands themselves.

Arm and clock are a simulated world's; the cameras show one frame all the time; a hand of the actor's tests presses.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hilserl.loop.control as control
from classifier.calibrate import Calibration
from classifier.calibration_set import CalibrationSet
from classifier.detector import REPORT, SuccessDetector
from classifier.fit import make_report, traces_of
from classifier.frames import LabelledFrames, make_folds
from classifier.model import ClassifierSpec, SuccessModel
from classifier.train import train_classifier
from classifier.view import ClassifierView
from data.images import preprocess
from data.store.reader import open_reader
from hilserl.commands import actor, classifier_preview, eval, record, relabel_all, wiring
from hilserl.commands.classifier_train import ClassifierTrainArgs, labelled_episodes, make_spec
from hilserl.loop.env import start_joints
from hilserl.tasks import lift_task
from sim_pretrain.world.physics import World
from sim_pretrain.world.sim_arm import SimArm, SimClock
from teleop.inputs import Button

_spec = importlib.util.spec_from_file_location("actor_bench", Path(__file__).parents[1] / "loop" / "actor_bench.py")
_bench = importlib.util.module_from_spec(_spec)  # type: ignore[arg-type]
_spec.loader.exec_module(_bench)  # type: ignore[union-attr]
IDLE, Hand, drive, press = _bench.IDLE, _bench.Hand, _bench.drive, _bench.press

TASK = lift_task()
GOLDEN = {c.name: np.random.default_rng(i).integers(0, 256, (96, 128, 3), np.uint8)
          for i, c in enumerate(TASK.observation.cameras)}  # fmt: skip
EXPECTED = {c.name: {preprocess(GOLDEN[c.name], c).tobytes()} for c in TASK.observation.cameras}
END = press(Button.FAILURE)


class Table(SimArm):
    """A simulated arm that can be asked what the page shows of a real one."""

    def celsius(self) -> dict[str, int]:
        return {}


class Stuck:
    """Cameras that show the golden frame for ever."""

    def read(self, name: str) -> tuple[np.ndarray, float]:
        return GOLDEN[name].copy(), 0.0

    newest = read


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Puts a hand with these scripts beside the arm; returns the flags of a command that moves it."""
    world = World()
    world.set_joints(start_joints(TASK, np.array([0.23, 0.0, 0.10])))
    monkeypatch.setattr(control, "WAIT_S", 0.0)
    monkeypatch.setattr(wiring, "WallClock", lambda: SimClock(world))
    monkeypatch.setattr(wiring, "open_arm", lambda *_, **__: contextlib.nullcontext(Table(world)))
    monkeypatch.setattr(wiring, "preflight", lambda *_: ())  # it asks a bus, and there is none
    monkeypatch.setattr(wiring, "open_cameras", lambda _: contextlib.nullcontext(Stuck()))

    def flags(*scripts: list) -> list[str]:
        monkeypatch.setattr(wiring, "connect_operator", lambda _: Hand(*scripts))
        port = ["--robot.type=so101_follower", "--robot.port=/dev/null", "--teleop.type=none"]
        return [*port, "--ui.enabled=false", f"--output_dir={tmp_path}"]

    return flags


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> defaultdict[str, set[bytes]]:
    """Every different picture that any network of a classifier gets, by camera."""
    found = defaultdict[str, set[bytes]](set)
    features = SuccessModel.features

    def spied(self, images, member):
        for name, batch in images.items():
            found[name] |= {picture.numpy().tobytes() for picture in batch}
        return features(self, images, member)

    monkeypatch.setattr(SuccessModel, "features", spied)
    return found


def test_a_golden_frame_is_the_same_network_input_on_every_path(session, seen, tmp_path: Path) -> None:
    held = replace(IDLE, success_held=True)
    shows, fails, brief = [IDLE] * 4 + [held] * 8 + [END], [IDLE] * 10 + [END], [IDLE, IDLE, END]
    assert record.main([*session(shows, fails, shows, fails), "--purpose=classifier", "--episodes=4"]) == 0

    def looked(path: str) -> None:
        assert dict(seen) == EXPECTED, path
        seen.clear()

    reader = open_reader(tmp_path)
    spec, start = make_spec(ClassifierTrainArgs(tmp_path, members=2), TASK)
    still = replace(spec.augmentation, **dict.fromkeys(vars(spec.augmentation), 0))  # it is the only difference
    model, trained, frames = fitted(labelled_episodes(reader), replace(spec, augmentation=still), start)
    looked("training")

    detector = SuccessDetector(model, Calibration(1.0, 1, 0.0))
    nothing = traces_of(frames, np.zeros(len(frames.label)), 0, np.ones(len(frames.label), bool))
    report = make_report(detector, trained, frames, nothing, TASK, 0.0)
    detector.save(tmp_path / "classifier", {REPORT: report.to_json()})
    seen.clear()
    CalibrationSet(reader, ClassifierView(tmp_path / "classifier", TASK), tmp_path / "classifier").table()
    looked("calibration")

    named = f"--classifier.path={tmp_path / 'classifier'}"
    assert classifier_preview.main([*session([drive()] * 9), "--episodes=1", "--length_s=0.5"]) == 0
    looked("preview")
    assert actor.main([*session(brief), named, "--learner.baseline_episodes=1", "--episodes=0"]) == 0
    looked("actor")
    assert eval.main([*session(brief), named, "--episodes=1", "--films=0"]) == 0
    looked("evaluation")
    relabel_all.by_classifier(tmp_path, tmp_path / "classifier", apply=False)
    looked("relabelling")


def fitted(episodes, spec: ClassifierSpec, start):
    """One epoch of training, and what it learned from."""
    frames = LabelledFrames.from_episodes(episodes, spec.cameras, spec.task_fingerprint)
    folds = make_folds(frames, spec.members, spec.seed)
    model, trained = train_classifier(frames, folds, spec, start=start, epochs=1, progress=False)
    return model, trained, frames
