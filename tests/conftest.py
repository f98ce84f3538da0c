"""What all tests share: made-up episodes, and two choices that libraries read once, when they are imported.

OpenGL for MuJoCo; one thread for torch, as a second one that waits for a busy core makes updates ten times slower.
"""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

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
RIG_TIMEOUT_S = 600  # of a test with real processes, beside another worker


class OneRigAtATime(LoadScopeScheduling):
    """A file is one worker's, and so are all that run an emulated arm.

    Two arms that run faster than time, with learners and browsers, would starve each other.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "rigs" if Path(file).stem in RIGS else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneRigAtATime:
    """Hand out the tests so."""
    return OneRigAtATime(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    for item in items:
        if item.path.stem in RIGS:
            item.add_marker(pytest.mark.timeout(RIG_TIMEOUT_S))
    items.sort(key=lambda item: RIGS.index(item.path.stem) if item.path.stem in RIGS else len(RIGS))
