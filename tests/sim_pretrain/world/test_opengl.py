"""A machine that cannot draw: what a person is told, whatever exactly is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# What PyOpenGL does at its import where libEGL is absent, and where it is not installed itself.
ABSENT = (
    "raise AttributeError(\"'NoneType' object has no attribute 'eglQueryString'\")",
    "raise ImportError('OpenGL')",
)


@pytest.mark.parametrize("absent", ABSENT)
def test_without_opengl_the_packages_and_the_variable_are_named(absent: str, tmp_path: Path) -> None:
    (tmp_path / "OpenGL").mkdir()
    (tmp_path / "OpenGL" / "__init__.py").write_text(absent)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "hilserl.cli", "pretrain", "--preview", f"--output_dir={tmp_path}"]
    found = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path, "MUJOCO_GL": "egl"}, capture_output=True, text=True
    )
    assert found.returncode == 1
    assert found.stderr.startswith("hilserl pretrain: MuJoCo found no OpenGL to render cameras with (MUJOCO_GL=egl: ")
    assert "apt-get install libegl1 libgl1-mesa-dri" in found.stderr and "Traceback" not in found.stderr
    assert not (tmp_path / "preview.png").exists()
