"""The numbers of a run on the page, from its files, while others write them."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from data.schema import Outcome
from data.store.commit_log import Commit
from data.store.episode_store import EpisodeStore
from hilserl.loop.link import STALE_S, LearnerStatus, Link
from hilserl.metrics import MetricsLog
from hilserl.robot.watch import HOT_C, WARM_C
from hilserl.ui.progress import BARS, RECENT, Progress, arm_light, bars, learner_light, tiles

COMMIT = Commit(0, "0", "u", 50, "online", Outcome.SUCCESS, 0, "", False, 0.0, human_steps=10)
STATUS = LearnerStatus("training", updates=900, debt=3, episodes=4, version=900)


def episodes(*outcomes: str, kind: str = "online", **fields: int) -> list[Commit]:
    """One episode a letter: s success, f failure."""
    named = {"s": Outcome.SUCCESS, "f": Outcome.FAILURE}
    return [replace(COMMIT, kind=kind, outcome=named[o], **fields) for o in "".join(outcomes)]


@pytest.mark.parametrize(
    ("celsius", "look", "words"),
    [(WARM_C - 1, "good", "warmest: elbow flex"), (WARM_C, "unsure", "let it rest"), (HOT_C, "bad", "too hot")],
)
def test_the_warmest_joint_speaks_for_the_arm(celsius: int, look: str, words: str) -> None:
    light = arm_light({"gripper": 30, "elbow_flex": celsius, "wrist_roll": 31})
    assert (light.name, light.look) == ("arm", look) and words in light.words and f"{celsius} °C" in light.words


def test_before_the_first_episode_there_is_no_number() -> None:
    assert {name: tile["value"] for name, tile in tiles([], 10.0).items()} == dict.fromkeys(
        ("success", "untouched", "human", "cycle"), "–"
    )


def test_success_with_help_and_without_is_counted_apart_over_the_last_ones() -> None:
    found = tiles([*episodes("f" * RECENT), *episodes("ssff", kind="check"), *episodes("s" * 15, "f" * 5)], 10.0)
    assert found["success"]["value"] == "75%" and found["success"]["trend"] == "↗"
    assert found["success"]["note"] == "last 20: 53 to 89 %"
    assert found["untouched"]["value"] == "50%" and found["untouched"]["note"].startswith("last 4: ")
    assert found["human"] == {"value": "20%", "trend": "→", "note": "of the steps, by you"}
    assert found["cycle"]["value"] == "5.0 s"


@pytest.mark.parametrize("kind", ["baseline", "check", "eval", "eval-before"])
def test_these_kinds_are_untouched(kind: str) -> None:
    (bar,) = bars(episodes("s", kind=kind))
    assert bar == {"steps": 50, "human": 10, "outcome": "success", "untouched": True}
    assert tiles(episodes("s", kind=kind), 10.0)["success"]["value"] == "–"


def test_only_the_last_bars_are_shown() -> None:
    shown = bars([*episodes("f"), *episodes("s" * BARS)])
    assert len(shown) == BARS and {b["outcome"] for b in shown} == {"success"}


@pytest.mark.parametrize(
    ("silent_s", "rows", "look", "words"),
    [
        (0.0, [], "good", "training, 900 updates, 3 owed"),
        (0.0, [{"critic_per_step": 2.96}, {"health/action": 0.3, "health/q_high": 0.87}], "good", "3.0 updates a step"),
        (0.0, [{"health/action": 0.3, "health/temperature": 0.3}], "unsure", "rewarded for being random"),
        (0.0, [{"check/version": 9, "check/alarm": "success fell: 3 of 10"}], "bad", "success fell: 3 of 10"),
        (STALE_S + 1, [], "bad", "no word for 21 s"),
    ],
)  # fmt: skip
def test_the_learner_in_a_colour_and_in_words(silent_s: float, rows: list[dict], look: str, words: str) -> None:
    light = learner_light(STATUS, silent_s, rows)
    assert light.look == look and words in light.words


def test_a_run_is_read_while_it_grows(tmp_path: Path, made: ModuleType) -> None:
    progress, task = Progress(tmp_path), made.task(1)
    empty = progress.read()
    assert empty["bars"] == [] and [light["name"] for light in empty["lights"]] == ["disk"] and empty["guide"] == {}
    with EpisodeStore.create_or_open(tmp_path / "store", task) as store:
        store.append(made.episode(task, 0, kind="labels"))
        assert [b["outcome"] for b in progress.read()["bars"]] == ["success"]  # all there is
        store.append(made.episode(task, 1, outcome=Outcome.FAILURE))
        store.append(made.episode(task, 2, outcome=Outcome.ABORTED))
    (tmp_path / "guide.json").write_text(json.dumps({"hints": [], "place": None}))
    found = progress.read()
    assert [b["outcome"] for b in found["bars"]] == ["failure"]  # labels say nothing about the policy
    assert found["guide"] == {"hints": [], "place": None}


def test_a_learner_of_an_earlier_life_is_not_shown(tmp_path: Path) -> None:
    Link(tmp_path).report(STATUS)
    progress = Progress(tmp_path)
    assert [light["name"] for light in progress.read()["lights"]] == ["disk"]
    Link(tmp_path).report(replace(STATUS, updates=901))
    with MetricsLog(tmp_path / "metrics.jsonl") as log:
        log.write({"critic_per_step": 3.0})
    learner, _ = progress.read()["lights"]
    assert "901 updates" in learner["words"] and "3.0 updates a step" in learner["words"]
    json.dumps(progress.read())
