"""MuJoCo and what it draws with: without a window, on one core. Whoever needs `mujoco` takes it from here."""

from __future__ import annotations

import os

from data.errors import UserError

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "0")  # one software-rendering thread; more bring nothing at these sizes


def without_opengl(error: Exception) -> UserError:
    """Return what to tell a person whose machine cannot render."""
    return UserError(
        f"MuJoCo found no OpenGL to render cameras with (MUJOCO_GL={os.environ['MUJOCO_GL']}: {error}). "
        "On Debian or Ubuntu: apt-get install libegl1 libgl1-mesa-dri; or set MUJOCO_GL to egl or osmesa"
    )


try:
    import mujoco
except Exception as error:  # already the import looks for the library; the error depends on what is missing
    raise without_opengl(error) from error


def make_renderer(model: mujoco.MjModel, width_px: int, height_px: int) -> mujoco.Renderer:
    """Return a renderer; the thread that makes it must use it.

    Raises:
        UserError: there is no OpenGL to render with.
    """
    try:
        return mujoco.Renderer(model, height_px, width_px)
    except Exception as error:
        raise without_opengl(error) from error
