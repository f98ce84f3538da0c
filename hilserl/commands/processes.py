"""Helper processes that do not outlive the command that started them."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
STOP_S = 30.0  # for a last checkpoint or a last commit


def start(command: Sequence[str], log: Path | None = None, nice: int = 0) -> subprocess.Popen[bytes]:
    """Start `hilserl COMMAND ...`; it has the terminal and its keys, or writes to `log`, and gives way by `nice`.

    When this process dies, however it dies, the child gets SIGTERM (Linux): a learner saves, an actor holds.
    """
    output: IO[bytes] | None = log.open("ab") if log else None
    with contextlib.ExitStack() as stack:
        if output is not None:
            stack.enter_context(output)
        return subprocess.Popen(
            [sys.executable, "-m", "hilserl.cli", *command],
            stdin=subprocess.DEVNULL if output else None,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,  # Ctrl-C reaches the parent alone, which ends its children one after the other
            preexec_fn=functools.partial(prepare, nice),
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a child to finish; kill it when it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def prepare(nice: int) -> None:
    """In a child that is about to begin: give way, and die with the parent where the system can do that."""
    os.nice(nice)
    if sys.platform == "linux":
        with contextlib.suppress(
            OSError
        ):  # between sessions, a kernel with autogroups heeds only the group's own value
            Path("/proc/self/autogroup").write_text(str(nice))
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
