"""What has to hold before two machines talk."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch

from data.errors import UserError
from hilserl.agents.networks import Policy
from hilserl.loop.remote.terms import (
    Terms,
    is_loopback,
    parse_address,
    policy_fingerprint,
    read_pem,
    read_token,
    require_token,
)

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        ("50051", "127.0.0.1:50051", True),
        ("localhost:1", "localhost:1", True),
        ("127.0.0.9:1", "127.0.0.9:1", True),
        ("[::1]:1", "[::1]:1", True),
        ("0.0.0.0:1", "0.0.0.0:1", False),
        ("[::]:1", "[::]:1", False),
        ("192.168.1.5:1", "192.168.1.5:1", False),
        ("learner.local:1", "learner.local:1", False),
        ("localhost.evil.example:1", "localhost.evil.example:1", False),
    ],
)
def test_who_can_reach_an_address(text: str, address: str, loopback: bool) -> None:
    assert parse_address(text, "--listen") == address
    assert is_loopback(address) is loopback
    require_token(address, TOKEN)
    if loopback:
        require_token(address, "")
    else:
        with pytest.raises(UserError, match="without a token anybody there could train"):
            require_token(address, "")


@pytest.mark.parametrize("text", ["", "host", "host:", "host:x", "host:65536", "::1:5", "1:2:3"])
def test_what_is_no_address_is_said(text: str) -> None:
    with pytest.raises(UserError, match="accepted are HOST:PORT"):
        parse_address(text, "--connect")


def test_a_token_is_read_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(tmp_path / "token") == TOKEN
    assert read_token(None) == ""


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"short", b"two words are no token", b"two\nlines-are-no-token", b"\xff" * 20]
)
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(UserError, match="openssl rand"):
        read_token(tmp_path / "token")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        read_token(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"--tls_cert=.*nowhere"):
        read_pem(tmp_path / "nowhere", "tls_cert")
    (tmp_path / "text").write_text("no certificate")
    with pytest.raises(UserError, match="no PEM file"):
        read_pem(tmp_path / "text", "tls_cert")


def test_only_the_token_admits(made: ModuleType) -> None:
    terms = Terms(made.task(), "policy", TOKEN)
    assert terms.admits(dict(terms.metadata()))
    for other in ("", "Bearer ", TOKEN, f"Bearer {TOKEN}x", f"bearer {TOKEN}", "Bearer é"):
        assert not terms.admits({"authorization": other})
    assert not terms.admits({})
    assert Terms(made.task(), "policy").admits({})  # none was set: this machine alone


def test_a_fingerprint_tells_policies_apart(made: ModuleType) -> None:
    torch.manual_seed(0)
    policy = Policy(made.task(size_px=47).observation, 4)
    before = policy_fingerprint(policy)
    assert before == policy_fingerprint(policy) and len(before) == 16
    with torch.no_grad():
        next(policy.parameters()).view(-1)[0] += 1e-6
    assert policy_fingerprint(policy) != before
