"""The ChArUco board: what it is, how it is printed, found in a frame, and laid on the simulated table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data.errors import UserError

DPI = 254  # 10 px per mm: squares of whole millimetres come out exact
_MARGIN_M, _RULER_M = 0.012, 0.1
_PX_PER_M = 4000  # of the simulated board's texture
_ABOVE_M = 0.0003  # the simulated paper lies this far above the table, which would show through it otherwise


@dataclass(frozen=True)
class Board:
    """A chessboard with markers in its white squares. Its frame: origin in its centre, x right, y up, z to the eye."""

    squares_x: int
    squares_y: int
    square_m: float
    marker_m: float
    dictionary: str  # OpenCV's name of the marker set

    def __post_init__(self) -> None:
        """Check what OpenCV would trip over later.

        Raises:
            UserError: no such dictionary, not enough markers in it, or sizes that are no board.
        """
        known = sorted(name for name in dir(cv2.aruco) if name.startswith("DICT_"))
        if self.dictionary not in known:
            raise UserError(f"no marker dictionary {self.dictionary!r}; accepted are {', '.join(known)}")
        if min(self.squares_x, self.squares_y) < 3 or not 0 < self.marker_m < self.square_m < 1:
            raise UserError(
                f"a board of {self.squares_x} x {self.squares_y} squares of {self.square_m} m with markers of "
                f"{self.marker_m} m cannot be made; accepted are 3 x 3 squares or more, and 0 < marker_m < square_m < 1"
            )
        needed, there = self.squares_x * self.squares_y // 2, len(self._dictionary().bytesList)
        if needed > there:
            raise UserError(
                f"{self.squares_x} x {self.squares_y} squares need {needed} markers, {self.dictionary} has {there}. "
                "Use fewer squares, or a larger dictionary: --dictionary=DICT_4X4_1000 is the largest"
            )

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height of all squares together."""
        return self.squares_x * self.square_m, self.squares_y * self.square_m

    @property
    def corners_m(self) -> np.ndarray:
        """Inner corners [N, 3] in the board's frame; the row is the corner's number."""
        top_left = np.asarray(self._charuco().getChessboardCorners(), float)  # x right, y down from the corner
        width, height = self.size_m
        return (top_left - (width / 2, height / 2, 0.0)) * (1.0, -1.0, 0.0)

    def image(self, px_per_m: float) -> np.ndarray:
        """Return the squares without a margin, uint8 [H, W]."""
        size = tuple(round(side * px_per_m) for side in self.size_m)
        return self._charuco().generateImage(size, marginSize=0, borderBits=1)

    def _charuco(self) -> cv2.aruco.CharucoBoard:
        shape = (self.squares_x, self.squares_y)
        return cv2.aruco.CharucoBoard(shape, self.square_m, self.marker_m, self._dictionary())

    def _dictionary(self) -> cv2.aruco.Dictionary:
        return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, self.dictionary))


class BoardDetector:
    """Finds the inner corners of one board; holds OpenCV's detector, which is slow to make."""

    def __init__(self, board: Board) -> None:
        markers = cv2.aruco.DetectorParameters()
        markers.minMarkerPerimeterRate = 0.02  # of the frame's width; the usual 0.03 misses a board seen from above
        markers.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
        self._detector = cv2.aruco.CharucoDetector(board._charuco(), cv2.aruco.CharucoParameters(), markers)
        self._shift_px: np.ndarray = np.zeros(2)
        # OpenCV up to 4.13 reports every corner half a pixel too far (opencv issue 25539): measured, not looked up.
        px_per_m, margin_px = 40 / board.square_m, 40
        picture = np.pad(board.image(px_per_m), margin_px, constant_values=255)
        numbers, found = self.find(np.repeat(picture[:, :, None], 3, axis=2))
        true = (board.corners_m[numbers, :2] * (1, -1) + np.array(board.size_m) / 2) * px_per_m + margin_px - 0.5
        self._shift_px = (found - true).mean(axis=0).round(1)

    def find(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers [K] and the pixels [K, 2] (x, y; pixel centres are whole) of the corners in a frame.

        Args:
            frame: uint8 [H, W, 3] RGB.
        """
        corners, numbers, _, _ = self._detector.detectBoard(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
        if numbers is None or corners is None:
            return np.empty(0, int), np.empty((0, 2))
        return np.ravel(numbers).astype(int), np.reshape(corners, (-1, 2)).astype(float) - self._shift_px


def print_board(board: Board, path: Path) -> tuple[float, float]:
    """Write a PNG that prints at the board's true size, with a ruler to check it by; return its width and height [m].

    Raises:
        UserError: the file cannot be written there.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    inch_m, (wide_m, high_m), foot_m = 0.0254, board.size_m, 0.022
    page_m = max(wide_m, _RULER_M) + 2 * _MARGIN_M, high_m + 2 * _MARGIN_M + foot_m
    figure = Figure(figsize=(page_m[0] / inch_m, page_m[1] / inch_m), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    figure.figimage(
        board.image(DPI / inch_m), round(_MARGIN_M * DPI / inch_m), round((_MARGIN_M + foot_m) * DPI / inch_m),
        cmap="gray", vmin=0, vmax=255, origin="upper",
    )  # fmt: skip
    page = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, page_m[0]), ylim=(0, page_m[1]), facecolor="none")
    page.axis("off")
    ticks_m, level_m = _MARGIN_M + np.linspace(0.0, _RULER_M, 11), foot_m
    page.plot(ticks_m[[0, -1]], [level_m] * 2, color="black", linewidth=0.8)
    for tick_m in ticks_m:
        page.plot([tick_m] * 2, [level_m, level_m - 0.003], color="black", linewidth=0.8)
    words = (
        f"Print at 100 % (actual size) and glue it to something flat. The ruler is {1000 * _RULER_M:g} mm long, "
        f"a square {1000 * board.square_m:g} mm.\n"
        f"{board.squares_x} x {board.squares_y} squares of {board.square_m:g} m, markers of {board.marker_m:g} m, "
        f"{board.dictionary}. If it measures otherwise, say so with --square_m and --marker_m."
    )
    page.text(_MARGIN_M, level_m - 0.006, words, fontsize=8, va="top", ha="left")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DPI, format="png")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}. Name a file in a folder of yours") from error
    return page_m


def with_board(
    scene: tuple[str, dict[str, bytes]], board: Board, centre_m: tuple[float, float], yaw_rad: float
) -> tuple[str, dict[str, bytes]]:
    """Return a scene of `sim_pretrain.world.scene.build_xml` with the board on its table.

    Args:
        scene: MJCF text and files.
        board: what to lay down.
        centre_m: x, y of its centre in the base frame.
        yaw_rad: from the base's x to the board's x.
    """
    xml, files = scene
    margin = round(board.square_m / 2 * _PX_PER_M)
    picture = np.pad(board.image(_PX_PER_M), margin, constant_values=255)
    done, png = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB))
    assert done
    half = [side / 2 + margin / _PX_PER_M for side in board.size_m]
    asset = (
        '<texture name="charuco" type="2d" file="charuco.png"/>'
        '<material name="charuco" texture="charuco" specular="0" reflectance="0" emission="0.3"/>'
    )
    geom = (
        f'<geom name="charuco" type="plane" size="{half[0]} {half[1]} 0.01" pos="{centre_m[0]} {centre_m[1]} '
        f'{_ABOVE_M}" euler="0 0 {yaw_rad}" material="charuco" contype="0" conaffinity="0"/>'
    )
    xml = xml.replace("</asset>", f"{asset}</asset>", 1).replace("</worldbody>", f"{geom}</worldbody>", 1)
    return xml, {**files, "charuco.png": png.tobytes()}
