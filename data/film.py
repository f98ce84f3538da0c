"""An episode to look at: a contact sheet (PNG) or a film (MP4), with who acted, p(success), reward and time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import UserError
from data.labels import from_mask
from data.schema import Episode, Source

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {  # Okabe and Ito (2008): told apart with any colour vision; each is named in words, too
    Source.POLICY: "#0072B2",
    Source.HUMAN: "#E69F00",
    Source.EXPERT: "#009E73",
    Source.HOLD: "#8C8C8C",
}
SUCCESS, INK, FAINT = "#CC79A7", "#222222", "#8C8C8C"
TILES, COLUMNS = 18, 6
DPI = 100


def contact_sheet(episode: Episode, title: str, path: Path) -> None:
    """Write a PNG: a timeline over all steps, and up to 18 frames of every camera, first and last included."""
    frames = np.unique(np.linspace(0, len(episode), TILES).round().astype(int))
    pixels = _stacked(episode, 0).shape
    tile_in, caption_in, gap_in = 2.07, 0.3, 0.1
    row_in = tile_in * pixels[0] / pixels[1] + caption_in
    width_in = 0.5 + COLUMNS * (tile_in + gap_in)
    height_in = 2.65 + -(-len(frames) // COLUMNS) * row_in
    figure = _figure(width_in, height_in)
    _heading(figure, title, episode)
    timeline = figure.add_axes((0.05, 1 - 2.25 / height_in, 0.93, 1.35 / height_in))
    _timeline(timeline, episode)
    timeline.plot(frames, np.full(len(frames), 1.19), "v", color=INK, ms=4, clip_on=False)  # where the frames are from
    for place, frame in enumerate(frames):
        row, column = divmod(place, COLUMNS)
        left_in, top_in = 0.3 + column * (tile_in + gap_in), 2.55 + row * row_in
        box = (
            left_in / width_in,
            1 - (top_in + row_in) / height_in,
            tile_in / width_in,
            (row_in - caption_in) / height_in,
        )
        tile = figure.add_axes(box, xticks=[], yticks=[])
        tile.imshow(_stacked(episode, frame), interpolation="bilinear")
        colour, words = _caption(episode, frame)
        tile.set_title(words, fontsize=8.5, color=INK, pad=4, loc="left")
        for spine in tile.spines.values():
            spine.set(color=colour, linewidth=3)
    figure.savefig(path, dpi=DPI, facecolor="white", format="png")


def film(episode: Episode, title: str, path: Path, rate_hz: float, progress: Callable[[int], Any]) -> None:
    """Write an MP4 (H.264, plays in a browser) at the task's rate; the last frame stays for a second.

    Args:
        episode: the cameras are shown side by side, above the timeline.
        title: heading of every picture.
        path: of the film; replaced when it exists.
        rate_hz: steps per second.
        progress: called with 1 after each frame.
    """
    import av

    figure = _figure(9.6, 7.2)
    _heading(figure, title, episode)
    views = []
    for place, (camera, images) in enumerate(episode.images.items()):
        width = 0.94 / len(episode.images)
        axes = figure.add_axes((0.03 + place * width, 0.34, width - 0.01, 0.535), xticks=[], yticks=[])
        views.append((axes.imshow(images[0], interpolation="bilinear"), images))
        axes.set_title(camera, fontsize=9, color=FAINT, pad=4)
    timeline = figure.add_axes((0.07, 0.09, 0.89, 0.16))
    _timeline(timeline, episode)
    cursor = timeline.axvline(0, color=INK, linewidth=1.5)
    words = figure.text(0.03, 0.292, "", fontsize=13, color=INK, weight="bold", va="center")
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream: Any = container.add_stream("libx264", rate=round(rate_hz))
        stream.width, stream.height = (int(size) for size in figure.get_size_inches() * DPI)
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "20"}
        for frame in range(len(episode) + 1):
            colour, text = _caption(episode, frame)
            for image, images in views:
                image.set_data(images[frame])
                for spine in image.axes.spines.values():
                    spine.set(color=colour, linewidth=4)
            cursor.set_xdata([frame, frame])
            words.set(text=text, color=colour)
            figure.canvas.draw()
            picture = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
            for _ in range(round(rate_hz) if frame == len(episode) else 1):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            progress(1)
        container.mux(stream.encode())


def require_writable_name(path: Path) -> str:
    """Return ".png" or ".mp4", whichever `path` ends in.

    Raises:
        UserError: it ends in neither, or its folder does not exist.
    """
    if path.suffix.lower() not in (".png", ".mp4") or not path.absolute().parent.is_dir():
        raise UserError(
            f"cannot write {path}; accepted is a name in an existing folder that ends in .png (contact sheet) or "
            ".mp4 (film), e.g. --output=episode.png"
        )
    return path.suffix.lower()


def _figure(width_in: float, height_in: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width_in, height_in), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def _heading(figure: Figure, title: str, episode: Episode) -> None:
    """Write the title, what happened, and what the colours mean."""
    from matplotlib.lines import Line2D

    height, width = figure.get_figheight(), figure.get_figwidth()
    took_s = episode.stamp_s[-1] - episode.stamp_s[0]
    versions = sorted({int(v) for v in episode.policy_version if v >= 0})
    policy = f" · policy version {versions[0]}" + (f" to {versions[-1]}" if versions[1:] else "") if versions else ""
    judge = f" · detector {episode.meta.detector_version}" if episode.meta.detector_version else ""
    figure.text(0.3 / width, 1 - 0.28 / height, title, fontsize=15, weight="bold", color=INK, va="center")
    words = f"{episode.meta.kind} · {episode.meta.outcome} · {len(episode)} steps in {took_s:.1f} s{policy}{judge}"
    figure.text(0.3 / width, 1 - 0.57 / height, words, fontsize=10, color=INK, va="center")
    present = [s for s in Source if (episode.source == s).any()]
    keys = [
        Line2D([], [], color=COLOURS[s], linewidth=7, label=f"{s.name.lower()} {(episode.source == s).mean():.0%}")
        for s in present
    ]
    keys += [Line2D([], [], color=INK, linewidth=1.5, label="p(success)")] * bool(np.isfinite(episode.p_success).any())
    if episode.marked_success.any():
        keys.append(Line2D([], [], color=SUCCESS, linewidth=7, alpha=0.5, label="success held"))
    if episode.reward.any():
        keys.append(Line2D([], [], color=SUCCESS, marker="*", ms=11, linestyle="", label="reward 1"))
    figure.legend(
        handles=keys, loc="upper right", bbox_to_anchor=(1 - 0.2 / width, 1 - 0.12 / height), ncols=len(keys),
        frameon=False, fontsize=9, handlelength=1.2, columnspacing=1.4,
    )  # fmt: skip


def _timeline(axes: Axes, episode: Episode) -> None:
    """Draw who acted as a band, p(success) as a line, marks as shading, the reward as a star; x is the frame number."""
    for source in Source:
        for first, stop in from_mask(episode.source == source):
            axes.axvspan(first, stop, 0, 0.12, color=COLOURS[source], linewidth=0)
    for first, stop in from_mask(episode.marked_success):
        axes.axvspan(first - 0.5, stop - 0.5, 0.12, 1, color=SUCCESS, alpha=0.3, linewidth=0)
    frames = np.arange(1, len(episode) + 1)  # p(success) and reward belong to the frame that a step led to
    axes.plot(frames, episode.p_success, color=INK, linewidth=1.5)
    rewarded = frames[episode.reward > 0]
    axes.plot(rewarded, np.full(len(rewarded), 0.92), "*", color=SUCCESS, ms=15, mec=INK, mew=0.6, clip_on=False)
    axes.set(xlim=(0, len(episode)), ylim=(-0.2, 1.08), yticks=[0, 0.5, 1])
    axes.set_ylabel("p(success)" if np.isfinite(episode.p_success).any() else "no detector", fontsize=9, color=INK)
    axes.set_xlabel("frame", fontsize=9, color=INK, labelpad=1)
    axes.tick_params(labelsize=8, color=FAINT, labelcolor=INK)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _stacked(episode: Episode, frame: int) -> np.ndarray:
    """Return one frame of every camera below each other, a white line between, uint8 [sum of H + 2, widest W, 3]."""
    widest = max(images.shape[2] for images in episode.images.values())
    parts: list[np.ndarray] = []
    for images in episode.images.values():
        beside = ((0, 2), (0, widest - images.shape[2]), (0, 0))
        parts.append(np.pad(images[frame], beside, constant_values=255))
    return np.concatenate(parts)[:-2]


def _caption(episode: Episode, frame: int) -> tuple[str, str]:
    """Return the colour of a frame and its words: who acts on it, when, and what the detector thinks of it."""
    source = Source(int(episode.source[min(frame, len(episode) - 1)]))
    words = f"{frame}   {episode.stamp_s[frame] - episode.stamp_s[0]:.1f} s"
    if frame and np.isfinite(episode.p_success[frame - 1]):
        words += f"   p {episode.p_success[frame - 1]:.2f}"
    if frame and episode.reward[frame - 1]:
        return COLOURS[source], f"{words}   reward {episode.reward[frame - 1]:g}"
    return COLOURS[source], f"{words}   {episode.meta.outcome if frame == len(episode) else source.name.lower()}"
