"""A headless Chromium for the tests of the pages: Debian's, as Playwright's own would be downloaded."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from starlette.routing import BaseRoute

from hilserl.ui.address import WebArgs, claim
from hilserl.ui.web import application, server

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
VIEW_PX = {"width": 1280, "height": 800}
PHONE_PX = {"width": 390, "height": 844}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser; absent: the test is skipped."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab of 1280 by 800; the test fails when a script on the page did."""
    tab = browser.new_page(viewport=VIEW_PX)
    wrong: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and "ERR_CONNECTION" not in message.text:  # a server that went away is no bug
            wrong.append(message.text)

    tab.on("console", note)
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    yield tab
    tab.close()
    assert not wrong, wrong


@pytest.fixture
def served() -> Iterator[Callable[[Sequence[BaseRoute]], str]]:
    """Serves routes on a free port in a thread until the test is over; returns the link to them."""
    with contextlib.ExitStack() as stack:

        def serve(routes: Sequence[BaseRoute], host: str = "127.0.0.1") -> str:
            address = claim(WebArgs(host=host, open=False))
            running = server(application(routes, address))
            thread = threading.Thread(target=running.run, kwargs={"sockets": [address.socket]})
            thread.start()
            stack.callback(thread.join)
            stack.callback(setattr, running, "should_exit", True)
            return address.url

        yield serve
