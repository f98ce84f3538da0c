"""What all tests share: made-up episodes, and two choices that libraries read once, when they are imported.

OpenGL for MuJoCo; one thread for torch, as a second one that waits for a busy core makes updates ten times slower.
"""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("OMP_NUM_THREADS", "1")


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


RIGS = ("test_demo", "test_commands", "test_operator_session", "test_leader_session", "test_classifier_journey")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole files go to a worker; those that run an emulated arm for minutes all to one, first: two would starve."""
    items.sort(key=lambda item: item.path.stem not in RIGS)
    for item in items:
        item.add_marker(pytest.mark.xdist_group("rigs" if item.path.stem in RIGS else str(item.path)))
