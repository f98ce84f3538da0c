"""The page's server: what a tab is told, what it may do, and that no tab can disturb another or the session."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from starlette.routing import WebSocketRoute
from websockets.sync.client import ClientConnection, connect

from hilserl.loop.slot import Slot, live_folder, mapped
from hilserl.loop.snapshot import PRESSES, SNAPSHOT, Picture, Snapshot
from hilserl.ui.session import Session, Tab, jpeg
from teleop.inputs import Button
from teleop.page_buttons import SIZE, PageButtons, Presses


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for file in live_folder(tmp_path).iterdir():
        file.unlink()
    live_folder(tmp_path).rmdir()


@pytest.fixture
def session(run: Path) -> Session:
    made = Session(run)
    made.snapshot = Snapshot(stamp_s=time.monotonic(), authority="policy")
    return made


def device(run: Path) -> PageButtons:
    """The actor's end."""
    return PageButtons(Presses(memoryview(mapped(live_folder(run) / PRESSES, SIZE))))


def two_tabs(session: Session) -> tuple[Tab, Tab]:
    first, second = Tab(), Tab()
    session._operator = first
    return first, second


def says(does: str, age_s: float = 0.0, authority: str = "policy") -> str:
    return json.dumps({"do": does, "at_s": time.monotonic() - age_s, "authority": authority})


@pytest.mark.parametrize("button", Button)
def test_the_operators_tab_presses_every_button(run: Path, session: Session, button: Button) -> None:
    first, _ = two_tabs(session)
    actor = device(run)
    between = button in (Button.PARK, Button.UNDO)
    session.snapshot = Snapshot(authority="holding", running=not between, last="success")
    assert session.command(first, says(button.value, authority="holding")) == ""
    assert actor.read().pressed == {button}
    assert actor.read().pressed == frozenset()


def test_another_tab_only_stops_until_it_takes_over(run: Path, session: Session) -> None:
    first, second = two_tabs(session)
    actor = device(run)
    assert "another tab operates" in session.command(second, says("start"))
    assert "another tab operates" in session.command(second, says("holds"))
    assert actor.read().pressed == frozenset() and not actor.read().success_held
    assert session.command(second, says("stop")) == ""
    assert actor.read().pressed == {Button.STOP}
    assert session.command(second, says("take over")) == ""
    assert session.command(second, says("start")) == ""
    assert actor.read().pressed == {Button.START}
    assert "another tab operates" in session.command(first, says("start"))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (lambda: says("start", age_s=0.4), "too late, not done: start was pressed 0.4 s ago"),
        (lambda: says("start", age_s=-5.0), "too late"),
        (lambda: says("take over", age_s=3.0), "too late"),
        (lambda: says("start", age_s=float("nan")), "too late"),
        (lambda: says("start", authority="holding"), "meanwhile it is policy"),
        (lambda: says("fly"), "there is no 'fly'"),
        (lambda: '{"do": "start"}', "not understood"),
        (lambda: "[1]", "not understood"),
        (lambda: "\x00", "not understood"),
    ],
)
def test_what_is_not_done_is_said(run: Path, session: Session, said: Callable[[], str], why: str) -> None:
    first, _ = two_tabs(session)
    actor = device(run)
    assert why in session.command(first, said())
    assert actor.read().pressed == frozenset()


def test_another_threshold_is_asked_for(run: Path, session: Session) -> None:
    first, _ = two_tabs(session)
    actor = device(run)

    def asks(threshold: object) -> str:
        said = {"do": "threshold", "threshold": threshold, "at_s": time.monotonic(), "authority": "policy"}
        return session.command(first, json.dumps(said))

    assert "your button decides" in asks(0.7)
    session.snapshot = Snapshot(authority="policy", running=True, threshold=0.9)
    for wrong in (0, 1, -1, float("nan"), float("inf"), "x", None):
        assert asks(wrong), wrong
    assert actor.read().threshold is None
    assert asks(0.7) == ""
    assert actor.read().threshold == 0.7


@pytest.mark.parametrize(
    ("button", "changes", "why"),
    [
        (Button.PARK, {"running": True}, "end this episode first"),
        (Button.PARK, {"authority": "stopped"}, "re-arm first"),
        (Button.PARK, {"authority": "parking"}, "it is on its way"),
        (Button.PARK, {"authority": "parked"}, "it is parked"),
        (Button.PARK, {"authority": "resetting"}, "interrupt this motion first"),
        (Button.NEXT, {}, "no episode is running"),
        (Button.UNDO, {}, "there is no label to take back"),
        (Button.UNDO, {"running": True, "last": "success"}, "wait until the episode is over"),
    ],
)
def test_what_makes_no_sense_now_is_refused_in_words(
    run: Path, session: Session, button: Button, changes: dict, why: str
) -> None:
    first, _ = two_tabs(session)
    actor, session.snapshot = device(run), replace(Snapshot(), **changes)
    assert why in session.command(first, says(button.value, authority=session.snapshot.authority))
    assert actor.read().pressed == frozenset()


def test_stop_is_never_too_late(run: Path, session: Session) -> None:
    actor = device(run)
    assert session.command(Tab(), says("stop", age_s=9.0)) == ""
    assert actor.read().pressed == {Button.STOP}


def test_success_is_held_while_it_is_said_again_and_again(run: Path, session: Session) -> None:
    first, _ = two_tabs(session)
    actor = device(run)
    assert not actor.read().success_held
    assert session.command(first, says("holds")) == ""
    assert actor.read().success_held


def test_a_tab_gets_state_always_and_each_picture_and_the_progress_once(session: Session) -> None:
    first, second = two_tabs(session)
    session.snapshot = replace(session.snapshot or Snapshot(), pictures=(Picture("wrist", 4.0, 8, 6, (0, 0, 1, 1)),))
    session.jpegs, session.progress = [b"jpeg"], (3, {"bars": []})
    state, picture = session.news(first)
    found = json.loads(state)
    assert found["operates"] and found["progress"] == {"bars": []} and found["session"]["authority"] == "policy"
    assert found["banner"]["head"] == "POLICY IN CONTROL" and found["pictures"][0]["name"] == "wrist"
    assert picture == b"\x00jpeg"
    (state,) = session.news(first)
    assert "progress" not in json.loads(state)
    assert not json.loads(session.news(second)[0])["operates"]
    second.replies.append("why")
    assert json.loads(session.news(second)[0]) == {"reply": "why"}


def test_a_picture_is_no_wider_than_needed_and_keeps_its_colours() -> None:
    red = np.zeros((480, 640, 3), np.uint8)
    red[..., 0] = 200
    found = cv2.imdecode(np.frombuffer(jpeg(red), np.uint8), cv2.IMREAD_COLOR)
    assert found.shape == (360, 480, 3)
    np.testing.assert_allclose(found[180, 240], [0, 0, 200], atol=6)  # OpenCV's order


@pytest.fixture
def living(run: Path, served: Callable) -> Callable[[], ClientConnection]:
    """A session behind a real server; makes connections to it."""
    session = Session(run)
    tasks: list[asyncio.Task] = []

    async def socket(ws):  # the loop is the server's: what runs beside it begins with the first tab
        if not tasks:
            tasks.append(asyncio.create_task(session.watch()))
        await session.socket(ws)

    url = served([WebSocketRoute("/socket", socket)]).replace("http", "ws") + "socket"
    return lambda: connect(url, max_size=None, max_queue=1, close_timeout=0.1)


def publish(run: Path, number: int, pixels: np.ndarray) -> None:
    picture = Picture("wrist", float(number), pixels.shape[1], pixels.shape[0], (0, 0, 1, 1))
    now = Snapshot(stamp_s=time.monotonic(), authority="policy", episode=number, pictures=(picture,))
    Slot(live_folder(run) / SNAPSHOT).put(now.encode(), pixels)


def episode(tab: ClientConnection) -> int:
    """The episode that the next state is about."""
    while True:
        text = tab.recv(timeout=10)
        if isinstance(text, str) and "session" in (state := json.loads(text)):
            return state["session"]["episode"]


def test_a_tab_that_reads_nothing_and_one_that_floods_hold_up_nobody(
    run: Path, living: Callable[[], ClientConnection]
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (480, 480, 3), np.uint8)  # a large JPEG
    actor = device(run)
    with living() as looks, living() as _stalled, living() as floods:
        for number in range(1, 60):
            publish(run, number, noise)  # never waits for anybody
            for _ in range(20):
                floods.send(says("success"))
            while episode(looks) < number:
                pass
        assert actor.read().pressed == frozenset()  # it is not the first tab
        looks.send(says("stop"))
        while Button.STOP not in actor.read().pressed:
            time.sleep(0.01)
