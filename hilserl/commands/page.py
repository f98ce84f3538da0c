"""The operator's page beside a command that moves an arm: one a run, whoever of its processes asks first."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from hilserl.commands.processes import prepare, stop
from hilserl.loop.slot import live_folder
from hilserl.ui.address import Address, UiArgs, claim

PAGE_NICE = 5  # the arm's ticks come first, then the page, then the learner


@contextlib.contextmanager
def page_beside(args: UiArgs, run: Path) -> Iterator[None]:
    """Serve the page of a run from a process of its own until the end of the block, unless it is served already.

    Raises:
        UserError: it cannot be served where the flags say.
    """
    with contextlib.ExitStack() as stack:
        lock = _lock(run) if args.enabled else None
        if lock is not None:
            stack.callback(
                shutil.rmtree, live_folder(run), ignore_errors=True
            )  # it may end before it could do so itself
            stack.callback(os.close, lock)
            address = claim(args)
            process = _start(address, run, lock)
            stack.callback(stop, process)
            print(address.greeting("The operator's page"), flush=True)
            if args.open:
                address.show()
            address.socket.close()  # the process has it
        yield


def _lock(run: Path) -> int | None:
    """Return a lock that lasts as long as any process holds it, or None when the page is served already."""
    run.mkdir(parents=True, exist_ok=True)
    lock = os.open(live_folder(run) / "page.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _start(address: Address, run: Path, lock: int) -> subprocess.Popen[bytes]:
    listening = address.socket.fileno()
    command = [sys.executable, "-m", "hilserl.ui.page_process", str(listening), address.host, address.token, str(run)]
    with (run / "page.log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(listening, lock),
            start_new_session=True,  # Ctrl-C reaches the command alone, which ends the page last
            preexec_fn=functools.partial(prepare, PAGE_NICE),
        )
