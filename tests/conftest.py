"""What all tests share: the choice of OpenGL, which MuJoCo reads once when it is imported, and made-up episodes."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

os.environ.setdefault("MUJOCO_GL", "egl")


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """The module that makes specs and episodes; loaded by path, because `tests` is no package."""
    path = Path(__file__).parent / "data" / "made_episodes.py"
    spec = importlib.util.spec_from_file_location("made_episodes", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["made_episodes"] = module
    spec.loader.exec_module(module)
    return module
