"""What the operator's page costs, how soon it shows and stops: `uv run python benchmarks/page.py`. Prints a table.

Snapshot to screen: a session of two 320x240 cameras is published at 15 Hz into the slot, the page's own process serves
it on loopback, and a headless Chromium (as in the tests) notes when the second picture of each snapshot was drawn and
the next frame of the screen came. STOP: from the key in the browser until a control loop that looks between its goals,
every 20 ms, has it; the arm holds from that goal on. Lateness: `tick.py`'s actor on an emulated rig in real time,
without a page, with one that nobody looks at, and with five tabs, one of which reads nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from benchmarks.tick import Tick, drive, rig
from hilserl.commands.page import page_beside
from hilserl.commands.processes import prepare
from hilserl.loop.slot import Slot, live_folder, mapped
from hilserl.loop.snapshot import PRESSES, SNAPSHOT, Picture, Snapshot
from hilserl.ui.address import UiArgs
from teleop.inputs import Button
from teleop.page_buttons import SIZE, PageButtons, Presses

PORT, RATE_HZ, GOAL_S = 8090, 15.0, 0.02
TABS = 4  # that read, beside one that does not
SEEN = """() => { window.seen = [];
  const canvas = document.querySelectorAll("#cameras canvas")[1];
  new MutationObserver(() => {
    const number = Number(document.querySelector("#clock").textContent.split(" ")[1]);
    requestAnimationFrame(() => window.seen.push([number, Date.now()]));
  }).observe(canvas, { attributes: true, attributeFilter: ["data-frames"] });
  addEventListener("keydown", () => { window.pressed = Date.now(); }, true); }"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snapshots", type=int, default=150, help="to be shown")
    parser.add_argument("--stops", type=int, default=20, help="presses of STOP")
    parser.add_argument("--episodes", type=int, default=4, help="of 80 ticks, in each condition; 0: no lateness")
    parser.add_argument("--look", action="store_true", help="be the five tabs (a process of its own)")
    args = parser.parse_args()
    if args.look:
        look()
        return
    rows = browser_rows(args.snapshots, args.stops)
    if args.episodes:
        rows += lateness_rows(args.episodes)
    print("\n| | median | p99 | most |\n|---|---|---|---|")
    print("\n".join(rows))


def browser_rows(snapshots: int, stops: int) -> list[str]:
    """Measure with a browser; return rows of the table."""
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as run, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        weight = list[int]()
        page.on("response", lambda r: weight.append(len(r.body())) if r.ok else None)
        page.goto(f"http://localhost:{PORT}/")
        while page.locator("#cameras canvas").count() < 2:
            publish(run, 0)
            page.wait_for_timeout(1e3 / RATE_HZ)
        page.evaluate(SEEN)
        published = {}
        for number in range(1, snapshots + 1):
            published[number] = 1e3 * time.time()
            publish(run, number)
            page.wait_for_timeout(1e3 / RATE_HZ)  # sleeps, and lets Playwright hear its browser
        seen = dict(reversed(page.evaluate("() => window.seen")))  # the first time of each
        shown = [seen[n] - published[n] for n in seen if n in published]
        pressed = [press_stop(run, page, snapshots + n) for n in range(stops)]
        browser.close()
    lost = f"{snapshots - len(shown)} of {snapshots} overwritten before they were drawn"
    return [
        row(f"snapshot to screen, two 320x240 pictures at 15 Hz ({lost}), ms", shown),
        row("STOP on the page to the control loop, ms", pressed),
        f"| page weight, kB | {sum(weight) / 1e3:.0f} | | |",
    ]


def press_stop(run: Path, page: Page, number: int) -> float:
    """Press STOP in the browser; return how long it took until a control loop had it [ms]."""
    actor = PageButtons(Presses(memoryview(mapped(live_folder(run) / PRESSES, SIZE))))
    publish(run, number)
    page.wait_for_timeout(100)
    keyboard = page.context.new_cdp_session(page)  # `page.keyboard` would wait for an answer
    keyboard.send("Input.dispatchKeyEvent", {"type": "keyDown", "key": "Escape"})
    while Button.STOP not in actor.read().pressed:
        time.sleep(GOAL_S)
    had = 1e3 * time.time()
    keyboard.send("Input.dispatchKeyEvent", {"type": "keyUp", "key": "Escape"})
    return had - page.evaluate("() => window.pressed")


def publish(run: Path, number: int) -> None:
    """Overwrite the slot as a session does."""
    rng = np.random.default_rng(number)
    small = rng.integers(0, 255, (2, 60, 80, 3), np.uint8)  # as much detail as a camera's picture, not pure noise
    pixels = small.repeat(4, axis=1).repeat(4, axis=2)
    now_s = time.monotonic()
    pictures = tuple(Picture(name, now_s, 320, 240, (0, 0, 1, 1)) for name in ("wrist", "front"))
    p = tuple(np.round(np.linspace(0, 1, 80), 3).tolist())
    now = Snapshot(now_s, "policy", "the policy drives", "online", episode=number, sources="p" * 80, p_success=p)
    Slot(live_folder(run) / SNAPSHOT).put(
        Snapshot(**{**vars(now), "limit_steps": 80, "running": True, "pictures": pictures}).encode(), *pixels
    )


@contextlib.contextmanager
def served(run: Path) -> Iterator[Path]:
    with page_beside(UiArgs(port=PORT, open=False), run):
        yield run


def lateness_rows(episodes: int) -> list[str]:
    """Measure the actor's ticks; return rows of the table."""
    found: dict[str, list[Tick]] = {}
    with tempfile.TemporaryDirectory() as folder, rig(Path(folder) / "rig") as flags:
        flags = [*flags, "--teleop.type=none", f"--output_dir={Path(folder) / 'run'}"]
        page = ["--ui.open=false", f"--ui.port={PORT}"]
        found["no page"] = drive([*flags, "--ui.enabled=false"], "eval-without", episodes)
        found["a page, nobody looks"] = drive([*flags, *page], "eval-page", episodes)
        gives_way = functools.partial(prepare, 10)  # browsers are elsewhere as a rule
        tabs = subprocess.Popen([sys.executable, __file__, "--look"], start_new_session=True, preexec_fn=gives_way)
        try:
            found[f"{TABS} tabs and one that reads nothing"] = drive([*flags, *page], "eval-tabs", episodes)
        finally:
            tabs.kill()
    return [row(f"tick lateness, {name}, ms", [t.late for t in many]) for name, many in found.items()]


def look() -> None:
    """Be the tabs, until killed."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(tab())
        tabs = [stack.enter_context(tab()) for _ in range(TABS)]
        with contextlib.suppress(WebSocketException):
            while True:
                for one in tabs:
                    one.recv()


def tab() -> ClientConnection:
    """Return a connection to the page, as soon as it is there."""
    while True:
        try:
            return connect(f"ws://localhost:{PORT}/socket", max_queue=1)
        except OSError:
            time.sleep(0.1)


def row(name: str, values: list[float]) -> str:
    """Return a row of the table."""
    median, p99 = np.percentile(values, (50, 99))
    return f"| {name} | {median:.2f} | {p99:.2f} | {max(values):.2f} |"


if __name__ == "__main__":
    main()
