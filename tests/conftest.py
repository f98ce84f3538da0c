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


LONG = ("test_demo", "test_commands", "test_operator_session", "test_leader_session", "test_classifier_journey")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the files that keep a machine busy for a minute or more begin early, and not all at once."""
    files = dict[Path, list[pytest.Item]]()
    for item in items:
        files.setdefault(item.path, []).append(item)
    long = sorted((path for path in files if path.stem in LONG), key=lambda path: LONG.index(path.stem))
    order = [path for path in files if path not in long]
    apart = 1 + len(order) // (1 + len(long))
    for k, path in enumerate(long):
        order.insert(k * apart, path)
    items[:] = [item for path in order for item in files[path]]
