"""Helpers that live beside the tests; loaded by path, because `tests` is no package."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from teleop.gamepad import start_sdl
from teleop.virtual_pad import VirtualPad, library


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def check_operator() -> Callable:
    """The operator contract: `check_operator(connect)`."""
    return _load("operator_contract").check_operator


@pytest.fixture
def new_pad() -> Iterator[Callable[..., Any]]:
    """A factory of plugged-in virtual pads, `new_pad(name=..., kind=...)`; they are unplugged afterwards."""
    pygame, controller = start_sdl()
    found = library()
    if found is None:
        pytest.skip("pygame's own SDL2 library was not found")
    pads = []

    def plug(**description: Any) -> Any:
        pads.append(VirtualPad(found, **description).plug())
        return pads[-1]

    yield plug
    for pad in pads:
        pad.unplug()
    controller.quit()
    pygame.quit()
