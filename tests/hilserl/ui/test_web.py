"""Who may open a page, where it is found, and that a browser can show it."""

import socket
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from data.errors import UserError
from hilserl.ui.address import PORTS, WebArgs, claim
from hilserl.ui.web import STATIC, refusal

HELLO = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/base.css"><h1>waiting</h1><script type="module" src="/static/hello.js"></script>"""
SCRIPT = """import { Socket } from "/static/socket.js";
const link = new Socket("/echo", {
  state: (s) => { document.querySelector("h1").textContent = s.word; },
  reply: (r) => { document.title = r.reply; },
  picture: (n, blob) => { document.body.dataset.seen = n + ":" + blob.size; } });
setTimeout(() => link.send("stop"), 200);"""


async def echo(ws: WebSocket) -> None:
    await ws.accept()
    await ws.send_json({"now_s": 100.0, "word": "here"})
    await ws.send_bytes(b"\x02jpeg")
    said = await ws.receive_json()
    await ws.send_json({"reply": f"{said['do']} {100 < said['at_s'] < 110}"})
    await ws.close()


def hello(_: Request) -> HTMLResponse:
    return HTMLResponse(HELLO)


ROUTES = [Route("/", hello), WebSocketRoute("/echo", echo)]


@pytest.mark.browser
def test_a_page_hears_and_speaks(served: Callable, page: Page) -> None:
    page.route("**/static/hello.js", lambda r: r.fulfill(body=SCRIPT, content_type="text/javascript"))
    page.goto(served(ROUTES))
    expect(page).to_have_title("stop True")
    expect(page.locator("h1")).to_have_text("here")
    expect(page.locator("body")).to_have_attribute("data-seen", "2:4")


def test_a_page_loads_nothing_from_elsewhere(served: Callable) -> None:
    headers = httpx.get(served(ROUTES)).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    found = [p.name for p in STATIC.iterdir() if "http://" in p.read_text() or "https://" in p.read_text()]
    assert found == []


def test_with_a_token_a_page_and_all_that_it_loads_open_by_its_link_alone(served: Callable) -> None:
    url = served(ROUTES, host="0.0.0.0").replace(f"//{socket.gethostname()}", "//127.0.0.1")  # it may be in the token
    bare, _, token = url.partition("?token=")
    assert len(token) >= 16
    assert httpx.get(bare).status_code == httpx.get(f"{bare}?token=x").status_code == 403
    assert httpx.get(f"{bare}static/base.css").status_code == 403
    with httpx.Client() as browser:
        assert browser.get(url).status_code == 200
        assert browser.get(f"{bare}static/base.css").status_code == 200  # the cookie
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"{bare.replace('http', 'ws')}echo")


@pytest.mark.parametrize(
    ("token", "headers", "query", "accepted"),
    [
        ("", {"host": "localhost:8000"}, "", True),
        ("", {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"}, "", True),
        ("", {"host": "[::1]:8000"}, "", True),
        ("", {"host": "evil.example:8000"}, "", False),  # a name of theirs that leads to us
        ("", {"host": "localhost:8000", "origin": "http://evil.example"}, "", False),
        ("", {"host": "localhost:8000", "origin": "http://localhost:9000"}, "", False),
        ("", {"host": "localhost:8000", "origin": "null"}, "", False),
        ("", {}, "", False),
        ("secret", {"host": "robot:8000"}, "token=secret", True),
        ("secret", {"host": "robot:8000", "origin": "http://robot:8000"}, "token=secret", True),
        ("secret", {"host": "robot:8000", "origin": "http://evil.example"}, "token=secret", False),
        ("secret", {"host": "robot:8000", "cookie": "hilserl-secr=secret"}, "", True),
        ("secret", {"host": "robot:8000", "cookie": "hilserl-secr=other"}, "", False),
        ("secret", {"host": "robot:8000"}, "token=s%C3%A9cret", False),
        ("secret", {"host": "localhost:8000"}, "", False),
    ],
)
def test_who_is_let_in(token: str, headers: dict[str, str], query: str, accepted: bool) -> None:
    raw = [(k.encode(), v.encode()) for k, v in headers.items()]
    asks = HTTPConnection({"type": "websocket", "headers": raw, "query_string": query.encode()})
    assert (refusal(asks, token) == "") is accepted


def test_a_socket_of_another_site_is_refused(served: Callable) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        connect(served(ROUTES).replace("http", "ws") + "echo", origin="http://evil.example")


def test_the_next_free_port_is_taken_and_a_taken_one_is_refused() -> None:
    first = claim(WebArgs())
    second = claim(WebArgs())
    with first.socket, second.socket:
        assert PORTS.start <= first.port < second.port < PORTS.stop
        assert f"ssh -L {first.port}:localhost:{first.port} " in first.greeting("Page")
        with pytest.raises(UserError, match=r"already in use.*--ui.port"):
            claim(WebArgs(port=first.port))


def test_a_host_of_another_machine_and_an_impossible_port_are_refused() -> None:
    for args in (WebArgs(host="192.0.2.1"), WebArgs(port=70000)):
        with pytest.raises(UserError, match="cannot be served"):
            claim(args)
