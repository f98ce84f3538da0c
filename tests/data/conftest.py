import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """The module that makes specs and episodes; loaded by path, because `tests` is no package."""
    spec = importlib.util.spec_from_file_location("made_episodes", Path(__file__).parent / "made_episodes.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["made_episodes"] = module
    spec.loader.exec_module(module)
    return module
