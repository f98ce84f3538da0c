"""What has to hold before two machines talk: address, token, protocol, and the same task and policy on both."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import UserError
from data.spec import TaskSpec

if TYPE_CHECKING:
    from hilserl.agents.networks import Policy

PROTOCOL = "1"  # of wire.proto and of what it means; programs with different ones do not talk
MIN_TOKEN = 16  # characters
MAKE_TOKEN = "Make one with `openssl rand -hex 32 > token`, copy it to both machines, and name it: --token_file=token"
# A peer that answers no ping is gone: within ten seconds instead of TCP's quarter of an hour.
CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.enable_http_proxy", 0),  # the other machine is next door, whatever the environment says of the internet
)
SERVER_OPTIONS = (
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 2000),  # else it hangs up on a client that pings this often
    ("grpc.so_reuseport", 0),  # a second learner on a port is an error, not every other connection
)


@dataclass(frozen=True)
class Terms:
    """What both sides were started with."""

    spec: TaskSpec
    policy: str  # fingerprint of the policy they start from
    token: str = ""

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what goes with every call."""
        return ("hilserl-protocol", PROTOCOL), ("authorization", f"Bearer {self.token}")

    def admits(self, metadata: Mapping[str, str]) -> bool:
        """Whether a call has the token, if there is one; takes equally long whatever is wrong."""
        given = metadata.get("authorization", "")
        return not self.token or hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode())


def policy_fingerprint(policy: Policy) -> str:
    """Return 16 hex digits over every tensor of a policy: its name, shape and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(policy.state_dict().items()):
        array = tensor.detach().cpu().numpy()
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:16]


def read_token(path: Path | None) -> str:
    """Return the token in a file, "" for no file.

    Raises:
        UserError: the file is not there, or holds no token.
    """
    if path is None:
        return ""
    try:
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the token file {path} cannot be read: {error}. {MAKE_TOKEN}") from error
    if len(token) < MIN_TOKEN or not token.isprintable() or " " in token:
        raise UserError(
            f"the token file {path} holds {len(token)} characters; accepted are {MIN_TOKEN} or more on one line, "
            f"without a space. {MAKE_TOKEN}"
        )
    return token


def parse_address(text: str, what: str) -> str:
    """Return "HOST:PORT"; a port alone is this machine's loopback, so nobody else can reach it.

    Raises:
        UserError: no such address.
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) < 65536 or (":" in host and not host.startswith("[")):
        raise UserError(
            f"{what}={text} is no address; accepted are HOST:PORT, [IPv6]:PORT, or PORT for this machine alone"
        )
    return f"{host or '127.0.0.1'}:{port}"


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address of `parse_address`."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name; where it leads is not ours to know
        return False


def require_token(address: str, token: str) -> None:
    """Refuse to listen beyond this machine without a token.

    Raises:
        UserError: anybody who reaches the address could send episodes.
    """
    if not token and not is_loopback(address):
        raise UserError(
            f"--listen={address} can be reached from other machines, and without a token anybody there could train "
            f"your policy. {MAKE_TOKEN}\nOr listen on this machine alone, --listen={address.rpartition(':')[2]}, and "
            "let the actor come in through an SSH tunnel."
        )


def read_pem(path: Path, flag: str) -> bytes:
    """Return a certificate or key file.

    Raises:
        UserError: it cannot be read, or is none.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"--{flag}={path} cannot be read: {error.strerror}") from error
    if b"-----BEGIN" not in content:
        raise UserError(f"--{flag}={path} is no PEM file; accepted is one that begins with -----BEGIN")
    return content
