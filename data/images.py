"""The one way from a camera's native frame to a model image, for recording, training, preview and acting."""

from __future__ import annotations

import cv2
import numpy as np

from data.spec import CameraSpec


def crop_px(shape: tuple[int, ...], spec: CameraSpec) -> tuple[int, int, int, int]:
    """Return top, left, height, width [px] of the crop in a frame of `shape` (H, W, ...).

    Raises:
        ValueError: the crop leaves the frame or is empty.
    """
    top, left, height, width = spec.crop
    inside = top >= 0 and left >= 0 and top + height <= 1 + 1e-9 and left + width <= 1 + 1e-9
    if not (inside and height > 0 and width > 0):
        raise ValueError(
            f"crop of camera {spec.name!r} is {spec.crop}; accepted are top, left, height, width as "
            "fractions with top + height <= 1 and left + width <= 1"
        )
    # Edges are rounded, not sizes: neighbouring crops then neither overlap nor leave a gap.
    y0, y1 = round(top * shape[0]), round(min(top + height, 1.0) * shape[0])
    x0, x1 = round(left * shape[1]), round(min(left + width, 1.0) * shape[1])
    if y1 <= y0 or x1 <= x0:
        raise ValueError(f"crop of camera {spec.name!r} is {spec.crop}: empty on a {shape[1]}x{shape[0]} px frame")
    return y0, x0, y1 - y0, x1 - x0


def preprocess(frame: np.ndarray, spec: CameraSpec) -> np.ndarray:
    """Crop and resize a frame.

    Args:
        frame: uint8 [H, W, 3] RGB, native; it is not changed.
        spec: crop as fractions of the native frame, and the size of the result.

    Returns:
        uint8 [size_px, size_px, 3] RGB, contiguous, and never a view of `frame`.

    Raises:
        ValueError: the frame is not uint8 [H, W, 3], or the crop does not fit.
    """
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(
            f"frame of camera {spec.name!r} is {frame.dtype} {frame.shape}; accepted is uint8 (H, W, 3) RGB"
        )
    top, left, height, width = crop_px(frame.shape, spec)
    crop = np.ascontiguousarray(frame[top : top + height, left : left + width])
    if (height, width) == (spec.size_px, spec.size_px):
        return crop.copy()
    resized = cv2.resize(crop, (spec.size_px, spec.size_px), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(resized)
