"""Checklist, preview captures and relabelling of many: pure parts and their files."""

import json
import runpy
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier.calibrate import Calibration
from classifier.detector import Verdict
from classifier.model import SuccessModel
from data.errors import UserError
from data.schema import Outcome
from data.store.episode_store import EpisodeStore
from data.store.reader import open_reader
from hilserl.cli import main
from hilserl.commands import relabel_all
from hilserl.commands.capture import KINDS, bar, meters, next_kind
from hilserl.commands.classifier_preview import Shown, Wrong, captured, picture
from hilserl.commands.classifier_train import ClassifierTrainArgs, make_spec
from hilserl.tasks import bowl_task
from teleop.inputs import Button, OperatorState, Prompt

_detectors = runpy.run_path(str(Path(__file__).parents[2] / "classifier" / "made_detectors.py"))


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


def test_wrong_is_about_the_frame_that_was_shown_and_goes_no_further():
    class Hands:
        pressed = frozenset[Button]()

        def read(self):
            return OperatorState(stamp_s=0.0, pressed=self.pressed)

        def tell(self, prompt, **details): ...

    class Detector:
        version, calibration = "v", Calibration(0.5, 1, 0.0)

        def reset(self): ...

        def step(self, observation):
            return Verdict(0.9, True)

        def at(self, threshold):
            return Detector()

    hands, shown = Hands(), Shown(Detector())  # type: ignore[arg-type]
    wrong = Wrong(hands, shown)  # type: ignore[arg-type]
    shown = shown.at(0.7)  # moved by the person, between two episodes
    shown.reset()
    wrong.tell(Prompt.EPISODE_STARTED, uuid="u")
    assert not wrong.read().note
    for frame in range(1, 4):
        shown.step(None)  # type: ignore[arg-type]
        for look in range(5):  # the hands are looked at many times a frame
            hands.pressed = frozenset({Button.FAILURE} if (frame, look) == (2, 4) else ())
            state = wrong.read()
            assert not state.pressed and state.note == "WOULD END HERE: success"  # which the page shows
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


S, F, N = Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT
SEEN = [  # how it ended, the frame from which on another classifier sees success, how it counts then
    (S, 9, S),
    (S, None, N),
    (N, 9, S),
    (S, 4, S),  # it would have ended earlier: what was done after that is not what the policy would have met
    (N, None, N),
    (F, 9, F),  # a person's word
]


@pytest.fixture
def judged(tmp_path, made):
    """A run whose episodes ended by one classifier, and another classifier."""
    spec, episodes = made.task(cameras=1, size_px=48), []
    for number, (outcome, frame, _) in enumerate(SEEN):
        episode = made.episode(spec, number, 9, outcome=outcome)
        state = np.full_like(episode.state, -1.0)
        state[len(state) if frame is None else frame :, 0] = 1.0
        ends = {"reward": outcome is S, "terminated": outcome is not N, "truncated": outcome is N}
        last = {k: (np.arange(9) == 8) & v for k, v in ends.items()}
        episodes.append(replace(episode, state=state, **(last | {"reward": last["reward"].astype(np.float32)})))
    with EpisodeStore.create_or_open(tmp_path / "run" / "store", spec) as store:
        for episode in episodes:
            store.append(episode)
    _detectors["gated"](tmp_path / "other", spec, episodes)
    return tmp_path / "run", f"--classifier={tmp_path / 'other'}"


def test_another_classifier_is_a_view_until_it_is_applied(judged, capsys):
    run, other = judged

    def relabelled(*flags):
        assert main(["data", "relabel", str(run), other, *flags]) == 0
        return capsys.readouterr().out

    assert "2 of 6 would change; nothing is changed" in relabelled()
    reader = open_reader(run)
    assert not reader.annotations.entries()
    assert "2 of 6 would change; outcomes follow it now" in relabelled("--apply")
    found = [reader.read(c) for c in reader.commits()]
    assert [e.meta.outcome for e in found] == [now for _, _, now in SEEN]
    for episode, (_, _, now) in zip(found, SEEN, strict=True):
        assert episode.reward.tolist() == [0.0] * 8 + [float(now is S)]
        assert (episode.terminated[-1], episode.truncated[-1]) == (now is not N, now is N)
    assert "0 of 6 would change" in relabelled("--apply")
    assert main(["data", "relabel", str(run), "--episode=1", "--undo"]) == 0
    assert reader.read(1).meta.outcome is S


def test_what_a_person_has_decided_stays_when_a_classifier_is_applied(judged, capsys):
    run, other = judged
    assert main(["data", "relabel", str(run), "--episode=1", "--outcome=success", "--why=I saw it"]) == 0
    assert main(["data", "relabel", str(run), other, "--apply"]) == 0
    assert "1 of 5 would change" in capsys.readouterr().out
    assert open_reader(run).read(1).meta.outcome is S


def test_the_encoder_may_be_that_of_another_tasks_policy_if_it_sees_images_of_this_size():
    bowl = bowl_task()  # the policy that is shipped was made for the lift
    spec, start = make_spec(ClassifierTrainArgs(Path()), bowl)
    assert start is not None and spec.task_fingerprint == bowl.fingerprint
    assert all(SuccessModel(spec, start).trunks[0][c.name].features == start(c.name).features for c in spec.cameras)
    cameras = tuple(replace(c, size_px=96) for c in bowl.observation.cameras)
    larger = replace(bowl, observation=replace(bowl.observation, cameras=cameras))
    with pytest.raises(UserError, match=r"\[84\] px.*\[96\].*--encoder=strided"):
        make_spec(ClassifierTrainArgs(Path()), larger)
