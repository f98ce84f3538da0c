"""What a camera makes of a rendered picture: exposure, white balance, gamma and noise."""

from __future__ import annotations

import cv2
import numpy as np

from sim_pretrain.world.profile import WorldProfile

_SHIFTS = 1 << 16  # different looks of the noise; drawing it anew for every frame would cost half a rendering


class Exposure:
    """The finish of a profile's frames; one that changes nothing costs nothing."""

    def __init__(self, profile: WorldProfile) -> None:
        """Begin with this profile."""
        self._grain: np.ndarray = np.zeros(0, np.float32)  # noise of deviation 1; a frame gets a stretch of it
        self.adopt(profile)

    def adopt(self, profile: WorldProfile) -> None:
        """Tabulate what becomes of every grey level, channel by channel."""
        gain = np.float32(profile.brightness) * np.array(profile.white_balance, np.float32)
        levels = np.arange(256, dtype=np.float32)[:, None] * gain
        if profile.gamma != 1.0:
            levels = 255 * (levels / 255) ** np.float32(profile.gamma)
        self._levels = levels[None]  # float32 [1, 256, 3], as OpenCV wants a table
        self._table = np.clip(self._levels, 0, 255).astype(np.uint8)
        self._is_plain = bool((self._table[0] == np.arange(256)[:, None]).all())
        self._noise = np.float32(profile.image_noise)

    def develop(self, frame: np.ndarray, draw: int) -> np.ndarray:
        """Return the finished frame, uint8 [H, W, 3]; the number `draw` says how the noise falls."""
        if self._noise == 0.0:
            return frame if self._is_plain else cv2.LUT(frame, self._table)
        if len(self._grain) != frame.size + _SHIFTS:
            self._grain = np.random.default_rng(0).standard_normal(frame.size + _SHIFTS, np.float32)
        start = draw % _SHIFTS
        noise = self._noise * self._grain[start : start + frame.size].reshape(frame.shape)
        return np.clip(cv2.LUT(frame, self._levels) + noise, 0, 255).astype(np.uint8)
