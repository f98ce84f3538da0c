"""`hilserl learner`: when it resumes and when it begins again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from hilserl.agents.networks import Policy
from hilserl.agents.policy_file import LoadedPolicy
from hilserl.commands import learner as command
from hilserl.loop.learner import Learner, LearnerConfig
from hilserl.runs import RunDirectory
from hilserl.tasks import lift_task


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def new_learner(run: RunDirectory) -> Learner:
    policy = Policy(lift_task().observation, 4)
    return Learner(run, lift_task(), LoadedPolicy(policy, {}, {}), LearnerConfig())


def called(run: RunDirectory, monkeypatch: pytest.MonkeyPatch, *, resume: bool = True) -> list[str]:
    """Run the command without its loop; return what it asked of the learner."""
    calls: list[str] = []
    args = SimpleNamespace(
        output_dir=run.path,
        policy=SimpleNamespace(path=None),
        learner=LearnerConfig(),
        episodes=80,
        resume=resume,
        listen="",
        read_task=lift_task,
    )
    real = Learner.resume
    monkeypatch.setattr(command, "parse", lambda *_: args)
    monkeypatch.setattr(command, "load_policy", lambda *_: LoadedPolicy(Policy(lift_task().observation, 4), {}, {}))
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    monkeypatch.setattr(command.logging, "basicConfig", lambda **_: None)
    monkeypatch.setattr(Learner, "resume", lambda self: (calls.append("resume"), real(self)))
    monkeypatch.setattr(Learner, "run", lambda *_: calls.append("run"))
    assert command.main([]) == 0
    return calls


@pytest.mark.parametrize("leftover", [None, ".000001.tmp"])
def test_killed_before_its_first_checkpoint_it_begins_again(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, leftover: str | None
) -> None:
    if leftover:  # it was killed in the middle of saving
        (run.checkpoints / leftover).mkdir()
    assert called(run, monkeypatch) == ["run"]


def test_with_a_checkpoint_it_resumes_when_asked_to(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    new_learner(run).checkpoint()
    assert called(run, monkeypatch, resume=False) == ["run"]
    assert called(run, monkeypatch) == ["resume", "run"]
