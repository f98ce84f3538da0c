from collections.abc import Callable

import draccus

from teleop.inputs import Button, OperatorConfig, Prompt
from teleop.nobody import NobodyConfig


def test_contract(check_operator: Callable) -> None:
    check_operator(NobodyConfig().connect)


def test_presses_start_once_per_placing_prompt_and_nothing_else() -> None:
    nobody = NobodyConfig().connect()
    for prompt in Prompt:
        nobody.tell(prompt)
        expected = {Button.START} if prompt is Prompt.PLACE_OBJECT else set()
        assert nobody.read().pressed == expected
        assert not nobody.read().pressed


def test_is_registered_as_none() -> None:
    assert draccus.decode(OperatorConfig, {"type": "none"}) == NobodyConfig()
