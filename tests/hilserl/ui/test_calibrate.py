"""The calibration page: who is right about a mistake, decided by buttons, lands in the sidecar and in the numbers."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from classifier.calibration_set import CalibrationSet
from classifier.view import ClassifierView
from data.store.episode_store import EpisodeStore
from data.store.reader import open_reader
from hilserl.ui.calibrate import calibrate_routes
from hilserl.ui.label_set import LabelSet

_detectors = runpy.run_path(str(Path(__file__).parents[2] / "classifier" / "made_detectors.py"))
STEPS = 39
MARKED = [(20, 26), (0, 0), (0, 0)]  # frames that the person marked in each episode ...
SEEN = [(0, 0), (8, 16), (25, 30)]  # ... and that the classifier takes for success


@pytest.fixture
def judged(tmp_path: Path, made) -> tuple[CalibrationSet, LabelSet]:
    """Three label episodes, in each of which classifier and person disagree once."""
    spec, episodes = made.task(cameras=1, size_px=48), []
    for number, (marked, seen) in enumerate(zip(MARKED, SEEN, strict=True)):
        episode = made.episode(spec, number, STEPS, kind="labels")
        frames, state = np.arange(STEPS + 1), np.full_like(episode.state, -1.0)
        state[slice(*seen), 0] = 1.0
        mark = (frames >= marked[0]) & (frames < marked[1])
        episodes.append(replace(episode, state=state, marked_success=mark))
    with EpisodeStore.create_or_open(tmp_path / "store", spec) as store:
        for episode in episodes:
            store.append(episode)
    _detectors["gated"](tmp_path / "classifier", spec, episodes)
    reader = open_reader(tmp_path)
    view = ClassifierView(tmp_path / "classifier", spec)
    return CalibrationSet(reader, view, tmp_path / "classifier"), LabelSet(reader, (), view)


@pytest.mark.browser
def test_who_is_right_about_a_mistake(page, served, judged: tuple[CalibrationSet, LabelSet]) -> None:
    found, labels = judged
    page.goto(served(calibrate_routes(*judged)))
    mistakes = page.locator("#mistakes li")
    expect(mistakes).to_have_count(3)
    expect(page.locator("#false b")).to_have_text("2")
    expect(page.locator("#missed b")).to_have_text("1")
    uuids = [m.uuid for m in found.mistakes()]  # in the order of the page

    def decide(number: int, says: str) -> None:
        item = mistakes.nth(uuids.index(f"episode-{number}"))
        with page.expect_response("**/api/decide"):
            item.get_by_role("button", name=says).click()

    decide(2, "I am right")
    expect(page.locator("#mistakes li.kept")).to_have_count(1)
    assert not any(labels.find(f"episode-{n}")["edited"] for n in range(3))  # the label was right: nothing to change
    decide(1, "unclear")
    frame = next(m.frame for m in found.mistakes() if m.uuid == "episode-0")
    around = labels.find("episode-1")["labels"]["unsure"]
    assert len(around) == 1 and around[0][1] - around[0][0] == 5 and 8 <= sum(around[0]) // 2 < 16
    uuids[:] = [m.uuid for m in found.mistakes()]
    decide(0, "it is right")
    assert labels.find("episode-0")["labels"]["success"] == ((frame + 3, 26),)
    expect(page.locator("#missed span")).to_have_text("of 0")  # of what is left of the mark, no frame is sure
    expect(page.locator("#missed b")).to_have_text("0")
