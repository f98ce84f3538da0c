"""The torque guard as the process that drives the arm sees it: started with it, told of every goal, left in order."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from hilserl.robot.bus import ArmFault

GOAL, REST, LEAVE = b"+", b"-", b"q"  # what is said through the pipe, see `guard_process`
LEAVE_S = 5.0


class Heartbeat:
    """Says at every goal that this process lives. Silence after a goal makes the guard kill it and freeze the arm."""

    def __init__(self, pipe: int) -> None:
        """Write to the non-blocking descriptor `pipe`."""
        self._pipe, self._said = pipe, REST

    def beat(self) -> None:
        """A goal is being sent; the next is to follow soon. ArmFault when the guard is gone."""
        try:
            os.write(self._pipe, GOAL)
        except OSError as error:  # it ended, or it has not read for minutes
            raise ArmFault(
                "the torque guard, which freezes the arm should this program die, has ended; so nothing moves any more "
                "and the arm holds. Start again"
            ) from error
        self._said = GOAL

    def rest(self) -> None:
        """No goal follows for a while. Never raises."""
        if self._said is not REST:
            self._say(REST)

    def leave(self) -> None:
        """The arm was left in order. Never raises."""
        self._say(LEAVE)

    def _say(self, word: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self._pipe, word)
            self._said = word


@contextlib.contextmanager
def guarded(port: str, silence_s: float, run: Path | None = None) -> Iterator[Heartbeat]:
    """Start a torque guard for the arm on `port`; it leaves at the end of the block.

    Args:
        port: the arm's serial port.
        silence_s: this long after a goal without another, this process is taken for dead.
        run: run directory, in whose journal the guard writes what it did.

    Raises:
        ArmFault: the guard does not start.
    """
    module, this = "hilserl.robot.guard_process", str(os.getpid())
    command = [sys.executable, "-m", module, port, this, str(silence_s), str(run or "")]
    # In a session of its own, so that neither Ctrl-C nor a closed terminal ends it together with this process.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdin and process.stdout
    heartbeat = Heartbeat(process.stdin.fileno())
    try:
        if not process.stdout.readline():
            raise ArmFault("the torque guard does not start; its error is above. The arm is not moved without one")
        os.set_blocking(process.stdin.fileno(), False)
        yield heartbeat
    finally:
        heartbeat.leave()
        process.stdin.close()
        try:
            process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stdout.close()
