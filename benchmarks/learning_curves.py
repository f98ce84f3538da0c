"""What the learning study found: its table, printed, and its plots, drawn into docs.

uv run python benchmarks/learning_curves.py [RESULTS]
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from learning_study import ARMS, CHECKS, EVALUATIONS, OPERATORS, RESULTS, SHIFTS, read

from hilserl.metrics import wilson
from sim_pretrain.task.tasks import find_task

DOCS = Path(__file__).parent.parent / "docs"
STEPS_A_MINUTE = 60 * find_task("lift").spec.rate_hz
OVER = {"episodes": "operated episodes", "arm_minutes": "minutes of the arm, the 20 untouched episodes included"}


def main() -> None:
    """Print the table and draw the plots."""
    rows = read(Path(sys.argv[1]) if sys.argv[1:] else RESULTS)
    print(table(rows))
    for over, name in (("episodes", "learning.png"), ("arm_minutes", "learning_minutes.png")):
        plot(rows, over, DOCS / name)


def settings(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the pairs of shift and operator that were run."""
    return [(s, o) for s in SHIFTS for o in OPERATORS if any((r["shift"], r["operator"]) == (s, o) for r in rows)]


def pooled(rows: list[dict[str, Any]], name: str, setting: tuple[str, str]) -> list[dict[str, float]]:
    """Return the curve of an arm with the seeds' evaluations added up: success and its interval."""
    curves = [r["curve"] for r in rows if (r["arm"], r["shift"], r["operator"]) == (name, *setting)]
    out = []
    for points in zip(*curves, strict=False):
        wins, n = sum(p["wins"] for p in points), sum(p["n"] for p in points)
        low, high = wilson(wins, n)
        mean = {k: float(np.nanmean([p[k] for p in points])) for k in ("robot_steps", "human_steps", "cpu_minutes")}
        mean["arm_minutes"] = mean["robot_steps"] / STEPS_A_MINUTE
        out.append({"episodes": points[0]["episodes"], "wins": wins, "n": n, "low": low, "high": high, **mean})
    return out


def table(rows: list[dict[str, Any]]) -> str:
    """Return success over operated episodes as Markdown, seeds added up."""
    lines = []
    for shift, operator in settings(rows):
        stops = (0, *CHECKS[shift])
        head = " | ".join(map(str, stops))
        lines += [f"| {shift} shift, operator: {operator} | seeds | {head} | steps by a person | arm min | CPU min |"]
        lines += ["|---" * (len(stops) + 5) + "|"]
        for name in ARMS:
            if curve := pooled(rows, name, (shift, operator)):
                cells = [f"{p['wins'] / p['n']:.0%} ({p['low']:.0%} to {p['high']:.0%})" for p in curve]
                last = curve[-1]
                share = last["human_steps"] / max(last["robot_steps"], 1)
                seeds = f"{curve[0]['n'] / EVALUATIONS:.0f}"
                cells += [f"{share:.0%}", f"{last['arm_minutes']:.1f}", f"{last['cpu_minutes']:.1f}"]
                lines += [f"| {name} | {seeds} | {' | '.join(cells)} |"]
        lines.append("")
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], over: str, path: Path) -> None:
    """Draw success over one of OVER, one panel a setting; the band is the default recipe's interval."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = settings(rows)
    across = min(3, len(panels))
    down = math.ceil(len(panels) / across)
    size = (4.6 * across, 4.2 * down)
    figure, axes = plt.subplots(down, across, figsize=size, layout="constrained", squeeze=False)
    for empty in axes.flat[len(panels) :]:
        empty.axis("off")
    for panel, setting in zip(axes.flat, panels, strict=False):
        for number, name in enumerate(ARMS):
            if curve := pooled(rows, name, setting):
                x, rate = [p[over] for p in curve], [p["wins"] / p["n"] for p in curve]
                style = {"color": f"C{number % 10}", "ls": "-" if number < 10 else "--", "lw": 1.3 if number else 2.6}
                panel.plot(x, rate, label=name, **style)
                if not number:
                    panel.fill_between(x, [p["low"] for p in curve], [p["high"] for p in curve], alpha=0.2, lw=0)
        panel.set(title=f"{setting[0]} shift, operator: {setting[1]}", xlabel=OVER[over], ylim=(0, 1.02))
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(fontsize=7, frameon=False, loc="lower right")
    for first in axes[:, 0]:
        first.set_ylabel("untouched success")
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
