import numpy as np

from teleop.inputs import Button, OperatorState, Prompt
from teleop.live_view import Seen, bar, line
from teleop.nobody import NobodyConfig


def test_bars() -> None:
    assert [bar(v) for v in (-1, -0.5, 0, 0.2, 1)] == [
        "[#####|     ]",
        "[   ##|     ]",
        "[     |     ]",
        "[     |#    ]",
        "[     |#####]",
    ]


def test_lines_say_who_drives() -> None:
    driving = OperatorState(0.0, deadman=True, move=np.float32([1, 0, -1]), note="you lead")
    assert line(driving, "success").startswith("DRIVES x [     |#####]")
    assert line(driving, "success").endswith("success you lead")
    assert line(OperatorState(0.0), "").startswith("idle ")
    assert line(OperatorState(0.0, connected=False, note="no answer"), "").startswith("GONE ")
    assert len(line(driving, "success")) < 110


def test_a_press_is_seen_in_the_line_and_handed_on(check_operator) -> None:
    lines: list[str] = []
    operator = Seen(NobodyConfig().connect(), lines.append)
    operator.tell(Prompt.PLACE_OBJECT)
    assert operator.read().pressed == {Button.START}
    assert "start" in lines[-1]
    check_operator(lambda: Seen(NobodyConfig().connect(), lines.append))
