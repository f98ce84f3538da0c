"""The contact sheet."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from data.errors import UserError
from sim_pretrain.task import preview as module
from sim_pretrain.task.preview import preview
from sim_pretrain.task.tasks import find_task
from sim_pretrain.world.randomize import Randomization

SMALL = replace(find_task("lift"), profile=replace(find_task("lift").profile, native_width_px=32, native_height_px=24))
FEW = Randomization().only("table_rgb", "servo_gain", "wrist_tilt_deg")


def test_it_shows_random_resets_and_the_ends_of_every_axis(tmp_path, monkeypatch):
    shown, counted = [], []
    monkeypatch.setattr(module, "_show", lambda cell, left, right, title: shown.append((title, left, right)))
    monkeypatch.setattr(module, "_histogram", lambda cell, name, samples, base, title: counted.append((name, title)))
    preview(SMALL, FEW, tmp_path / "sheet.png", resets=7)
    titles = [title for title, _, _ in shown]
    assert len(titles) == 7 + 2 and all(title.startswith("cube 30 mm") for title in titles[:7])
    assert len(set(titles[:7])) == 7  # each with its own gain
    assert [title.splitlines()[0] for title in titles[7:]] == ["wrist_tilt_deg", "table_rgb"]
    assert titles[7].endswith("each -4 to +4°")
    assert all(left.shape == right.shape == (24, 24, 3) for _, left, right in shown)
    dark, light = shown[-1][1:]
    assert light.mean() > dark.mean() + 50
    assert counted == [("servo_gain", "servo_gain\n42 to 78")]  # no picture shows it


def test_it_is_a_picture_and_equal_seeds_give_equal_ones(tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        preview(SMALL, FEW, tmp_path / name, seed=seed, resets=2)
    one, same, other = (cv2.imread(str(tmp_path / name)) for name in ("one", "same", "other"))
    assert one.shape[1] > 1500 and one.shape[0] > 400 and one.std() > 20
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_what_cannot_be_shown_is_refused(tmp_path):
    with pytest.raises(UserError, match="nothing to preview"):
        preview(SMALL, Randomization(scale=0.0), tmp_path / "sheet.png")
    with pytest.raises(UserError, match="no folder"):
        preview(SMALL, FEW, tmp_path / "absent" / "sheet.png", resets=1)
    with pytest.raises(UserError, match="directory"):
        preview(SMALL, FEW, tmp_path, resets=1)
