"""From nothing to a classifier that is trusted, as a person goes: record, label, train, calibrate, preview."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from classifier.calibration_set import CalibrationSet
from classifier.view import ClassifierView
from data.store.reader import open_reader
from hilserl.cli import main
from hilserl.ui.calibrate import calibrate_routes
from hilserl.ui.label import label_routes
from hilserl.ui.label_set import LabelSet
from sim_pretrain.rig.client import arm_flags

EPISODES = 5  # the scripted operator succeeds in the first three of five


@pytest.fixture
def rig() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="rig"))  # short: a socket's path has 107 characters at most
    command = [
        sys.executable,
        "-m",
        "hilserl.cli",
        "rig",
        f"--directory={directory}",
        "--time_scale=4",
        "--profile.camera_fps=15",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 90
    while not (directory / "rig.json").exists():
        assert process.poll() is None and time.monotonic() < deadline_s, "the rig did not start"
        time.sleep(0.02)
    yield directory
    process.terminate()
    process.wait(20)
    shutil.rmtree(directory)


@pytest.mark.browser
def test_record_label_train_calibrate_preview(rig: Path, tmp_path: Path, page, served, capsys) -> None:
    run = tmp_path / "run"
    person = ["--teleop.type=scripted", f"--teleop.rig={rig}", "--teleop.plays=show", "--ui.enabled=false"]
    arm = [*arm_flags(rig), f"--output_dir={run}", *person]
    assert main(["record", *arm, "--purpose=classifier", "--keep_native=false", f"--episodes={EPISODES}"]) == 0
    assert "now: success" in capsys.readouterr().out  # the checklist asked for something

    reader = open_reader(run)
    page.goto(served(label_routes(LabelSet(reader))))
    page.wait_for_selector("#episodes li.here")
    first = reader.commits()[0]
    ((begin, end),) = LabelSet(reader).find(first.uuid)["labels"]["success"]  # marked by holding the button
    for _ in range(end - 4):
        page.keyboard.press("ArrowRight")
    with page.expect_response("**/api/label"):
        page.keyboard.press("o")  # it ends four frames earlier
    box = page.locator("#timeline").bounding_box()
    across = lambda k: box["x"] + box["width"] * k / (first.steps + 1)  # noqa: E731
    page.mouse.move(across(begin), box["y"] + 20)
    page.mouse.down()
    page.mouse.move(across(begin + 3), box["y"] + 20, steps=3)
    with page.expect_response("**/api/label"):
        page.mouse.up()
    assert LabelSet(reader).find(first.uuid)["labels"]["success"] == ((begin + 3, end - 3),)

    assert main(["classifier", "train", f"--output_dir={run}", "--quick=true"]) == 0
    table = capsys.readouterr().out
    assert "false successes" in table and "one session" in table

    view = ClassifierView(run / "classifier", reader.spec)
    before = view.detector.version
    labels = LabelSet(reader, (), view)
    page.goto(served(label_routes(labels)))
    page.wait_for_selector("#episodes li.here")
    page.keyboard.press("n")
    shoot(page, "label")
    page.goto(served(calibrate_routes(CalibrationSet(reader, view, run / "classifier"), labels)))
    page.wait_for_selector("#false.good, #false.bad")
    curve = page.locator("#curve").bounding_box()
    page.mouse.move(curve["x"] + curve["width"] * 0.7, curve["y"] + 40)
    page.mouse.down()
    with page.expect_response("**/api/try"):
        page.mouse.up()
    with page.expect_response("**/api/keep"):
        page.click("#keep")
    shoot(page, "calibrate")
    kept = ClassifierView(run / "classifier", reader.spec).detector
    assert kept.version != before
    assert kept.calibration.threshold == pytest.approx(0.989, abs=0.01)  # 0.7 of the way from -6 to 9 in logits

    assert main(["classifier", "preview", *arm, "--episodes=1", "--length_s=4"]) == 0
    assert "p(success)" in capsys.readouterr().err
    (shown,) = open_reader(run).commits("preview")
    assert shown.detector_version == kept.version


def shoot(page, name: str) -> None:
    """Keep a picture where SCREENSHOTS says."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.wait_for_timeout(500)
        page.screenshot(path=f"{folder}/{name}.png")
