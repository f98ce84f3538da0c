"""What a person sees of a run: tables, the bar, curves, and a Ctrl-C that is heard."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from data.errors import UserError
from sim_pretrain.rl.console import ConsoleReporter, TensorBoardReporter, stop_on_signals, table

VALUES = {"rollout/success_rate": 0.934, "rollout/ep_len_mean": 22.34, "time/total_timesteps": 12000, "lonely": 1.0}


def test_the_table_is_a_box_with_groups() -> None:
    assert table(VALUES) == "\n".join(
        [
            "------------------------------",
            "| lonely             | 1     |",
            "| rollout/           |       |",
            "|    ep_len_mean     | 22.3  |",
            "|    success_rate    | 0.934 |",
            "| time/              |       |",
            "|    total_timesteps | 12000 |",
            "------------------------------",
        ]
    )


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,9}/[a-z_]{1,20}", fullmatch=True), st.floats(allow_nan=True), min_size=1, max_size=8
    )
)
def test_every_line_of_a_table_is_as_wide_as_the_others(values: dict[str, float]) -> None:
    lines = table(values).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 2 + len(values) + len({name.split("/")[0] for name in values})


def written(terminal: bool) -> str:
    out = io.StringIO()
    with ConsoleReporter("lift", Console(file=out, force_terminal=terminal, width=100, highlight=False)) as reporter:
        reporter.progress(500, 1000)
        reporter.row(500, VALUES)
        reporter.row(500, {"eval/success_rate": 0.5})
        reporter.say("[1/2] 46 of 50 successes")
        reporter.progress(1040, 1000)
    return out.getvalue()


def test_a_terminal_gets_tables_sentences_and_a_bar() -> None:
    text = written(terminal=True)
    assert "success_rate    | 0.934" in text and "[1/2] 46 of 50 successes" in text
    assert "1000/1000" in text and "steps" in text
    assert "eval/" not in text  # said in words instead


def test_a_file_gets_no_bar() -> None:
    text = written(terminal=False)
    assert "success_rate    | 0.934" in text and "[1/2] 46 of 50 successes" in text
    assert "/1000" not in text and "\x1b" not in text


def test_curves_hold_every_number_that_is_one(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with TensorBoardReporter(tmp_path / "curves") as reporter:
        reporter.row(100, {"rollout/success_rate": 0.5, "eval/ep_len_mean": float("nan")})
        reporter.row(200, {"rollout/success_rate": 0.75})
        reporter.row(300, {"rollout/success_rate": 0.9})  # killed, and resumed from step 200:
    with TensorBoardReporter(tmp_path / "curves", after=200) as reporter:
        reporter.row(250, {"rollout/success_rate": 0.8})
    curves = EventAccumulator(str(tmp_path / "curves"))
    curves.Reload()
    assert curves.Tags()["scalars"] == ["rollout/success_rate"]
    points = [(e.step, round(e.value, 3)) for e in curves.Scalars("rollout/success_rate")]
    assert points == [(100, 0.5), (200, 0.75), (250, 0.8)]


def test_without_tensorboard_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="uv run --extra tensorboard hilserl pretrain"):
        TensorBoardReporter(tmp_path / "curves")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_wish_and_the_second_interrupts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as should_stop:
        assert not should_stop()
        os.kill(os.getpid(), number)
        assert should_stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before
