"""The operator's page in a browser, before a made-up session: every state, two tabs, keys and holds."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.routing import Route, WebSocketRoute

from hilserl.loop.slot import Slot, live_folder, mapped
from hilserl.loop.snapshot import PRESSES, SNAPSHOT, Picture, Snapshot
from hilserl.ui.session import Session
from hilserl.ui.web import STATIC
from hilserl.ui.web import page as html
from teleop.authority import Authority
from teleop.inputs import Button, Prompt
from teleop.page_buttons import SIZE, PageButtons, Presses

pytestmark = pytest.mark.browser
CROP = (0.0, 0.125, 1.0, 0.75)
NOW = Snapshot(
    kind="online", may_take_over=True, episode=3, episodes=80, running=True, limit_steps=80, sources="ppphh",
    p_success=(0.1, None, 0.3, 0.4, 0.9), threshold=0.8, hold=3, words="started",
    glyphs={"deadman": "RB", "stop": "B", "start": "Start", "success": "Y", "failure": "A", "discard": "X"},
)  # fmt: skip


class Stage:
    """A session that shows what a test wants, and the buttons that arrive in it."""

    def __init__(self, run: Path, url: str) -> None:
        self.url, self.actor = url, PageButtons(Presses(memoryview(mapped(live_folder(run) / PRESSES, SIZE))))
        self._slot = Slot(live_folder(run) / SNAPSHOT)

    def show(self, **changes: object) -> None:
        now_s = time.monotonic()
        pictures = tuple(Picture(name, now_s, 32, 24, CROP) for name in ("wrist", "front"))
        pixels = np.full((2, 24, 32, 3), 90, np.uint8)
        self._slot.put(replace(NOW, stamp_s=now_s, pictures=pictures, **changes).encode(), *pixels)

    def pressed(self) -> frozenset[Button]:
        """What arrives next."""
        deadline_s = time.monotonic() + 20
        while not (found := self.actor.read().pressed):
            assert time.monotonic() < deadline_s, "no press arrives"
            time.sleep(0.005)
        return found


@pytest.fixture
def stage(tmp_path: Path, served: Callable) -> Iterator[Stage]:
    session, beside = Session(tmp_path), list[asyncio.Task]()

    async def socket(ws):  # the loop is the server's: what runs beside it begins with the first tab
        if not beside:
            beside.extend(asyncio.create_task(work()) for work in (session.watch, session.read_progress))
        await session.socket(ws)

    yield Stage(tmp_path, served([Route("/", html("session.html")), WebSocketRoute("/socket", socket)]))
    for file in live_folder(tmp_path).iterdir():
        file.unlink()
    live_folder(tmp_path).rmdir()


STATES = [
    (Authority.POLICY, {}, "POLICY IN CONTROL", "policy", "Pause"),
    (Authority.HUMAN, {}, "YOU ARE IN CONTROL", "human", None),
    (Authority.HOLDING, {"words": "paused; press Start to resume"}, "HOLDING", "holding", "Go on"),
    (
        Authority.HOLDING,
        {"words": Prompt.PLACE_OBJECT, "running": False},
        "PUT THE OBJECT BACK",
        "holding",
        "Start",
    ),
    (Authority.HOLDING, {"connected": False}, "HOLDING", "holding", "Go on"),
    (Authority.RESETTING, {"running": False}, "MOVING TO RESET", "resetting", "Interrupt"),
    (Authority.STOPPED, {"running": False}, "STOPPED", "stopped", "Re-arm: hold"),
    (Authority.PARKING, {"running": False}, "MOVING TO PARK", "resetting", "Interrupt"),
    (Authority.PARKED, {"running": False, "limp": True}, "PARKED, TORQUE OFF", "parked", "Go on"),
]


def test_every_state_is_read_from_two_metres_and_offers_what_can_be_done(stage: Stage, page: Page) -> None:
    page.goto(stage.url)
    head, stop = page.locator("#head"), page.get_by_role("button", name="STOP")
    for width_px, least_px in ((1280, 48), (390, 24)):
        page.set_viewport_size({"width": width_px, "height": 800})
        for authority, changes, words, look, button in STATES:
            stage.show(authority=authority, **changes)
            expect(head).to_have_text(words)
            expect(page.locator("#banner")).to_have_attribute("data-look", look)
            box = head.bounding_box()
            size_px = head.evaluate("h => parseFloat(getComputedStyle(h).fontSize)")
            assert size_px >= least_px and box and box["height"] < 1.5 * size_px, "in one line"
            assert page.evaluate("document.documentElement.scrollWidth") <= width_px
            if button is not None:
                expect(page.locator(".controls").get_by_role("button", name=button)).to_be_enabled()
            expect(stop).to_be_enabled()
    stage.show(authority=Authority.POLICY, ended=True)
    expect(head).to_have_text("SESSION OVER")
    expect(stop).to_be_disabled()


def test_keys_and_buttons_press_and_what_has_to_be_held_is_held(stage: Stage, page: Page) -> None:
    page.goto(stage.url)
    stage.show(authority=Authority.POLICY)
    expect(page.locator("#head")).to_have_text("POLICY IN CONTROL")
    for key, button in (("Escape", Button.STOP), ("Enter", Button.START), ("y", Button.SUCCESS), ("n", Button.FAILURE)):
        page.keyboard.press(key)
        assert stage.pressed() == {button}
    page.get_by_role("button", name="STOP").click()
    assert stage.pressed() == {Button.STOP}
    page.keyboard.press("x")  # too short
    page.keyboard.down("x")
    assert stage.pressed() == {Button.DISCARD}
    page.keyboard.up("x")
    stage.show(authority=Authority.STOPPED, running=False)
    expect(page.locator("#head")).to_have_text("STOPPED")
    page.get_by_role("button", name="Re-arm").click()  # too short
    page.keyboard.down("r")
    assert stage.pressed() == {Button.REARM}
    page.keyboard.up("r")


def test_success_is_held_while_recording_labels(stage: Stage, page: Page) -> None:
    page.goto(stage.url)
    stage.show(authority=Authority.HUMAN, kind="labels", drives="human")
    expect(page.get_by_role("button", name="Success: hold")).to_be_enabled()
    page.keyboard.down(" ")
    while not stage.actor.read().success_held:
        page.wait_for_timeout(10)
    page.keyboard.up(" ")
    while stage.actor.read().success_held:
        page.wait_for_timeout(10)
    assert stage.actor.read().pressed == frozenset()


def test_the_second_tab_looks_on_until_it_takes_over(stage: Stage, page: Page, browser: Browser) -> None:
    page.goto(stage.url)
    expect(page.locator("#role")).to_have_text("this tab operates")
    other = browser.new_page()
    other.goto(stage.url)
    stage.show(authority=Authority.POLICY)
    expect(other.locator("#role")).to_contain_text("only looks")
    expect(other.get_by_role("button", name="Pause")).to_be_disabled()
    other.keyboard.press("Escape")
    assert stage.pressed() == {Button.STOP}
    other.get_by_role("button", name="take over the page").click()
    expect(other.get_by_role("button", name="Pause")).to_be_enabled()
    expect(page.get_by_role("button", name="Pause")).to_be_disabled()
    other.close()


def test_the_threshold_moves_by_a_little_and_only_when_a_classifier_judges(stage: Stage, page: Page) -> None:
    page.goto(stage.url)
    stage.show(authority=Authority.POLICY, threshold_next=0.9)
    expect(page.locator("#threshold")).to_contain_text("needs 0.80, next 0.90")
    page.get_by_role("button", name="+").click()
    while (asked := stage.actor.read().threshold) is None:
        page.wait_for_timeout(10)
    assert asked == pytest.approx(0.937, abs=1e-3)
    stage.show(authority=Authority.POLICY, threshold=None)
    expect(page.get_by_role("button", name="+")).to_be_hidden()


def test_between_two_episodes_the_buttons_are_about_the_last_one(stage: Stage, page: Page) -> None:
    page.goto(stage.url)
    stage.show(running=False, words=Prompt.PLACE_OBJECT, last="success")
    page.get_by_role("button", name="No success").click()
    assert stage.pressed() == {Button.FAILURE}
    page.keyboard.press("u")
    assert stage.pressed() == {Button.UNDO}
    page.keyboard.down("p")
    assert stage.pressed() == {Button.PARK}
    page.keyboard.up("p")
    stage.show(running=True)
    for name, enabled in (("Next", True), ("Undo", False), ("Park", False)):
        button = page.get_by_role("button", name=name)
        (expect(button).to_be_enabled if enabled else expect(button).to_be_disabled)()
    page.keyboard.press("e")
    assert stage.pressed() == {Button.NEXT}


def test_what_a_resumed_run_goes_on_from_is_shown_until_it_goes_on(stage: Stage, page: Page, tmp_path: Path) -> None:
    card = {"standing": ["lift · 143 operated episodes"], "checkpoint": "000009", "parts": ["policy ✓"], "changes": []}
    card["next"] = [["evaluate 10 first", "hilserl eval --episodes=10"], ["go back", "hilserl train --rollback=best"]]
    (tmp_path / "resume.json").write_text(json.dumps(card))
    page.goto(stage.url)
    stage.show(running=False, words=Prompt.PLACE_OBJECT, celsius={"elbow_flex": 57, "gripper": 40}, p_start=0.9)
    found = page.locator("#resume")
    for words in ("000009", "143 operated", "policy ✓", "nothing", "hilserl eval --episodes=10", "--rollback=best"):
        expect(found).to_contain_text(words)
    expect(page.locator("#episode")).to_be_hidden()
    expect(page.locator("#health .unsure", has_text="arm")).to_contain_text("elbow flex 57 °C is warm")
    expect(page.locator("#advice")).to_contain_text("already sees success at the start pose: p 0.90, needs 0.80")
    stage.show(findings=(("port", "may be another arm after a restart"),))
    expect(found).to_be_hidden()
    expect(page.locator("#advice")).to_contain_text("port: may be another arm")


def test_a_damaged_file_is_said_and_hides_nothing_else(stage: Stage, page: Page, tmp_path: Path) -> None:
    (tmp_path / "guide.json").write_text("{")
    Slot(live_folder(tmp_path) / SNAPSHOT).put(b"\x02\0\0\0\0\0\0\0{}")  # by a program of another version
    page.goto(stage.url)
    expect(page.locator("#head")).to_have_text("NO SESSION YET")
    stage.show(authority=Authority.POLICY)
    expect(page.locator("#head")).to_have_text("POLICY IN CONTROL")
    expect(page.locator("#health")).to_contain_text("cannot be read")


def test_the_page_is_light() -> None:
    assert sum(p.stat().st_size for p in STATIC.iterdir()) < 200_000


def test_in_a_preview_failure_means_that_the_classifier_is_wrong(page: Page, stage: Stage) -> None:
    page.goto(stage.url)
    stage.show(authority=Authority.HUMAN, drives="human", kind="preview", note="WOULD END HERE: success")
    expect(page.locator("[data-do=failure]")).to_contain_text("Wrong")
    expect(page.locator("#why")).to_have_text("WOULD END HERE: success")
