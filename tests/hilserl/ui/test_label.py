"""The label page: what keys and dragging do lands in the sidecar as intervals, and can be undone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from data.errors import UserError
from data.store.episode_store import EpisodeStore
from data.store.reader import AnnotatedReader, open_reader
from hilserl.ui.label import label_routes
from hilserl.ui.label_set import LabelSet

STEPS = 39
MARKED = (20, 30)


@pytest.fixture
def reader(tmp_path: Path, made) -> AnnotatedReader:
    spec = made.task()
    with EpisodeStore.create_or_open(tmp_path / "run" / "store", spec) as store:
        for number in range(3):
            episode = made.episode(spec, number, STEPS)
            mark = np.zeros(STEPS + 1, bool)
            mark[slice(*MARKED)] = number != 1
            meta = replace(episode.meta, kind="labels" if number < 3 else "online")
            store.append(replace(episode, marked_success=mark, meta=meta))
    return open_reader(tmp_path / "run")


def newest(reader: AnnotatedReader, number: int) -> dict:
    labels = LabelSet(reader)
    return labels.describe(labels.commits()[number])["labels"]


def test_what_is_changed_counts_and_undo_takes_it_back(reader: AnnotatedReader) -> None:
    labels = LabelSet(reader, ("grasped",))
    uuid = labels.commits()[0].uuid
    assert labels.describe(labels.commits()[0])["labels"]["success"] == (MARKED,)
    labels.change(uuid, "success", [[5, 9], [8, 12]])
    labels.change(uuid, "grasped", [[2, 6]])
    assert reader.read(0).marked_success.nonzero()[0].tolist() == list(range(5, 12))
    assert reader.read(0).labels["grasped"].sum() == 4
    assert labels.undo()["labels"]["grasped"] == ()
    assert labels.undo()["labels"]["success"] == (MARKED,)
    with pytest.raises(UserError, match="nothing to undo"):
        labels.undo()
    assert [e.action for e in reader.annotations.entries()] == ["relabel", "relabel", "undo", "undo"]  # nothing is lost


def test_a_dropped_episode_stays_on_the_page_and_counts_nowhere_else(reader: AnnotatedReader) -> None:
    labels = LabelSet(reader)
    uuid = labels.commits()[1].uuid
    assert labels.drop(uuid)["dropped"]
    assert uuid not in [c.uuid for c in reader.commits()]
    assert uuid in [c.uuid for c in labels.commits()]
    assert not labels.drop(uuid)["dropped"]
    assert labels.undo()["dropped"]


@pytest.mark.parametrize(
    ("label", "intervals", "says"),
    [("success", [[0, STEPS + 2]], "leaves"), ("success", [[5, 3]], "no interval"), ("grasp", [], "accepted are")],
)
def test_labels_outside_the_episode_and_unknown_ones_are_refused(reader, label, intervals, says) -> None:
    labels = LabelSet(reader)
    with pytest.raises(UserError, match=says):
        labels.change(labels.commits()[0].uuid, label, intervals)
    assert not reader.annotations.entries()


@pytest.mark.browser
def test_keys_and_dragging_in_the_browser(page, served, reader: AnnotatedReader) -> None:
    page.goto(served(label_routes(LabelSet(reader))))
    page.wait_for_selector("#episodes li.here")
    press = page.keyboard.press
    for _ in range(2):
        press("Shift+ArrowRight")
    for _ in range(3):
        press("ArrowRight")
    with page.expect_response("**/api/label"):
        press("i")  # starts at 23
    with page.expect_response("**/api/label"):
        press("u")  # 21 to 25 are unsure
    assert newest(reader, 0) == {"success": ((23, 30),), "unsure": ((21, 26),)}
    box = page.locator("#timeline").bounding_box()
    assert box is not None
    across = lambda k: box["x"] + box["width"] * k / (STEPS + 1)  # noqa: E731
    page.mouse.move(across(30), box["y"] + 20)
    page.mouse.down()
    page.mouse.move(across(36), box["y"] + 20, steps=4)
    with page.expect_response("**/api/label"):
        page.mouse.up()
    assert newest(reader, 0)["success"] == ((23, 36),)
    with page.expect_response("**/api/undo"):
        press("z")
    assert newest(reader, 0)["success"] == ((23, 30),)
    press("ArrowDown")
    press("ArrowRight")
    with page.expect_response("**/api/label"):
        press("o")  # an episode without a mark: from its beginning to here
    assert newest(reader, 1)["success"] == ((0, 2),)
    with page.expect_response("**/api/drop"):
        press("d")
    expect(page.locator("#totals")).to_contain_text("dropped 1")
    press("n")
    expect(page.locator("#notice")).to_contain_text("no classifier yet")
    if shot := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{shot}/label-test.png")
