"""Our folders have plain names; each must mean ours, wherever Python is started from."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMES = ["data", "teleop", "classifier", "hilserl", "sim_pretrain"]
ASK = """
import importlib.util, json, sys
print(json.dumps([importlib.util.find_spec(name).origin for name in sys.argv[1:]]))
"""


def test_names_resolve_into_this_repository(tmp_path: Path) -> None:
    """Asked from an empty folder, so that the current directory cannot help."""
    asked = subprocess.run([sys.executable, "-c", ASK, *NAMES], cwd=tmp_path, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    assert [Path(origin) for origin in json.loads(asked.stdout)] == [ROOT / n / "__init__.py" for n in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_no_other_package_installs_the_name(name: str) -> None:
    assert set(importlib.metadata.packages_distributions().get(name, [])) <= {"hilserl"}


def test_tests_are_no_package() -> None:
    """draccus installs a top-level `tests`; ours must not compete with it."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []
