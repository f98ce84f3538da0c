"""`hilserl actor`: when the next episode may begin, and how it finds a learner elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import UserError
from hilserl.commands import actor as command
from hilserl.commands.actor import LearnerSilent, may_begin
from hilserl.commands.arguments import ActorArgs, parse
from hilserl.loop.link import STALE_S, LearnerStatus

ARM = ["--robot.type=so101_follower", "--robot.port=/dev/null", "--teleop.type=none"]


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    return [*ARM, f"--output_dir={tmp_path / 'run'}"]


def status(phase: str = "training", debt: int = 0) -> LearnerStatus:
    return LearnerStatus(phase, updates=9, debt=debt, episodes=3, version=5)


def test_with_a_learner_that_answers_training_begins_when_it_has_caught_up(flags: list[str]) -> None:
    args = parse(ActorArgs, [*flags, "--max_debt=100"])
    assert may_begin(status(), 0.0, args) == (True, "")
    assert may_begin(status(debt=100), STALE_S, args) == (True, "")
    assert may_begin(status(debt=101), 0.0, args) == (False, "")
    assert may_begin(status("critics"), 0.0, args) == (False, "")
    assert may_begin(None, 0.0, args) == (False, "")


def test_a_silent_learner_here_is_an_error_and_elsewhere_a_warning_then_a_hold(flags: list[str]) -> None:
    here = parse(ActorArgs, [*flags, "--give_up_s=30"])
    assert not may_begin(status(), 29.0, here)[0], "it may have to load a large store; the arm holds"
    with pytest.raises(LearnerSilent):
        may_begin(status(), 31.0, here)
    args = parse(ActorArgs, [*flags, "--connect=5000", "--hold_after_s=50", "--max_debt=100"])
    assert may_begin(status(debt=101), 50.0, args) == (
        True,
        "no word from the learner: going on with the last weights, for 50 s at most",
    )
    for said, silent_s in ((status(), 51.0), (status("critics"), STALE_S + 1), (None, STALE_S + 1)):
        begins, words = may_begin(said, silent_s, args)
        assert not begins and "the arm holds until it answers" in words


@pytest.mark.parametrize(
    "named", [["--connect=gpu-box:5000"], ["--learner=gpu-box:5000"], ["--learner", "gpu-box:5000"]]
)
def test_the_learner_is_met_before_any_device_is_opened(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, named: list[str]
) -> None:
    def met(args: ActorArgs, *_: object) -> None:
        assert args.connect == "gpu-box:5000" and args.learner.baseline_episodes == 7
        raise UserError("the learner refuses")

    monkeypatch.setattr(command, "introduced_courier", met)
    monkeypatch.setattr(command, "open_actor", lambda *_, **__: pytest.fail("a device was opened"))
    with pytest.raises(UserError, match="the learner refuses"):
        command.main([*flags, *named, "--learner.baseline_episodes=7"])


def test_a_learner_that_is_not_there_yet_is_only_warned_of(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Opened(Exception):
        pass

    def opened(*_: object, **__: object) -> None:
        raise Opened

    monkeypatch.setattr(command, "open_actor", opened)
    with pytest.raises(Opened):
        command.main([*flags, "--connect=127.0.0.1:1"])
    assert "the learner at 127.0.0.1:1" in caplog.text and "(UNAVAILABLE)" in caplog.text
