"""Flags as people type them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from hilserl.flags import parse_flags


@dataclass(frozen=True)
class Args:
    """Some flags."""

    quick: bool = False  # fast
    seed: int = 0  # number
    name: str = "a"  # text


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--quick"], Args(quick=True)),
        (["--quick", "--seed", "3"], Args(quick=True, seed=3)),
        (["--seed=3", "--quick"], Args(quick=True, seed=3)),
        (["--quick=false", "--name", "b"], Args(name="b")),
        (["--quick", "true", "--seed=-1"], Args(quick=True, seed=-1)),
        ([], Args()),
    ],
)
def test_flags(argv: list[str], expected: Args) -> None:
    assert parse_flags(Args, argv) == expected


def test_an_unknown_flag_lists_the_accepted_ones(capsys) -> None:
    with pytest.raises(SystemExit) as refused:
        parse_flags(Args, ["--quik"])
    assert refused.value.code == 2
    assert "--quick" in capsys.readouterr().err
