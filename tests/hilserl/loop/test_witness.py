"""A person's verdicts: they count between the end of an episode and the start of the next one."""

from __future__ import annotations

from pathlib import Path

from hilserl.loop.witness import ASK, Witness, read_verdicts
from teleop.inputs import Button, OperatorState, Prompt


class Presses:
    """A device on which these buttons are pressed, one reading after the other."""

    def __init__(self, *pressed: Button | None) -> None:
        self.left, self.told = list(pressed), list[Prompt]()

    def read(self) -> OperatorState:
        button = self.left.pop(0) if self.left else None
        return OperatorState(stamp_s=0.0, pressed=frozenset({button} if button else ()))

    def tell(self, prompt: Prompt, **details: str | float | int) -> None:
        self.told.append(prompt)

    def follow(self, follower: object) -> None: ...

    def close(self) -> None: ...


def test_a_verdict_belongs_to_the_episode_that_ended_last(tmp_path: Path) -> None:
    device = Presses(Button.SUCCESS, Button.FAILURE, Button.SUCCESS, Button.START, Button.SUCCESS)
    witness = Witness(device, tmp_path / "verdicts.jsonl")
    witness.read()  # before any episode: nobody's
    witness.tell(Prompt.EPISODE_ENDED, uuid="a", outcome="timeout")
    assert witness.read().pressed == {Button.FAILURE}  # passed on, too
    witness.read()  # thought better of it
    assert read_verdicts(tmp_path / "verdicts.jsonl") == {"a": True}
    witness.read()
    witness.tell(Prompt.EPISODE_STARTED, uuid="b")
    witness.read()  # ends episode b: no verdict on a
    assert read_verdicts(tmp_path / "verdicts.jsonl") == {"a": True}
    assert device.told == [Prompt.EPISODE_ENDED, Prompt.EPISODE_STARTED]


def test_the_last_episode_is_asked_for_and_not_for_ever(tmp_path: Path) -> None:
    said: list[str] = []
    witness = Witness(Presses(None, Button.FAILURE), tmp_path / "verdicts.jsonl")
    witness.ask_last(said.append, give_up_s=0.0)  # no episode was run
    witness.tell(Prompt.EPISODE_ENDED, uuid="a", outcome="success")
    witness.ask_last(said.append, give_up_s=60.0)
    assert read_verdicts(tmp_path / "verdicts.jsonl") == {"a": False} and said == [ASK, ASK]
    witness.tell(Prompt.EPISODE_ENDED, uuid="b", outcome="success")
    witness.ask_last(said.append, give_up_s=0.0)  # nobody is there
    assert "b" not in read_verdicts(tmp_path / "verdicts.jsonl")


def test_a_torn_line_and_no_file_do_no_harm(tmp_path: Path) -> None:
    assert read_verdicts(tmp_path / "verdicts.jsonl") == {}
    (tmp_path / "verdicts.jsonl").write_text('{"uuid": "a", "success": true}\n{"uuid": "b", "suc')
    assert read_verdicts(tmp_path / "verdicts.jsonl") == {"a": True}
