"""What a person sees of a training run: boxed tables as Stable-Baselines3 prints them, a progress bar, curves."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from data.errors import UserError


class ConsoleReporter:
    """Tables and a progress bar on a terminal, in a `with` block; without a terminal, tables alone."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        """Write to `console`, by default standard output."""
        self._console = console or Console(highlight=False)
        self._bar = Progress(
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            speed_estimate_period=120.0,  # seconds: an evaluation stands still
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def progress(self, steps: int, total: int) -> None:
        """Move the bar; a run may end a few steps beyond its total, as episodes are whole."""
        self._bar.update(self._task, completed=min(steps, total), total=total)

    def row(self, steps: int, values: Mapping[str, float]) -> None:
        """Print a table; evaluations come as sentences instead."""
        if not all(name.startswith("eval/") for name in values):
            self.say(table(values))

    def say(self, text: str) -> None:
        """Print above the bar."""
        self._console.print(text, markup=False, soft_wrap=True)


class TensorBoardReporter:
    """Curves in a folder for `tensorboard --logdir`; a context manager."""

    def __init__(self, folder: Path, *, after: int = 0) -> None:
        """Write event files into `folder`; those of steps beyond `after`, from a life that was killed, are superseded.

        Raises:
            UserError: TensorBoard is not installed; the message says how to.
        """
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), purge_step=after + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def progress(self, steps: int, total: int) -> None:
        """Nothing to draw."""

    def row(self, steps: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve; what is not a number is left out."""
        for name, value in values.items():
            if math.isfinite(value):
                self._writer.add_scalar(name, float(value), steps)

    def say(self, text: str) -> None:
        """Nothing to draw."""


def require_tensorboard() -> None:
    """Check that curves can be written.

    Raises:
        UserError: TensorBoard is not installed; the message says how to.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"curves need TensorBoard, which is not installed ({error}). Install and run: "
            "uv run --extra tensorboard hilserl pretrain ... Without it, metrics.jsonl has the same numbers."
        ) from error


def table(values: Mapping[str, float]) -> str:
    """Return the numbers in a box, grouped by what stands before the slash of their names."""
    lines: list[tuple[str, str]] = []
    group = ""
    for name in sorted(values):
        head, _, tail = name.rpartition("/")
        if head != group:
            lines.append((f"{head}/", ""))
            group = head
        lines.append((f"   {tail}" if head else tail, _number(values[name])))
    wide, narrow = (max(len(line[i]) for line in lines) for i in (0, 1))
    edge = "-" * (wide + narrow + 7)
    return "\n".join([edge, *(f"| {name:{wide}} | {value:{narrow}} |" for name, value in lines), edge])


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C (or SIGTERM) into a wish to stop, which the function tells; a second one interrupts."""
    wished: list[int] = []

    def wish(number: int, _: FrameType | None) -> None:
        if wished:
            raise KeyboardInterrupt
        wished.append(number)

    before = {number: signal.signal(number, wish) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(wished)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _number(value: float) -> str:
    """Return a number with three significant digits, or whole."""
    value = float(value)
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.3g}"
