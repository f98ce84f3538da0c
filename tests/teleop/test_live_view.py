import numpy as np

from teleop.inputs import Button, OperatorState, Prompt
from teleop.live_view import Seen, line
from teleop.nobody import NobodyConfig


def test_lines_say_who_drives() -> None:
    driving = OperatorState(0.0, deadman=True, move=np.float32([1, 0, -0.5]), note="you lead\nand so on")
    assert line(driving, "success") == "DRIVES x+1.0 y+0.0 z-0.5 gripper+1.0  success  you lead"
    assert line(OperatorState(0.0), "") == "idle   x+0.0 y+0.0 z+0.0 gripper+1.0"
    assert line(OperatorState(0.0, connected=False, note="no answer"), "").startswith("GONE ")


def test_a_press_is_seen_in_the_line_and_handed_on(check_operator) -> None:
    lines: list[str] = []
    operator = Seen(NobodyConfig().connect(), lines.append)
    operator.tell(Prompt.PLACE_OBJECT)
    assert operator.read().pressed == {Button.START}
    assert "start" in lines[-1]
    check_operator(lambda: Seen(NobodyConfig().connect(), lines.append))
