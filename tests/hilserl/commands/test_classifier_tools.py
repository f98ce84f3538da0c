"""Checklist, preview captures and relabelling of many: pure parts and their files."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier.detector import Verdict
from data.errors import UserError
from data.store.episode_store import EpisodeStore
from data.store.reader import open_reader
from hilserl.commands import relabel_all
from hilserl.commands.capture import KINDS, bar, meters, next_kind
from hilserl.commands.classifier_preview import Wrong, captured, picture
from teleop.inputs import Button, OperatorState, Prompt


def test_the_checklist_asks_for_every_kind_in_its_share():
    done = Counter[str]()
    for _ in range(20):
        done[next_kind(done).name] += 1
    assert done == {k.name: k.share for k in KINDS}


@given(st.integers(0, 10**6), st.integers(1, 10**4))
def test_a_bar_has_one_width(value, aim):
    assert len(bar(value, aim)) == 20
    assert ("░" not in bar(value, aim)) == (value >= aim)


@pytest.fixture
def run(tmp_path, made):
    spec = made.task()
    with EpisodeStore.create_or_open(tmp_path / "store", spec) as store:
        for number in range(3):
            episode = made.episode(spec, number, 9)
            store.append(replace(episode, meta=replace(episode.meta, kind="labels", notes={"shows": "success"})))
    return tmp_path


def test_meters_count_frames_and_kinds(run):
    text = meters(open_reader(run))
    assert "success 3" in text and "/200" in text


def test_plain_label_files_are_taken_in_whole(run, tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"0": {"success_start": 6}, "1": {"ranges": [[1, 3], [5, 7]]}, "2": {"exclude": True}}))
    assert len(relabel_all.from_file(run, path)) == 3
    reader = open_reader(run)
    assert reader.read(0).marked_success.nonzero()[0].tolist() == [6, 7, 8, 9]
    assert reader.read(1).marked_success.nonzero()[0].tolist() == [1, 2, 5, 6]
    assert [c.index for c in reader.commits()] == [0, 1]


@pytest.mark.parametrize(
    "content",
    [
        '{"0": {"success_start": 3}, "1": {"ranges": [[5, 99]]}}',
        '{"0": {"success_start": 3}, "9": {"exclude": true}}',
        '{"0": {"start": 3}}',
        "[1]",
        "no json",
    ],
)
def test_a_label_file_that_does_not_fit_changes_nothing(run, tmp_path, content):
    path = tmp_path / "labels.json"
    path.write_text(content)
    with pytest.raises(UserError):
        relabel_all.from_file(run, path)
    assert not open_reader(run).annotations.entries()


def test_wrong_is_counted_in_frames_and_goes_no_further():
    presses = [False, True, False]

    class Hands:
        def read(self):
            pressed = {Button.FAILURE} if presses.pop(0) else set()
            return OperatorState(stamp_s=0.0, pressed=frozenset(pressed))

        def tell(self, prompt, **details): ...

    wrong = Wrong(Hands())  # type: ignore[arg-type]
    wrong.tell(Prompt.EPISODE_STARTED, uuid="u")
    assert all(not wrong.read().pressed for _ in range(3))
    assert wrong.frames == [2]


@pytest.mark.parametrize("said", [0.1, 0.9])
def test_what_is_captured_is_the_opposite_of_what_was_said(made, said):
    episode = replace(made.episode(made.task(), 0, 9), p_success=np.full(9, said, np.float32))
    assert captured(episode, [], 0.5) is None
    labels = captured(episode, [6], 0.5)
    assert labels is not None
    assert (~labels["unsure"]).nonzero()[0].tolist() == [3, 4, 5, 6]
    assert labels["success"].nonzero()[0].tolist() == ([3, 4, 5, 6] if said < 0.5 else [])


def test_the_picture_says_when_an_episode_would_end():
    assert "WOULD END" in picture(Verdict(0.9, True), 0.5)
    assert "WOULD END" not in picture(Verdict(0.9, False), 0.5)
    assert "unlike" in picture(Verdict(0.9, False, drift=2.0), 0.5)
