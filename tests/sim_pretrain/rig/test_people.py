"""The side channel: JSON lines over a private socket, and the record of how episodes truly ended."""

from __future__ import annotations

import json
import runpy
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import UserError
from sim_pretrain.rig.client import RigClient
from sim_pretrain.rig.people import Judge, LineServer
from sim_pretrain.task.tasks import TASKS

_made = runpy.run_path(str(Path(__file__).parents[1] / "task" / "made_truths.py"))
LYING, HELD = _made["LYING"], _made["HELD"]
GONE = replace(LYING, cube_m=(0.5, 0.0, -0.2))


def test_success_is_latched_from_begin_to_end_and_recorded(tmp_path: Path) -> None:
    judge = Judge(tmp_path / "truth.jsonl", TASKS["lift"])
    judge.look(HELD)  # before any episode
    judge.begin("a", LYING)
    judge.begin("b", LYING)
    first = judge.end("a", LYING)
    judge.look(HELD)
    second = judge.end("b", GONE)
    assert first == {"tag": "a", "success": False, "lost": False, "max_height_m": 0.015, "start_m": [0.23, 0.0]}
    assert second == {"tag": "b", "success": True, "lost": True, "max_height_m": 0.1, "start_m": [0.23, 0.0]}
    lines = (tmp_path / "truth.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [first, second]
    with pytest.raises(ValueError, match="send begin first"):
        judge.end("a", LYING)


@pytest.fixture
def server(tmp_path: Path):
    def handle(request: dict) -> dict:
        if request["op"] == "truth":
            return {"echo": request}
        raise ValueError("accepted are apples")

    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            server.poll(0.02)

    with LineServer(tmp_path / "people.sock", handle) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server
        done.set()
        thread.join()


def test_clients_are_answered_and_refused(server: LineServer, tmp_path: Path) -> None:
    assert (tmp_path / "people.sock").stat().st_mode & 0o777 == 0o600
    with RigClient(tmp_path) as one, RigClient(tmp_path) as two:
        assert one.truth() == two.truth() == {"echo": {"op": "truth"}}
        with pytest.raises(ValueError, match="apples"):
            one.begin("x")
        assert one.truth()


def test_bad_lines_are_answered_and_many_lines_too(server: LineServer, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "people.sock"))
        client.sendall(b'nonsense\n[1]\n{}\n{"op": "tru')
        client.sendall(b'th"}\n')
        answers = client.makefile("rb")
        assert [json.loads(answers.readline())["ok"] for _ in range(4)] == [False, False, False, True]


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="hilserl rig --directory="):
        RigClient(tmp_path)
    with pytest.raises(UserError, match="shorter"):
        LineServer(tmp_path / ("x" * 110), lambda request: request)
