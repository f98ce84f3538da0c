"""`hilserl train` before its two halves start: other flags, going back, and what is noted of both."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from data.errors import UserError
from data.spec import TaskSpec
from data.store.episode_store import EpisodeStore
from hilserl.agents.networks import NetworkConfig, Policy
from hilserl.agents.policy_file import LoadedPolicy, save_policy
from hilserl.commands import train as command
from hilserl.commands.train import prepare
from hilserl.loop.learner import Learner, LearnerConfig
from hilserl.runs import RunDirectory, load_info
from hilserl.ui.address import UiArgs


@dataclass(frozen=True)
class PolicyFlag:
    path: Path


@dataclass(frozen=True)
class Flags:
    """What `prepare` needs of `TrainArgs`."""

    output_dir: Path
    policy: PolicyFlag
    task_file: Path
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    episodes: int = 80
    resume: bool = False
    rollback: str = ""
    ui: UiArgs = field(default_factory=lambda: UiArgs(enabled=False))
    curves: str = ""
    display_data: bool = False

    def read_task(self) -> TaskSpec:
        return TaskSpec.load(self.task_file)


@pytest.fixture
def flags(tmp_path: Path, made: ModuleType) -> Flags:
    """Flags of a run with two checkpoints, the first of which is the best."""
    task = made.task(1, size_px=47)
    (tmp_path / "task.json").write_text(task.to_json())
    torch.manual_seed(0)
    policy = Policy(task.observation, 4, NetworkConfig(squeeze=4, hidden=8))
    start = save_policy(tmp_path / "start", policy, task, {})
    run = RunDirectory(tmp_path / "run")
    learner = Learner(run, task, LoadedPolicy(policy, {}, {}), LearnerConfig())
    for best in (True, False):
        learner.agent.updates += 1000
        learner.checkpoint(best=best)
    EpisodeStore.create_or_open(run.path / "store", task).close()
    found = Flags(run.path, PolicyFlag(start), tmp_path / "task.json")
    prepare(run, found)
    return found


def journal(flags: Flags) -> list[dict[str, Any]]:
    path = flags.output_dir / "journal.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_same_flags_change_nothing(flags: Flags) -> None:
    (card,) = prepare(RunDirectory(flags.output_dir), replace(flags, resume=True))
    assert "from checkpoint 000002: policy ✓" in card and "changed since: nothing" in card
    assert journal(flags) == []


def test_other_flags_are_shown_noted_and_in_force(flags: Flags) -> None:
    run, other = RunDirectory(flags.output_dir), replace(flags, episodes=120, learner=LearnerConfig(utd=1.5))
    (card,) = prepare(run, other)
    assert "changed since:\n  --episodes: 80 -> 120\n  --learner.utd: 3.0 -> 1.5" in card
    (line,) = journal(flags)
    assert line["event"] == "changed flags"
    assert line["flags"] == {"episodes": [80, 120], "learner.utd": [3.0, 1.5]}
    assert json.loads((run.path / "train.json").read_text())["learner"]["utd"] == 1.5
    assert "changed since: nothing" in prepare(run, other)[0]
    shown = json.loads((run.path / "resume.json").read_text())
    assert shown["checkpoint"] == "000002" and shown["changes"] == [] and "policy ✓" in shown["parts"]


def test_what_is_wrong_with_the_card_does_not_keep_the_run_from_going_on(flags: Flags) -> None:
    run = RunDirectory(flags.output_dir)
    run.metrics_path.write_text("damaged\n{}\n")
    (card,) = prepare(run, replace(flags, episodes=120))
    assert card.startswith("no resume card: ") and card.endswith("  --episodes: 80 -> 120")


def test_flags_that_do_not_fit_the_checkpoint_change_nothing(flags: Flags) -> None:
    run, before = RunDirectory(flags.output_dir), (flags.output_dir / "train.json").read_text()
    with pytest.raises(UserError, match=r"learner\.agent"):
        prepare(run, replace(flags, learner=LearnerConfig(agent="drqv2")))
    assert (run.path / "train.json").read_text() == before and journal(flags) == []


def test_rolled_back_the_older_checkpoint_is_the_newest_one(flags: Flags) -> None:
    words, card = prepare(RunDirectory(flags.output_dir), replace(flags, rollback="best"))
    assert "from checkpoint 000003" in card
    assert words.startswith("back to checkpoint 000001 (1000 updates), saved as 000003")
    assert load_info(flags.output_dir)["updates"] == 2001
    assert [line["event"] for line in journal(flags)] == ["rolled back"]


class Done:
    """A process that has ended well."""

    returncode = 0

    def poll(self) -> int:
        return 0


@pytest.mark.parametrize("rollback", ["", "best"])
def test_both_halves_get_the_flags_and_go_on_after_a_roll_back(
    flags: Flags, rollback: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[list[str]] = []
    args = replace(flags, rollback=rollback, resume=not rollback)
    monkeypatch.setattr(command, "parse", lambda *_: args)
    monkeypatch.setattr(command, "start", lambda argv, *_: started.append(list(argv)) or Done())
    monkeypatch.setattr(command, "stop", lambda _: None)
    monkeypatch.setattr(command, "let_finish", lambda *_: None)
    monkeypatch.setattr(command, "report", lambda _: None)
    assert command.main(["--episodes=80"]) == 0
    resume = ["--resume=true"] if rollback else []
    assert started == [[half, "--episodes=80", *resume] for half in ("learner", "actor")]
    assert journal(flags)[-1]["command"] == "hilserl train --episodes=80"
    assert ("back to checkpoint" in capsys.readouterr().out) == bool(rollback)


def test_curves_are_copied_by_a_process_of_their_own(flags: Flags, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(command, "parse", lambda *_: replace(flags, resume=True, curves="tensorboard"))
    monkeypatch.setattr(command, "start", lambda argv, *_: started.append(list(argv)) or Done())
    for name in ("stop", "report"):
        monkeypatch.setattr(command, name, lambda _: None)
    monkeypatch.setattr(command, "let_finish", lambda *_: None)
    assert command.main([]) == 0
    assert started[0] == ["curves", str(flags.output_dir), "--to=tensorboard", "--follow"]
    monkeypatch.setattr(command, "parse", lambda *_: replace(flags, resume=True, curves="plots"))
    with pytest.raises(UserError, match="tensorboard, wandb, rerun"):
        command.main([])
    assert len(started) == 3


def test_a_run_that_is_there_is_not_begun_again(flags: Flags, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "parse", lambda *_: flags)
    with pytest.raises(UserError, match="--resume"):
        command.main([])
