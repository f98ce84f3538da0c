"""`hilserl teleop` without an arm: the device as text, in a real terminal."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hilserl.cli import main

CHILD = "from hilserl.commands.processes import start; start(['teleop', '--teleop.type=keyboard']).wait()"


def test_a_helper_process_reads_the_keys_of_the_terminal_it_was_started_from(tmp_path: Path) -> None:
    """As the actor of `hilserl train` does: in a session of its own, so that Ctrl-C reaches the parent alone."""
    master, slave = pty.openpty()
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "-c", CHILD], stdin=slave, stderr=file)
    try:
        deadline_s = time.monotonic() + 60
        while "success" not in log.read_text().partition("\n")[2]:  # its first line says what the keys mean
            assert time.monotonic() < deadline_s, log.read_text()
            if "idle" in log.read_text():
                os.write(master, b"y")
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGTERM)  # the child is told by the kernel
        process.wait()
        os.close(master)
        os.close(slave)


def test_a_device_that_is_not_there_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                "teleop",
                "--teleop.type=so101_leader",
                "--teleop.port=/dev/nothing",
                "--teleop.id=mine",
                "--buttons.type=none",
            ]
        )
        == 1
    )
    error = capsys.readouterr().err
    assert "lerobot-calibrate --teleop.type=so101_leader --teleop.port=/dev/nothing --teleop.id=mine" in error
    assert "Traceback" not in error
