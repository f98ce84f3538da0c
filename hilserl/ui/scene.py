"""Is the scene still the one that was learned from? The pictures of a start, now and in the sessions before.

No single picture is the reference: the start pose and the object differ from episode to episode. How far the earlier
starts are from their own median tells how much is usual, for each camera; more than that is worth a look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

LEAST = 4  # earlier starts, to know what is usual
MARGIN = 1.5  # times what was usual
LEAST_MOVED_PX, LEAST_LIGHT = 1.0, 0.05  # below this nothing is said: of the model's picture; share of the brightness


@dataclass(frozen=True)
class Difference:
    """How one picture differs from the reference."""

    moved_px: float  # shift that explains it best
    light: float  # brighter, as a share; negative: darker


class Scene:
    """The earlier starts of one camera."""

    def __init__(self, starts: Sequence[np.ndarray]) -> None:
        """Take uint8 [H, W, 3] pictures, `LEAST` of them at least."""
        self.reference = np.median(np.stack(starts), axis=0).astype(np.uint8)
        usual = [difference(self.reference, s) for s in starts]
        self._most_moved_px = max(LEAST_MOVED_PX, MARGIN * max(u.moved_px for u in usual))
        self._most_light = max(LEAST_LIGHT, MARGIN * max(abs(u.light) for u in usual))

    def judge(self, now: np.ndarray) -> tuple[bool, str]:
        """Return whether a start looks as usual, and what is seen in words."""
        found, unusual = difference(self.reference, now), []
        if found.moved_px > self._most_moved_px:
            unusual.append(f"moved by {found.moved_px:.0f} px: put the camera back")
        if abs(found.light) > self._most_light:
            unusual.append(f"{abs(found.light):.0%} {'brighter' if found.light > 0 else 'darker'}: check the light")
        return not unusual, "; ".join(unusual) or "as in the sessions before"


def difference(reference: np.ndarray, now: np.ndarray) -> Difference:
    """Compare two pictures, uint8 [H, W, 3] of one size; the shift is found by phase correlation (cv2)."""
    one, other = (cv2.cvtColor(i, cv2.COLOR_RGB2GRAY).astype(np.float32) for i in (reference, now))
    window = cv2.createHanningWindow(one.shape[::-1], cv2.CV_32F)
    (dx, dy), _ = cv2.phaseCorrelate(one - one.mean(), other - other.mean(), window)
    return Difference(float(np.hypot(dx, dy)), float(other.mean() / max(1.0, float(one.mean())) - 1))
