"""The emulated SO-101: servo bus, cameras and table, for LeRobot's own drivers to connect to."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Give LeRobot the camera class: it looks for it in the package of its config class."""
    if name == "EmulatedCamera":
        from sim_pretrain.rig.camera import EmulatedCamera

        return EmulatedCamera
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
