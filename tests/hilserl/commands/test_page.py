"""The page's process beside a command: one a run, found at the link that is said, gone with the command."""

import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from data.errors import UserError
from hilserl.commands.page import page_beside
from hilserl.loop.slot import live_folder
from hilserl.ui.address import UiArgs, claim

QUIET = UiArgs(open=False)
BESIDE = """
import os, sys, time
from pathlib import Path
from hilserl.commands.page import page_beside
from hilserl.loop.slot import live_folder
from hilserl.loop.snapshot import SNAPSHOT
from hilserl.ui.address import UiArgs
with page_beside(UiArgs(open=False), Path(sys.argv[1])):
    while not (live_folder(Path(sys.argv[1])) / SNAPSHOT).exists():  # it is up
        time.sleep(0.02)
    os.kill(os.getpid(), 9)
"""


def gone(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.ConnectError:
        return True
    return False


def link(said: str) -> str:
    (found,) = re.findall(r"page: (http://localhost:\d+/)", said)
    return found


def test_one_page_serves_a_run_until_the_command_is_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with page_beside(QUIET, tmp_path / "run"):
        url = link(capsys.readouterr().out)
        assert "HIL-SERL" in httpx.get(url, timeout=30).text  # it answers when it is up
        with page_beside(QUIET, tmp_path / "run"):  # as the actor of `hilserl train` does
            assert capsys.readouterr().out == ""
        assert httpx.get(url).status_code == 200
        with page_beside(QUIET, tmp_path / "other"):
            assert link(capsys.readouterr().out) != url
    assert gone(url)
    assert (tmp_path / "run" / "page.log").read_text() == ""


def test_without_a_page_nothing_is_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with page_beside(UiArgs(enabled=False), tmp_path / "run"):
        assert capsys.readouterr().out == "" and not (tmp_path / "run").exists()


def test_a_taken_port_is_said_before_anything_moves(tmp_path: Path) -> None:
    taken = claim(QUIET)
    with taken.socket, pytest.raises(UserError, match=r"--ui\.port"), page_beside(UiArgs(port=taken.port), tmp_path):
        pytest.fail("it began")
    with page_beside(QUIET, tmp_path):  # the lock was given back
        pass


def test_a_command_that_is_killed_leaves_neither_process_nor_memory(tmp_path: Path) -> None:
    folder = live_folder(tmp_path)
    killed = subprocess.run([sys.executable, "-c", BESIDE, str(tmp_path)], capture_output=True, text=True)
    assert killed.returncode == -9
    deadline_s = time.monotonic() + 60
    while folder.exists() or not gone(link(killed.stdout)):
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
