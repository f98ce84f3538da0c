"""The look before a session: what has to be mended ends it, what is worth knowing is said and noted."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data.errors import UserError
from hilserl.commands import preflight as module
from hilserl.commands.preflight import preflight
from hilserl.robot.cameras import CameraFault
from hilserl.robot.watch import WARM_C
from hilserl.tasks import lift_task

TASK = lift_task()


class Table:
    """An arm and two cameras that are open; by default all is well."""

    names = ("wrist", "front")

    def __init__(self, run: Path, volts: float = 7.4, celsius: int = 30, grey: int = 120, lost: bool = False) -> None:
        self._now, self._grey, self._lost = {"Present_Voltage": round(10 * volts)}, grey, lost
        self._now["Present_Temperature"] = celsius
        self._run = run

    def ask(self, register: str, joint: str) -> tuple[int, int]:
        return self._now[register], 0

    def newest(self, name: str) -> tuple[np.ndarray, float]:
        if self._lost:
            raise CameraFault("camera gives no frame")
        return np.full((48, 64, 3), self._grey + 10 * self.names.index(name), np.uint8), 0.0

    def look(self) -> tuple[str, ...]:
        cameras = {name: SimpleNamespace(fps=30) for name in self.names}
        args = SimpleNamespace(
            output_dir=self._run, clock=Path("clock"), robot=SimpleNamespace(port="p", cameras=cameras)
        )
        return tuple(f.words for f in preflight(args, TASK, self, self))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.02)


def test_nothing_is_said_of_what_is_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Table(tmp_path).look() == ()
    assert capsys.readouterr().out == "" and not (tmp_path / "journal.jsonl").exists()


def test_what_is_worth_knowing_is_said_and_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (words,) = Table(tmp_path, celsius=WARM_C).look()
    assert words in capsys.readouterr().out
    entry = json.loads((tmp_path / "journal.jsonl").read_text())
    assert (entry["event"], entry["what"], entry["words"]) == ("pre-flight", "temperature", words)
    assert len(Table(tmp_path, grey=10).look()) == 2  # two dark pictures


@pytest.mark.parametrize(("wrong", "words"), [({"volts": 9.3}, "9.3"), ({"lost": True}, "gives no frame")])
def test_what_has_to_be_mended_ends_the_command_with_how(tmp_path: Path, wrong: dict, words: str) -> None:
    with pytest.raises(UserError, match=rf"(?s){words}.*--preflight=false"):
        Table(tmp_path, **wrong).look()
