"""A session as a new user would go through it: emulated rig, gamepad, `hilserl train` and a browser, all of them real.

With SCREENSHOTS=docs in the environment it renews the pictures that the documentation shows.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from sim_pretrain.rig.client import RigClient, arm_flags, teleop_flags

HILSERL = [sys.executable, "-m", "hilserl.cli"]
PATIENCE_MS = 120_000  # on busy cores the learner, which gives way to all else, starts slowly
SIZES_PX = {"": {"width": 1280, "height": 800}, "_phone": {"width": 390, "height": 844}}
expect.set_options(timeout=PATIENCE_MS)


def until(condition: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_MS / 1e3
    while not condition():
        assert time.monotonic() < deadline_s, f"waited in vain until {what}"
        time.sleep(0.02)


@pytest.fixture
def rig(browser: Browser) -> Iterator[Path]:
    """A rig with a gamepad; without a browser none is started."""
    directory = Path(tempfile.mkdtemp(prefix="rig"))  # short: a socket's path has 107 characters at most
    with (directory / "log").open("w") as log:
        process = subprocess.Popen([*HILSERL, "rig", "--gamepad", f"--directory={directory}"], stderr=log)
    until((directory / "rig.json").exists, "the rig is ready")
    yield directory
    process.terminate()
    process.wait(20)
    shutil.rmtree(directory)


@pytest.fixture
def train(rig: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts `hilserl train` with a page on one and the same port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = [*arm_flags(rig), *teleop_flags(rig), f"--output_dir={tmp_path / 'lift'}", f"--ui.port={port}"]
    flags += ["--learner.baseline_episodes=1", "--learner.critic_updates=5", "--learner.utd=0.1", "--ui.open=false"]
    started, log = [], tmp_path / "train.log"

    def start(*more: str) -> subprocess.Popen:
        with log.open("a") as file:
            process = subprocess.Popen([*HILSERL, "train", *flags, *more], stderr=file)
        process.url, process.log = f"http://localhost:{port}/", log
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(30)
    print(log.read_text())  # shown when the test failed


def child(parent: subprocess.Popen, name: str) -> int:
    """The process id of `hilserl NAME` below a command."""
    found = subprocess.run(["pgrep", "-P", str(parent.pid), "-f", f"cli {name}"], capture_output=True, text=True)
    return int(found.stdout.split()[0])


def picture(page: Page, name: str) -> None:
    """Take a picture for the documentation, on a desk and on a phone."""
    if folder := os.environ.get("SCREENSHOTS"):
        for suffix, size in SIZES_PX.items():
            page.set_viewport_size(size)
            page.wait_for_timeout(500)
            page.screenshot(path=Path(folder) / f"page_{name}{suffix}.jpg", type="jpeg", quality=85)
        page.set_viewport_size(SIZES_PX[""])


@pytest.mark.browser
@pytest.mark.timeout(600)
def test_a_session_from_start_to_the_next_day(rig: Path, train: Callable, page: Page) -> None:
    head, can = page.locator("#head"), page.locator("#can")
    training = train()
    until(lambda: answers(training.url), "the page is served")
    page.goto(training.url)
    with RigClient(rig) as person:
        expect(head).to_have_text("PUT THE OBJECT BACK")
        frames = page.locator("#cameras canvas").first.get_attribute("data-frames")
        expect(page.locator("#cameras canvas").first).not_to_have_attribute("data-frames", frames or "")
        page.keyboard.press("Enter")
        expect(head).to_have_text("POLICY IN CONTROL")
        expect(can).to_have_text("hands off: this one is untouched")
        page.get_by_role("button", name="Failure").click()
        expect(page.locator("#events")).to_contain_text("episode 1: failure")

        expect(page.locator("#health")).to_contain_text("training")  # the learner has what it waits for
        expect(page.locator("#clock")).to_contain_text("online 1 of")
        expect(head).to_have_text("PUT THE OBJECT BACK")
        page.get_by_role("button", name="Undo").click()
        expect(page.locator("#events")).to_contain_text("taken back: failure")
        page.get_by_role("button", name="Start").click()
        expect(head).to_have_text("POLICY IN CONTROL")
        expect(can).to_have_text("hold RB to take over")
        person.pad("press", "rightshoulder")
        expect(head).to_have_text("YOU ARE IN CONTROL")
        person.pad("axis", "righty", -1.0)
        expect(page.locator("#health")).to_contain_text("you hold it")
        picture(page, "human")
        person.pad("axis", "righty", 0.0)
        person.pad("release", "rightshoulder")
        expect(head).to_have_text("POLICY IN CONTROL")
        page.keyboard.press("Enter")
        expect(head).to_have_text("HOLDING")
        expect(can).to_have_text("press Start to go on")
        person.pad("tap", "start")
        expect(head).to_have_text("POLICY IN CONTROL")

        page.keyboard.press("Escape")
        expect(head).to_have_text("STOPPED")
        picture(page, "stopped")
        page.keyboard.down("r")
        expect(head).not_to_have_text("STOPPED")  # re-armed; it moves to reset, which may take no time
        page.keyboard.up("r")
        expect(head).to_have_text("PUT THE OBJECT BACK")
        page.keyboard.down("p")
        expect(head).to_have_text("PARKED, TORQUE OFF")
        page.keyboard.up("p")
        expect(page.locator("#health")).to_contain_text("°C")
        page.keyboard.press("Enter")
        expect(head).to_have_text("PUT THE OBJECT BACK")
        person.pad("unplug")
        expect(head).to_have_text("HOLDING")
        expect(page.locator("#why")).to_have_text("your device is gone")
        person.pad("plug")
        expect(head).to_have_text("PUT THE OBJECT BACK")
        picture(page, "place")

        os.kill(child(training, "learner"), signal.SIGKILL)
        expect(head).to_have_text("NO CONNECTION")
        assert training.wait(60) == 1
        assert "Go on with --resume" in training.log.read_text()
        expect(page.get_by_role("button", name="STOP")).to_be_disabled()

        training = train("--resume")  # the next day; the tab is still open
        expect(head).to_have_text("PUT THE OBJECT BACK")
        expect(page.locator("#events")).not_to_contain_text("STOP pressed")  # nothing of the session before
        training.send_signal(signal.SIGINT)
        expect(head).to_have_text("NO CONNECTION")
        assert training.wait(60) == 130


def answers(url: str) -> bool:
    try:
        with socket.create_connection(("localhost", int(url.rstrip("/").rpartition(":")[2])), 1):
            return True
    except OSError:
        return False
