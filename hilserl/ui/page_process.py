"""The process that serves the operator's page, started by `hilserl.commands.page` with a socket that listens."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import sys
from pathlib import Path

from hilserl.loop.slot import live_folder
from hilserl.ui.address import Address
from hilserl.ui.session import session_app
from hilserl.ui.web import server


async def run(path: Path, address: Address) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    app, session = session_app(path, address)
    async with asyncio.TaskGroup() as tasks:
        beside = [tasks.create_task(session.watch()), tasks.create_task(session.read_progress())]
        await server(app).serve(sockets=[address.socket])
        for task in beside:
            task.cancel()


if __name__ == "__main__":
    descriptor, host, token, folder = sys.argv[1:]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn ends by raising what ended it once more
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(run(Path(folder), Address(socket.socket(fileno=int(descriptor)), host, token)))
    finally:
        shutil.rmtree(live_folder(Path(folder)), ignore_errors=True)  # the page goes last
