"""What all tests share: made-up episodes, and two choices that libraries read once, when they are imported.

OpenGL for MuJoCo; one thread for torch, as a second one that waits for a busy core makes updates ten times slower.
"""

import fcntl
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
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
WAIT_S = 1200  # for the other worker's rig, and for the test itself


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the files that run an emulated arm for a minute or more begin early and apart."""
    files = dict[Path, list[pytest.Item]]()
    for item in items:
        files.setdefault(item.path, []).append(item)
    long = sorted((path for path in files if path.stem in RIGS), key=lambda path: RIGS.index(path.stem))
    order = [path for path in files if path not in long]
    apart = 1 + len(order) // (1 + len(long))
    for k, path in enumerate(long):
        order.insert(k * apart, path)
        for item in files[path]:
            item.add_marker(pytest.mark.timeout(WAIT_S))
    items[:] = [item for path in order for item in files[path]]


@pytest.fixture(autouse=True)
def one_rig_at_a_time(request: pytest.FixtureRequest) -> Iterator[None]:
    """Two emulated arms that run faster than time, with learners and browsers, would starve each other."""
    if request.path.stem not in RIGS:
        yield
        return
    with (Path(tempfile.gettempdir()) / "hilserl-tests-one-rig").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
