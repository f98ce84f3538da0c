"""Where a page is found: this machine alone unless told otherwise, and then only with a token."""

from __future__ import annotations

import errno
import getpass
import ipaddress
import os
import secrets
import socket
import sys
import webbrowser
from dataclasses import dataclass
from typing import NamedTuple

from data.errors import UserError

PORTS = range(8000, 8020)  # tried in this order when none was asked for


@dataclass(frozen=True)
class WebArgs:
    """`--ui...`: a page in the browser."""

    host: str = "127.0.0.1"  # 127.0.0.1: only this machine can open it; 0.0.0.0: whoever has the link, with its token
    port: int = 0  # 0: 8000, or the next free one
    open: bool = True  # open the browser, where there is a screen


@dataclass(frozen=True)
class UiArgs(WebArgs):
    """`--ui...`: the operator's page."""

    enabled: bool = True  # false: no page; all else is the same


class Address(NamedTuple):
    """A port that is ours, and who may use it."""

    socket: socket.socket  # listens
    host: str  # a name under which a browser finds this machine
    token: str  # "" on this machine alone

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self.socket.getsockname()[1])

    @property
    def url(self) -> str:
        """What to type into a browser."""
        return f"http://{self.host}:{self.port}/" + (f"?token={self.token}" if self.token else "")

    def greeting(self, title: str) -> str:
        """Return what to tell the person: where the page is, and how it is reached from elsewhere."""
        if self.token:
            return f"{title}: {self.url}"
        there = f"{_user()}@{socket.gethostname()}"
        return (
            f"{title}: {self.url}\n"
            f"  from another machine: ssh -L {self.port}:localhost:{self.port} {there}, then the same link"
        )

    def show(self) -> None:
        """Open the page in a browser if this machine has a screen."""
        if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            webbrowser.open(self.url)


def claim(args: WebArgs) -> Address:
    """Listen where the flags say; nothing answers yet.

    Raises:
        UserError: the port is taken or not allowed, or the host is none of this machine's.
    """
    listening = _listen(args)
    if is_loopback(args.host):
        return Address(listening, "localhost", "")
    host = socket.gethostname() if args.host in ("0.0.0.0", "::") else args.host
    return Address(listening, f"[{host}]" if ":" in host else host, secrets.token_urlsafe(12))


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _listen(args: WebArgs) -> socket.socket:
    family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
    last: OSError | OverflowError | None = None
    for port in [args.port] if args.port else PORTS:
        try:
            return socket.create_server((args.host, port), family=family)
        except (OSError, OverflowError) as error:
            last = error
            if not (isinstance(error, OSError) and error.errno == errno.EADDRINUSE):
                break
    asked = f"{args.host}:{args.port}" if args.port else f"{args.host}, ports {PORTS.start} to {PORTS.stop - 1}"
    raise UserError(
        f"the page cannot be served on {asked}: {getattr(last, 'strerror', None) or last}. Leave out --ui.port for the "
        f"first free one from {PORTS.start}, and --ui.host for this machine alone; --ui.enabled=false works without a "
        "page, where a command has that flag"
    ) from last


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user in a container
        return "USER"
