"""The rig's side channel: what a person who stands beside the arm sees and does.

A Unix domain socket that takes one JSON object per line and answers each with one. It is for the scripted
operator and for tests; nothing that learns or acts may use it.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import UserError

if TYPE_CHECKING:
    from sim_pretrain.task.tasks import SimTask
    from sim_pretrain.world.truth import Truth

_LONGEST_LINE = 65536
_LONGEST_PATH = 107  # of a Unix domain socket, in bytes


class LineServer:
    """Answers JSON lines for any number of clients, in the thread that calls `poll`. Use in a `with` block.

    An answer is the handler's dictionary with `ok: true`, or `ok: false` and `error`, a sentence.
    """

    def __init__(self, path: Path, handle: Callable[[dict[str, Any]], dict[str, Any]]):
        """Listen at `path`, for this user only, replacing the socket of a server that died.

        Raises:
            UserError: the path is too long for a socket.
        """
        if len(os.fsencode(path)) > _LONGEST_PATH:
            raise UserError(
                f"{path} is {len(os.fsencode(path))} bytes long, a socket accepts {_LONGEST_PATH}; "
                "use a shorter one, nearer to the root: hilserl rig --directory=DIR"
            )
        self._path, self._handle = path, handle
        self._received: dict[socket.socket, bytes] = {}
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            self._listener.bind(str(path))
        finally:
            os.umask(before)
        self._listener.listen()
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)

    def poll(self, timeout_s: float) -> None:
        """Answer what has arrived; wait up to `timeout_s` for something to arrive."""
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._listener:
                client, _ = self._listener.accept()
                client.setblocking(False)
                self._received[client] = b""
                self._selector.register(client, selectors.EVENT_READ)
            else:
                self._serve(key.fileobj)  # type: ignore[arg-type]

    def close(self) -> None:
        """Hang up on everybody and remove the socket."""
        for client in list(self._received):
            self._hang_up(client)
        self._selector.close()
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> LineServer:
        """Return the listening server."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _serve(self, client: socket.socket) -> None:
        try:
            data = client.recv(_LONGEST_LINE)
            *lines, rest = (self._received[client] + data).split(b"\n")
            self._received[client] = rest
            for line in lines:
                client.sendall(self._answer(line))
        except OSError:  # gone, or it sends without ever reading: the rig waits for nobody
            self._hang_up(client)
            return
        if not data or len(rest) > _LONGEST_LINE:
            self._hang_up(client)

    def _answer(self, line: bytes) -> bytes:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError(f"accepted is one JSON object per line, found {line[:80]!r}")
            answer = {"ok": True, **self._handle(request)}
        except (ValueError, TypeError, KeyError, RuntimeError, OSError) as error:
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        return json.dumps(answer).encode() + b"\n"

    def _hang_up(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        del self._received[client]
        client.close()


class Judge:
    """Watches episodes and records how they truly ended: one JSON line each, on disk before it answers."""

    def __init__(self, path: Path, task: SimTask):
        """Append to the file at `path` when the goal of `task` was reached, and when not."""
        self._path, self._task = path, task
        self._open: dict[str, tuple[bool, float]] = {}  # by tag: success so far, greatest height so far [m]
        self._start_m: dict[str, list[float]] = {}  # by tag: where the object lay, x and y

    @property
    def watching(self) -> bool:
        """Whether an episode is open."""
        return bool(self._open)

    def begin(self, tag: str, truth: Truth) -> None:
        """Watch an episode; beginning a tag again forgets what was seen."""
        self._open[tag] = (self._task.reached(truth), truth.cube_m[2])
        self._start_m[tag] = [round(float(v), 4) for v in truth.cube_m[:2]]

    def look(self, truth: Truth) -> None:
        """Take in one moment of all the open episodes."""
        for tag, (success, height_m) in self._open.items():
            self._open[tag] = (success or self._task.reached(truth), max(height_m, truth.cube_m[2]))

    def end(self, tag: str, truth: Truth) -> dict[str, Any]:
        """Return and record the verdict; `success` is whether it was reached at any moment since `begin`.

        Raises:
            ValueError: this tag was not begun.
        """
        if tag not in self._open:
            raise ValueError(f"episode {tag!r} is not watched, {sorted(self._open)} are; send begin first")
        self.look(truth)
        success, height_m = self._open.pop(tag)
        verdict = {"tag": tag, "success": success, "lost": self._task.lost(truth), "max_height_m": height_m}
        verdict["start_m"] = self._start_m.pop(tag)
        with self._path.open("a") as file:
            file.write(json.dumps(verdict) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return verdict
