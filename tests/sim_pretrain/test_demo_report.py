"""The table and the plot, from a store and a record of truth made by hand."""

import json

import numpy as np
import pytest

from data.schema import Episode, EpisodeMeta, Observation, Outcome, Source, Transition
from data.spec import CameraSpec, ObservationSpec, StateField, TaskSpec
from data.store.episode_store import EpisodeStore
from hilserl.ui.attempts import read_truth
from sim_pretrain.demo_report import write_report

TASK = TaskSpec(
    name="test",
    observation=ObservationSpec(
        cameras=(CameraSpec("wrist", (0.0, 0.0, 1.0, 1.0), 4),),
        policy_cameras=("wrist",),
        state=(StateField("joints", 2, "rad", -1.0, 1.0),),
    ),
)
MINUTES = {"before": 1.0, "training": 2.5, "after": 0.5}


def episode(kind: str, number: int, outcome: Outcome, steps: int, human: int) -> Episode:
    observation = Observation({"wrist": np.zeros((4, 4, 3), np.uint8)}, np.zeros(2, np.float32), 0.0)
    won = outcome is Outcome.SUCCESS

    def transition(t: int) -> Transition:
        last = t == steps - 1
        return Transition(
            proposed=np.zeros(4, np.float32),
            executed=np.zeros(4, np.float32),
            source=Source.HUMAN if t < human else Source.POLICY,
            next_observation=observation,
            reward=float(last and won),
            terminated=last and outcome in (Outcome.SUCCESS, Outcome.FAILURE),
            truncated=last and outcome not in (Outcome.SUCCESS, Outcome.FAILURE),
            p_success=float("nan"),
            policy_version=0,
        )

    meta = EpisodeMeta(outcome=outcome, kind=kind, spec_fingerprint=TASK.fingerprint, uuid=f"{kind}-{number}")
    return Episode.from_steps(observation, [transition(t) for t in range(steps)], meta)


@pytest.fixture
def run(tmp_path):
    s, t, a = Outcome.SUCCESS, Outcome.TIMEOUT, Outcome.ABORTED
    recorded = [  # kind, what the store says, what is true, steps, human steps
        ("eval-before", t, False, 8, 0), ("eval-before", s, True, 4, 0), ("eval-before", a, True, 2, 0),
        ("baseline", t, False, 8, 0),
        ("online", s, True, 6, 3), ("online", s, False, 6, 0), ("online", t, True, 8, 2),
        ("eval-after", s, True, 5, 0), ("eval-after", s, True, 3, 0),
    ]  # fmt: skip
    (tmp_path / "rig").mkdir()
    with (
        EpisodeStore.create_or_open(tmp_path / "store", TASK) as store,
        (tmp_path / "rig/truth.jsonl").open("w") as out,
    ):
        for number, (kind, outcome, truth, steps, human) in enumerate(recorded):
            store.append(episode(kind, number, outcome, steps, human))
            out.write(json.dumps({"tag": f"{kind}-{number}", "success": truth}) + "\n")
    return tmp_path


def test_the_rows_count_truth_and_leave_aborted_episodes_out(run):
    text = write_report(run, {"online": 3}, MINUTES)
    report = json.loads((run / "report.json").read_text())
    rows = {r["name"].split(":")[0] + r["name"].split(":")[1][:9]: r for r in report["rows"]}
    found = [(r["n"], r["wins"], r["intervened"], r["steps"]) for r in report["rows"]]
    assert found == [(2, 1, 0, 6.0), (1, 0, 0, 8.0), (3, 2, 2, pytest.approx(20 / 3)), (2, 2, 0, 4.0)], rows
    for row in report["rows"]:
        assert 0 <= row["low"] <= row["success"] <= row["high"] <= 1
    # Judged: baseline, online and eval-after; one false success, one missed.
    assert report["classifier"] == {"episodes": 6, "agree": 4, "false_successes": 1}
    assert report["minutes"] == MINUTES and report["sizes"] == {"online": 3}
    assert "100%" in text and "4 of 6" in text and "1 false" in text and "4.0 minutes" in text


def test_the_plot_is_a_picture(run):
    write_report(run, {}, MINUTES)
    assert (run / "progress.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "progress.png").stat().st_size > 10_000


def test_an_interrupted_demo_has_a_report_too(tmp_path):
    (tmp_path / "rig").mkdir()
    (tmp_path / "rig" / "truth.jsonl").write_text("")
    EpisodeStore.create_or_open(tmp_path / "store", TASK).close()
    write_report(tmp_path, {}, MINUTES)
    report = json.loads((tmp_path / "report.json").read_text())
    assert [(r["n"], r["low"], r["high"]) for r in report["rows"]] == [(0, 0.0, 1.0)] * 4


def test_the_last_word_on_an_episode_counts(tmp_path):
    path = tmp_path / "truth.jsonl"
    path.write_text('{"tag": "a", "success": false}\n{"tag": "a", "success": true}\n{"tag": "b", "success": false}\n')
    assert read_truth(path) == {"a": True, "b": False}
