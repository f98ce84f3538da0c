"""docs/faults.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_every_test_that_the_table_names_exists() -> None:
    named = re.findall(r"([\w/]+\.py)::(\w+)", (ROOT / "docs" / "faults.md").read_text())
    missing = [f"{f}::{name}" for f, name in named if f"def {name}(" not in (ROOT / "tests" / f).read_text()]
    assert len(named) > 30 and missing == []
