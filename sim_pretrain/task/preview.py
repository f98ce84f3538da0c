"""A contact sheet of randomised tables: what a policy will see, and how far every axis goes (research page, R27)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from data.errors import UserError
from data.images import crop_px
from sim_pretrain.task.stages import scatter
from sim_pretrain.task.tasks import SimTask
from sim_pretrain.world.physics import World
from sim_pretrain.world.profile import WorldProfile
from sim_pretrain.world.randomize import Randomization

COLUMNS = 6
SAMPLES = 400  # in a histogram
_UNITS = {"_m": (1e3, " mm"), "_s": (1e3, " ms"), "_deg": (1.0, "°"), "_kg": (1e3, " g"), "_nm": (1.0, " N m")}


def preview(task: SimTask, randomization: Randomization, path: Path, seed: int = 0, resets: int = 18) -> None:
    """Write a PNG: `resets` random starts, wrist beside front camera, then every axis from its low to its high end.

    An axis that shows in no picture (friction, latency) is drawn as a histogram of samples.

    Raises:
        UserError: nothing is randomised, the file cannot be written, or there is no OpenGL.
    """
    if not path.parent.is_dir():
        raise _unwritable(path, f"there is no folder {path.parent}")
    base, rng = task.profile, np.random.default_rng(seed)
    spans = {name: randomization.extremes(name, base) for name in randomization.axes()}
    hidden = {"target_rgb"} if task.prop is None else set()
    spans = {name: (low, high) for name, (low, high) in spans.items() if low != high and name not in hidden}
    if not spans or resets < 1:
        raise UserError(
            f"there is nothing to preview: {len(spans)} axes are randomised and {resets} resets asked for; "
            "accepted are 1 or more of each. Widen an axis, such as --randomization.brightness=0.3"
        )
    samples = [randomization.sample(rng, base) for _ in range(SAMPLES)]
    world = World(base, prop=task.prop)
    try:
        starts = [_picture(world, task, profile, seed + i) for i, profile in enumerate(samples[:resets])]
        ends = {name: [_picture(world, task, end, seed) for end in pair] for name, pair in spans.items()}
    finally:
        world.close()
    rows = -(-resets // COLUMNS), -(-len(spans) // COLUMNS)
    figure = Figure(figsize=(3.3 * COLUMNS, 2.25 * sum(rows) + 1.0), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    halves = figure.add_gridspec(2, 1, height_ratios=(rows[0] + 0.2, rows[1] + 0.2))
    top, bottom = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
    top.suptitle(f"{task.name}: {resets} random resets, wrist beside front camera", fontweight="bold")
    for cell, picture, profile in zip(_cells(top, rows[0]), starts, samples, strict=False):
        _show(cell, picture["wrist"], picture["front"], _facts(profile, base))
    off = sorted(set(randomization.axes()) - set(spans) - hidden)
    bottom.suptitle(
        "Extremes: each axis alone, low end beside high end" + (f" (off: {', '.join(off)})" if off else ""),
        fontweight="bold",
    )
    for cell, (name, (low, high)) in zip(_cells(bottom, rows[1]), spans.items(), strict=False):
        title = f"{name}\n{_span(name, low, high, base)}"
        changed = {c: np.abs(ends[name][0][c].astype(int) - ends[name][1][c]).mean() for c in world.camera_names}
        camera = max(changed, key=lambda c: changed[c])
        if changed[camera] > 0.0:
            _show(cell, ends[name][0][camera], ends[name][1][camera], title)
        else:
            _histogram(cell, name, samples, base, title)
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def _unwritable(path: Path, reason: str) -> UserError:
    return UserError(
        f"cannot write the preview to {path}: {reason}. Accepted is the name of a file in a folder that exists and "
        "that you may write to, such as --preview=preview.png"
    )


def _picture(world: World, task: SimTask, profile: WorldProfile, seed: int) -> dict[str, np.ndarray]:
    """Return {camera: the part of its frame that policies see, before it is made small} at a start."""
    world.apply(profile)
    scatter(world, task, np.random.default_rng(seed))
    pictures = {}
    for camera in task.spec.observation.cameras:
        frame = world.render(camera.name)
        y, x, height, width = crop_px(frame.shape, camera)
        pictures[camera.name] = frame[y : y + height, x : x + width].copy()
    return pictures


def _cells(figure: SubFigure, rows: int) -> list[Axes]:
    cells = list(figure.subplots(rows, COLUMNS, squeeze=False).ravel())
    for cell in cells:
        cell.set_axis_off()
    return cells


def _show(cell: Axes, left: np.ndarray, right: np.ndarray, title: str) -> None:
    gap = np.full((left.shape[0], 4, 3), 255, np.uint8)
    cell.imshow(np.concatenate((left, gap, right), 1))
    cell.set_title(title, fontsize=9)


def _histogram(cell: Axes, name: str, samples: list[WorldProfile], base: WorldProfile, title: str) -> None:
    factor, unit = _unit(name)
    values = factor * np.array([getattr(profile, name) for profile in samples]).ravel()
    cell.set_axis_on()
    cell.hist(values, bins=20, color="0.65")
    for value in np.unique(getattr(base, name)):
        cell.axvline(factor * value, color="tab:red", linewidth=2)
    cell.set_yticks([])
    cell.tick_params(labelsize=8)
    cell.set_xlabel(f"{unit.strip() or 'value'} in {len(samples)} samples; red: base", fontsize=8)
    cell.set_title(title, fontsize=9)


def _facts(profile: WorldProfile, base: WorldProfile) -> str:
    """The numbers of a table that no picture shows, in two lines."""
    return (
        f"cube {2e3 * profile.cube_half_m:.0f} mm, {1e3 * profile.cube_mass_kg:.0f} g, "
        f"friction {profile.pad_friction:.1f}, gain {profile.servo_gain / base.servo_gain - 1:+.0%}\n"
        f"late: action {1e3 * profile.action_latency_s:.0f} ms, camera {1e3 * profile.camera_latency_s:.0f} ms; "
        f"play {profile.backlash_deg:.1f}°"
    )


def _span(name: str, low: WorldProfile, high: WorldProfile, base: WorldProfile) -> str:
    """How far an axis goes: from a to b, or, for a vector, how much less and more than the base."""
    factor, unit = _unit(name)
    ends = [getattr(profile, name) for profile in (low, high)]
    if name.endswith("_rgb"):
        return "of many, one dark and one light"
    if isinstance(ends[0], tuple):
        down, up = (factor * np.subtract(end, getattr(base, name)) for end in ends)
        return f"each {down.min():+.3g} to {up.max():+.3g}{unit}"
    return f"{factor * ends[0]:.3g} to {factor * ends[1]:.3g}{unit}"


def _unit(name: str) -> tuple[float, str]:
    return next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), (1.0, ""))
