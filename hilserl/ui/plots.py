"""The pictures of the run report. Colours can be told apart with any colour vision, and each is named in words, too."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from data.film import COLOURS, FAINT, INK
from data.schema import Source
from hilserl.metrics import trailing
from hilserl.ui.coverage import Coverage
from hilserl.ui.run_data import RunData

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 160
WINDOW = 20  # episodes
WON, HUMAN, LOST = "#009E73", COLOURS[Source.HUMAN], "#B5B5B5"  # Okabe and Ito (2008)
ALONE, FAILS = "#0072B2", "#D55E00"
EDGE = 1e-4  # probabilities nearer to 0 or 1 are drawn there


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG."""
    out = BytesIO()
    figure.savefig(out, dpi=DPI, format="png", facecolor="white")
    return out.getvalue()


def progress(data: RunData) -> Figure:
    """Success and intervention over operated episodes and over minutes, and the untouched measurements between them."""
    figure = _figure(10.4, 3.5)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.35, 1))
    operated = data.operated
    won = np.array([a.stripe.won for a in operated], float)
    human = np.array([a.stripe.human_steps / a.stripe.steps for a in operated])
    minutes = np.array([m for m, a in zip(data.minutes, data.attempts, strict=True) if a.kind == "online"])
    blocks = data.blocks()
    axes: Axes
    for axes, x, at in (
        (left, np.arange(1, len(won) + 1), [b.place for b in blocks]),
        (right, minutes, [b.minute for b in blocks]),
    ):
        if len(won):
            axes.plot(x, 100 * trailing(won, WINDOW), color=WON, lw=2.2, label=f"success, last {WINDOW} operated")
            axes.plot(x, 100 * trailing(human, WINDOW), color=HUMAN, lw=2.2, label="steps driven by you")
        for number, (place, block) in enumerate(zip(at, blocks, strict=True)):
            low, high = block.interval
            rate = block.wins / block.n
            axes.errorbar(
                place, 100 * rate, [[100 * (rate - low)], [100 * (high - rate)]], fmt="o", color=ALONE, ms=6, lw=1.6,
                capsize=4, label=None if number else "untouched, with 95 % interval",
            )  # fmt: skip
            if axes is left:
                axes.annotate(f"{block.wins}/{block.n}", (place, 100 * rate), (7, 6 - 13 * (number % 2)),
                              textcoords="offset points",
                              fontsize=8.5, color=ALONE)  # fmt: skip
        _tidy(axes)
        axes.set(ylim=(-3, 106), yticks=range(0, 101, 25))
    left.set(xlabel="operated episode", ylabel="per cent", xlim=(-0.04 * len(won) - 1, 1.1 * len(won) + 1))
    right.set(xlabel="minutes at the arm")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False, fontsize=9.5)
    return figure


def strip(data: RunData, last: int = 160) -> Figure:
    """One bar per training episode: its length, how it ended, and the part that a person drove."""
    figure = _figure(10.4, 2.1)
    axes = figure.subplots()
    shown = data.attempts[-last:]
    x, rate_hz = np.arange(len(shown)), data.task.rate_hz
    seconds = np.array([a.stripe.steps for a in shown]) / rate_hz
    won = np.array([a.stripe.won for a in shown], bool)
    human = np.array([a.stripe.human_steps for a in shown]) / rate_hz
    axes.bar(x[won], seconds[won], 0.82, color=WON, label="success")
    axes.bar(x[~won], seconds[~won], 0.82, color=LOST, label="no success")
    axes.bar(x, human, 0.82, color=HUMAN, label="driven by you")
    untouched = [i for i, a in enumerate(shown) if a.kind != "online"]
    axes.plot(untouched, np.full(len(untouched), -0.45), "s", color=ALONE, ms=3, label="untouched", clip_on=False)
    _tidy(axes)
    labels = x[:: max(1, len(x) // 12)]
    axes.set(xlim=(-1, max(len(shown), 20)), ylim=(-0.9, None), ylabel="seconds", xticks=labels)
    axes.set_xticklabels([str(shown[i].stripe.number) for i in labels])
    axes.set_xlabel("episode, by its number in the store")
    figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=9.5)
    return figure


def area(found: Coverage) -> Figure:
    """Draw the map: the share of successes in each cell, and how many episodes that is."""
    from matplotlib.colors import LinearSegmentedColormap

    figure = _figure(5.0, 4.6)
    axes = figure.subplots()
    share = np.full(found.tries.shape, np.nan)
    np.divide(found.wins, found.tries, out=share, where=found.tries > 0)
    colours = LinearSegmentedColormap.from_list("success", [FAILS, "#F2E3C4", ALONE]).with_extremes(bad="#F4F4F4")
    picture = found.of == "picture"
    scale = 100.0
    (x_low, y_low), (x_high, y_high) = np.array(found.low) * scale, np.array(found.high) * scale
    # On the table x is forward, so up, and y is to the left; in a picture x is to the right and y is down.
    grid, extent = (share.T, (x_low, x_high, y_high, y_low)) if picture else (share, (y_low, y_high, x_low, x_high))
    image = axes.imshow(
        grid, cmap=colours, vmin=0, vmax=1, extent=extent, origin="upper" if picture else "lower", aspect="auto",
        alpha=0.85,
    )  # fmt: skip
    across, up = (0, 1) if picture else (1, 0)
    for won, marker, colour in ((True, "o", "white"), (False, "X", "#222222")):
        points = found.points[found.won == won] * scale
        name = "success" if won else "no success"
        axes.scatter(points[:, across], points[:, up], s=20, c=colour, marker=marker, ec=INK, lw=0.5, label=name)
    box = {"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.72}
    for x in range(found.tries.shape[0]):
        for y in range(found.tries.shape[1]):
            centre, tries = found.centre_of((x, y)), found.tries[x, y]
            words = f"{found.wins[x, y]}/{tries}" if tries else "not tried"
            at = scale * centre[across], scale * centre[up]
            axes.text(*at, words, ha="center", va="center", fontsize=10, color=INK, weight="bold", bbox=box)
    if not picture:
        axes.set_xlim(y_high, y_low)  # left is left
    unit = "per cent of the picture" if picture else "cm"
    axes.set_xlabel(f"to the right, {unit}" if picture else f"to the left of the arm, {unit}")
    axes.set_ylabel(f"down, {unit}" if picture else f"in front of the arm's base, {unit}")
    axes.tick_params(labelsize=9, color=FAINT)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["fails", "half", "succeeds"], fontsize=9)
    bar.outline.set_visible(False)  # type: ignore[operator]
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=9.5)
    return figure


def classifier(data: RunData) -> Figure:
    """What the classifier said, by session: at the start, at most in episodes without success, and at a success."""
    figure = _figure(5.2, 4.6)
    axes = figure.subplots()
    judged = [a for a in data.attempts if np.isfinite(a.p_success).any()]
    sessions = list(dict.fromkeys(a.session for a in judged))
    groups = (
        ("at the start", ALONE, lambda a: np.nanmax(a.p_success[:3])),
        ("highest, no success", FAILS, lambda a: None if a.stripe.won else np.nanmax(a.p_success)),
        ("at a success", WON, lambda a: a.p_success[-1] if a.stripe.won else None),
    )
    for place, (name, colour, value) in enumerate(groups):
        for column, session in enumerate(sessions):
            found = [value(a) for a in judged if a.session == session]
            p = np.clip(np.array([v for v in found if v is not None and np.isfinite(v)], float), EDGE, 1 - EDGE)
            at = column + 0.27 * (place - 1)
            spread = np.linspace(-0.08, 0.08, len(p)) if len(p) > 1 else np.zeros(len(p))
            axes.plot(at + spread, p, ".", color=colour, ms=4, alpha=0.55, label=name if not column else None)
            if len(p):
                axes.plot([at - 0.11, at + 0.11], [np.median(p)] * 2, color=colour, lw=3, solid_capstyle="butt")
    if data.threshold is not None:
        threshold = min(max(data.threshold, EDGE), 1 - EDGE)
        axes.axhline(threshold, color=INK, lw=1.2, ls="--", label=f"threshold {data.threshold:.4g}")
    axes.set_yscale("logit")
    ticks = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set(ylim=(EDGE / 2, 1 - EDGE / 2), xlim=(-0.6, max(len(sessions), 1) - 0.4), ylabel="p(success)")
    axes.set_xticks(range(len(sessions)), [_session_words(s) for s in sessions])
    _tidy(axes)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=9.5)
    return figure


def learning(data: RunData) -> Figure:
    """Learner health: what the critics expect, how the policy acts, how far the networks have moved."""
    from matplotlib.ticker import MaxNLocator

    figure = _figure(10.4, 2.7)
    critics, acts, moved = figure.subplots(1, 3)
    low, median, high = (_series(data, f"health/q_{name}") for name in ("low", "median", "high"))
    if len(low[0]):
        critics.fill_between(low[0], low[1], high[1], color=ALONE, alpha=0.22, lw=0, label="5 to 95 % of states")
        critics.plot(*median, color=ALONE, lw=2, label="median")
    for bound in ("health/q_least", "health/q_most"):
        critics.plot(*_series(data, bound), color=INK, lw=1, ls="--")
    acts.plot(*_series(data, "health/action"), color=ALONE, lw=2, label="mean size of an action")
    acts.plot(*_series(data, "health/clipped"), color=FAILS, lw=2, label="share at the limit")
    moved.plot(*_series(data, "health/actor_change"), color=ALONE, lw=2, label="policy")
    moved.plot(*_series(data, "health/critic_change"), color=FAILS, lw=2, label="critics")
    titles = ("Q: expected success (dashed: possible)", "how the policy acts", "weights, change from the start")
    for axes, title in zip((critics, acts, moved), titles, strict=True):
        axes.set_title(title, fontsize=10.5, color=INK, loc="left")
        axes.set_xlabel("updates, thousands")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}")
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False, fontsize=8.5)
        _tidy(axes)
    acts.set_ylim(0, 1.05)
    moved.set_ylim(0, None)
    return figure


def _series(data: RunData, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return updates and values of a metric, float64 [N] each."""
    rows = [(r["updates"], r[name]) for r in data.rows if r.get(name) is not None and "updates" in r]
    x, y = np.array(rows, float).reshape(-1, 2).T
    return x, y


def _session_words(session: str) -> str:
    """Return a session's name for people: 20261121-203113-ab12 is 11-21 20:31."""
    parts = session.split("-")
    if len(parts) < 2 or len(parts[0]) != 8:
        return session[:12] or "?"
    return f"{parts[0][4:6]}-{parts[0][6:]}\n{parts[1][:2]}:{parts[1][2:4]}"


def _figure(width_in: float, height_in: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _tidy(axes: Axes) -> None:
    axes.grid(color="#E4E4E4", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#BBBBBB")
    axes.tick_params(labelsize=9, color="#BBBBBB", labelcolor=INK)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(fontsize=9.5, color=INK)
