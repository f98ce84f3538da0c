"""The Enter key as a stop button, for motions that a command makes by itself."""

from __future__ import annotations

import os
import select
import sys


def pressed() -> bool:
    """Whether a line was typed since the last look; it is consumed. Never blocks; False when nobody can type."""
    if sys.stdin.closed or not select.select([sys.stdin], [], [], 0.0)[0]:
        return False
    return bool(os.read(sys.stdin.fileno(), 4096))
