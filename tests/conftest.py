"""What must be said before any test module imports MuJoCo: it reads its choice of OpenGL once."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")
