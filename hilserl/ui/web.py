"""Serving a page: static files, a guard at the door, and one way to run it. No page loads anything from elsewhere."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data.errors import UserError
from hilserl.ui.address import Address, is_loopback

STATIC = Path(__file__).with_name("static")
POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1
MAX_MESSAGE = 64 * 1024  # bytes; what a page says is short
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "cache-control": "no-cache",  # revalidated, so that yesterday's script never meets today's server
    "referrer-policy": "no-referrer",  # the link may hold the token
    "x-content-type-options": "nosniff",
}


def application(routes: Sequence[BaseRoute], address: Address) -> Starlette:
    """Return the app of a page: its routes, `/static`, and the guard in front of them all."""
    static = Mount("/static", StaticFiles(directory=STATIC))
    return Starlette(routes=[*routes, static], middleware=[Middleware(Guard, token=address.token)])


def answering(do: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that does what a posted JSON object asks, off the loop; refused: 400, and why."""

    async def answer(request: Request) -> Response:
        try:
            return JSONResponse(await run_in_threadpool(do, await request.json()))
        except (UserError, KeyError, ValueError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)

    return answer


def page(name: str) -> Callable[[Request], Response]:
    """Return an endpoint that answers with an HTML file of the static folder, after the head that all pages share.

    Where head and body begin is left to the browser, as HTML allows.
    """
    return lambda _: HTMLResponse((STATIC / "head.html").read_text() + (STATIC / name).read_text())


def server(app: ASGIApp) -> uvicorn.Server:
    """Return a server that is not running yet; `run(sockets=[address.socket])` blocks until Ctrl-C or SIGTERM."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            ws="websockets-sansio",  # a client that does not read makes its own `send` wait, and no other
            ws_max_size=MAX_MESSAGE,
            ws_per_message_deflate=False,  # JPEG does not get smaller
            lifespan="off",
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )


def serve(app: ASGIApp, address: Address) -> None:
    """Answer until Ctrl-C, which is raised again as KeyboardInterrupt."""
    server(app).run(sockets=[address.socket])


class Guard:
    """Lets in who may use the page: this machine, or whoever has the token; never another site's script."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        """Without a token only a browser that addresses this machine as itself is let in."""
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or socket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif why := refusal(HTTPConnection(scope), self._token):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": why})
            else:
                await PlainTextResponse(why, status_code=403)(scope, receive, send)
        else:
            await self._app(scope, receive, self._marked(scope, send))

    def _marked(self, scope: Scope, send: Send) -> Send:
        """Return `send` with our headers, and a cookie for what the page loads after it came with the token."""

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if self._token and "token" in HTTPConnection(scope).query_params:
                    cookie = f"{cookie_name(self._token)}={self._token}"
                    headers.append("set-cookie", f"{cookie}; HttpOnly; SameSite=Strict; Path=/")
            await send(message)

        return marked


def refusal(asks: HTTPConnection, token: str) -> str:
    """Return why a request is not answered, or "" when it may be.

    The host is compared so that no name of another site leads here (DNS rebinding), the origin so that no page of
    another site opens a socket to this one: a press of Start moves an arm.
    """
    host, origin = asks.headers.get("host", ""), asks.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return "another site asked; open the page by its own link"
    if not token:
        return "" if is_loopback(urlsplit(f"//{host}").hostname or "") else "open it as http://localhost:PORT/"
    shown = asks.query_params.get("token") or asks.cookies.get(cookie_name(token), "")
    return "" if secrets.compare_digest(shown.encode(), token.encode()) else "the link needs its ?token=..."


def cookie_name(token: str) -> str:
    """Return a name that differs between two pages on one host: cookies do not tell ports apart."""
    return f"hilserl-{token[:4]}"
