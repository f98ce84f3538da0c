"""Flags of `hilserl setup camera-fit`; apart from what they steer, so that `--help` needs no heavy import."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class FrameConfig:
    """`--frames...`: which frames count."""

    still_rad_s: float = 0.05  # an arm faster than this, on any joint, is not still
    min_corners: int = 8  # of the board, in one frame
    min_frames: int = 10  # fewer say too little
    max_frames: int = 40  # the most different ones are taken


@dataclass(frozen=True)
class CameraFitArgs:
    """Flags of `hilserl setup camera-fit`."""

    run: Path | None = None  # run, store or merge with a drive over the board: hilserl record --keep_native=true
    episode: str | None = None  # index or uuid of the one to use; none: all, if the board never moved
    output_dir: Path = Path("runs/camera-fit")  # gets profile.json, overlay.png and report.txt
    board: Path | None = None  # write the board to this PNG, to print
    squares_x: int = 7  # across the board
    squares_y: int = 5  # down the board
    square_m: float = 0.03  # side of a square; measure it on the print
    marker_m: float = 0.022  # side of a marker
    dictionary: str = "DICT_4X4_50"  # OpenCV's name of the marker set
    camera: str = "wrist"  # name of the camera on the gripper
    profile_json: Path | None = None  # present world profile: what the fit does not change is kept
    overlays: int = 4  # poses in overlay.png
    frames: FrameConfig = field(default_factory=FrameConfig)
