"""The run report and the resume card of a small real run: what they say, and that the page needs nothing else."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from data.schema import Episode, Outcome, Source
from data.store.episode_store import EpisodeStore
from hilserl.commands.report import main as report
from hilserl.commands.train import report as report_at_the_end
from hilserl.metrics import MetricsLog, trailing
from hilserl.runs import RunDirectory
from hilserl.tasks import lift_task
from hilserl.ui.again import commands
from hilserl.ui.resume import resume_card
from hilserl.ui.run_data import read_run

STARTED = (
    "hilserl train --robot.type=so101_follower --robot.port /dev/ttyACM0 '--robot.cameras={a: {b: 1}}' "
    "--teleop.type=gamepad --output_dir=runs/lift --learner.utd=2 --episodes=9 --resume"
)
HEALTH = {
    "health/q_low": 0.1, "health/q_median": 0.5, "health/q_high": 0.9, "health/q_least": 0.0, "health/q_most": 1.0,
    "health/action": 0.3, "health/clipped": 0.1, "health/actor_change": 0.1, "health/critic_change": 0.2,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, made: ModuleType) -> RunDirectory:
    """Labels, 3 baseline episodes (1 success), 12 operated in two sessions, 4 checks (3 successes), an aborted one."""
    run, task = RunDirectory(tmp_path_factory.mktemp("runs") / "lift"), lift_task()
    plan = [("labels", True)] * 2 + [("baseline", i == 0) for i in range(3)]
    plan += [("online", i % 3 > 0) for i in range(12)] + [("check", i > 0) for i in range(4)] + [("online", None)]
    with EpisodeStore.create_or_open(run.path / "store", task) as store:
        for i, (kind, won) in enumerate(plan):
            outcome = Outcome.ABORTED if won is None else Outcome.SUCCESS if won else Outcome.TIMEOUT
            session = "20261120-180000-aa" if i < 10 else "20261121-090000-bb"
            meta = {"kind": kind, "outcome": outcome, "session": session, "started_unix_s": 1.8e9 + 30.0 * i}
            store.append(_lean(made.episode(task, i, 6, **meta)))
    for step in (500, 1000):
        with MetricsLog(run.metrics_path) as metrics:
            metrics.write({"updates": step, **HEALTH})
    run.journal("started", command=STARTED)
    run.journal("hint", rule="help", text="Episodes 5 to 9: it failed <every> time.", first=5, last=9)
    tensors = {name: torch.zeros(1) for name in ("policy.actor.w", "critic.w", "agent.target.w", "optimizer.actor.0")}
    for best in (True, False):
        run.save_checkpoint(
            {**tensors, "rng.torch": torch.zeros(1)}, {"updates": 1000, "operated_episodes": 12}, best=best
        )
    return run


def _lean(episode: Episode) -> Episode:
    source, frames = np.full(6, Source.POLICY, np.uint8), len(episode) + 1
    source[4:] = Source.HUMAN if episode.meta.kind == "online" else Source.POLICY
    images = {c: np.zeros((frames, 84, 84, 3), np.uint8) for c in episode.images}
    return replace(episode, source=source, images=images, p_success=np.linspace(0, 0.9, 6, dtype=np.float32))


def test_the_page_needs_no_other_file_and_no_network(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert report([str(run.path)]) == 0
    page = (run.path / "report.html").read_text()
    assert str(run.path / "report.html") in capsys.readouterr().out
    assert not re.search(r'(src|href)="(?!data:)', page) and "url(" not in page and "@import" not in page
    names = {p.stem for p in (run.path / "report").iterdir()}
    assert names == {"progress", "episodes", "coverage", "classifier", "learning"}
    assert page.count("data:image/png;base64,") == len(names)
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in (run.path / "report").iterdir())


def test_the_page_says_how_the_run_went(run: RunDirectory) -> None:
    report([str(run.path)])
    page = (run.path / "report.html").read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL))
    assert "untouched (check) 75% 3 of 4, 95 % interval 30 to 95 %; at first 1 of 3" in text
    assert "last 12 operated 67% 8 of 12" in text and "driven by you 33%" in text
    assert "22 episodes" not in text and "22 in the store, 1 of them cut short" in text
    assert "it failed &lt;every&gt; time. 3 of 5, 33% by you 5 of 7, 33% by you" in text
    assert "nothing looks wrong after 1000 updates" in text


def test_blocks_are_the_untouched_stretches(run: RunDirectory) -> None:
    data = read_run(run.path)
    assert [(b.kind, b.place, b.wins, b.n) for b in data.blocks()] == [("baseline", 0, 1, 3), ("check", 12, 3, 4)]
    assert (np.diff(data.minutes) > 0).all() and data.minutes[-1] == pytest.approx(0.5 * 18 + 0.01)
    assert data.coverage.of == "start"


def test_a_run_that_was_only_recorded_has_a_page_too(tmp_path: Path, made: ModuleType) -> None:
    task = made.task(cameras=0)
    with EpisodeStore.create_or_open(tmp_path / "store", task) as store:
        store.append(made.episode(task, 0, kind="demo"))
    assert report([str(tmp_path)]) == 0
    assert "no training yet" in (tmp_path / "report.html").read_text()


def test_a_report_that_fails_does_not_hide_how_the_run_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report_at_the_end(tmp_path)
    assert "No report" in capsys.readouterr().out


def test_the_card_says_what_is_restored_and_what_is_not(run: RunDirectory) -> None:
    card = resume_card(run.path, ["  --episodes: 80 -> 9"])
    assert (card.operated, card.recent.wins, card.recent.n, card.untouched) == (12, 8, 12, None)
    assert card.replay_steps == 120 and card.human_steps == 26
    assert dict(card.restored) == dict.fromkeys(("policy", "critics", "targets", "optimisers", "random numbers"), True)
    text = " ".join(card.text().split())
    assert "lift · last used" in text and "12 operated episodes · 1000 updates" in text
    assert "from checkpoint 000002: policy ✓, critics ✓" in text and "replay 120 steps, 26 of them by a person" in text
    assert "changed since: --episodes: 80 -> 9 the best that was checked is checkpoint 000001" in text
    assert all(len(line) <= 110 for line in card.text().splitlines())


def test_the_commands_to_go_on_name_the_arm_once(run: RunDirectory) -> None:
    found = dict(commands(run.path, [{"event": "started", "command": STARTED}], 12))
    arm = shlex.split(found["first, in a shell"].removeprefix("ARM=(").removesuffix(")"))
    assert arm == [
        "--robot.type=so101_follower", "--robot.port", "/dev/ttyACM0", "--robot.cameras={a: {b: 1}}",
        "--teleop.type=gamepad", "--output_dir=runs/lift",
    ]  # fmt: skip
    assert found["go on"] == 'hilserl train "${ARM[@]}" --learner.utd=2 --episodes=9 --resume'
    assert found["go back to the best"].endswith("--episodes=9 --rollback=best")
    assert found["evaluate 10 first"].endswith("--episodes=10 --name=eval-12")
    assert "go on" not in dict(commands(run.path, [], 0))


def test_a_trailing_mean_is_shorter_at_the_start() -> None:
    np.testing.assert_allclose(trailing(np.array([1, 0, 1, 1]), 2), [1, 0.5, 0.5, 1])
    assert len(trailing(np.array([]), 3)) == 0
