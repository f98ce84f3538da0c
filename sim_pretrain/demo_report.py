"""What the demo shows at the end: the table of before and after, and the plot over episodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.schema import Outcome
from data.store.commit_log import Commit
from data.store.episode_store import EpisodeStore
from hilserl.metrics import trailing, wilson
from hilserl.runs import write_json
from hilserl.ui.attempts import read_truth


def write_report(run: Path, sizes: dict[str, int], minutes: dict[str, float]) -> str:
    """Write report.json and progress.png into the run; return the table as text."""
    store = EpisodeStore.reader(run / "store")
    truth = read_truth(run / "rig" / "truth.jsonl")
    rows = [
        _row("before: simulation policy", store.commits("eval-before"), truth, minutes["before"]),
        _row("training: untouched baseline", store.commits("baseline"), truth, 0.0),
        _row("training: operator at hand", store.commits("online"), truth, minutes["training"]),
        _row("after: fine-tuned policy", store.commits("eval-after"), truth, minutes["after"]),
    ]
    trained = [c for kind in ("baseline", "online", "eval-after") for c in _counted(store.commits(kind))]
    judged = [c for c in trained if c.uuid in truth]  # a rig that was killed has no verdict on its last episode
    agree = sum((c.outcome == Outcome.SUCCESS) == truth[c.uuid] for c in judged)
    false_success = sum(c.outcome == Outcome.SUCCESS and not truth[c.uuid] for c in judged)
    report = {
        "rows": rows, "minutes": minutes, "sizes": sizes,
        "classifier": {"episodes": len(judged), "agree": agree, "false_successes": false_success},
    }  # fmt: skip
    write_json(run / "report.json", report)
    plot(run / "progress.png", store, truth)
    head = f"{'':32}{'n':>5}{'success':>9}{'95 % interval':>16}{'steps':>7}{'take-overs':>12}{'minutes':>9}"
    lines = [
        f"{r['name']:32}{r['n']:>5}{r['success']:>9.0%}{r['low']:>9.0%} to {r['high']:<4.0%}{r['steps']:>6.1f}"
        f"{r['intervened']:>12}{r['minutes']:>9.1f}"
        for r in rows
    ]
    return "\n".join(
        [
            head,
            *lines,
            f"Success is the simulator's truth. The classifier agreed with it in {agree} of {len(judged)} episodes "
            f"({false_success} false successes).",
            f"All of it took {sum(minutes.values()):.1f} minutes. Plot: {run / 'progress.png'}",
        ]
    )


def _counted(commits: list[Commit]) -> list[Commit]:
    return [c for c in commits if c.outcome != Outcome.ABORTED]


def _row(name: str, commits: list[Commit], truth: dict[str, bool], minutes: float) -> dict[str, float | int | str]:
    counted = [c for c in _counted(commits) if c.uuid in truth]
    wins = sum(truth[c.uuid] for c in counted)
    low, high = wilson(wins, len(counted))
    return {
        "name": name, "n": len(counted), "wins": wins, "success": wins / max(len(counted), 1), "low": low,
        "high": high, "steps": float(np.mean([c.steps for c in counted])) if counted else 0.0,
        "intervened": sum(c.human_steps > 0 for c in counted), "minutes": minutes,
    }  # fmt: skip


def plot(path: Path, store: EpisodeStore, truth: dict[str, bool], window: int = 10) -> None:
    """Draw success and intervention over the training episodes, and the evaluations at both ends."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    training = _counted(store.commits("baseline")) + _counted(store.commits("online"))
    baseline = len(_counted(store.commits("baseline")))
    figure, axes = plt.subplots(figsize=(9, 4.2), layout="constrained")
    if training:
        wins = np.array([truth.get(c.uuid, False) for c in training], float)
        human = np.array([c.human_steps / c.steps for c in training])
        untouched = wins * (human == 0)
        x = np.arange(1, len(training) + 1)
        axes.axvspan(0.5, baseline + 0.5, color="0.93", lw=0)
        axes.text(baseline / 2 + 0.5, 1.045, "frozen policy, untouched", ha="center", fontsize=9, color="0.35")
        axes.plot(x, trailing(wins, window), color="#0072B2", lw=2, label="success")
        axes.plot(x, trailing(untouched, window), color="#0072B2", lw=1.5, ls=":", label="success without any help")
        axes.plot(x, trailing(human, window), color="#D55E00", lw=2, label="steps driven by the operator")
        axes.scatter(x[wins > 0], np.full(int(wins.sum()), -0.04), marker="|", color="#0072B2", s=30)
    for kind, place, colour in (
        ("eval-before", -7.0, "0.45"),
        ("eval-after", len(training) + 3.0, "#009E73"),
    ):
        counted = _counted(store.commits(kind))
        won = sum(truth.get(c.uuid, False) for c in counted)
        low, high = wilson(won, len(counted))
        rate = won / max(len(counted), 1)
        axes.errorbar(place, rate, [[rate - low], [high - rate]], fmt="o", color=colour, capsize=4, ms=7)
        axes.annotate(
            f"{kind.removeprefix('eval-')}\n{won}/{len(counted)}", (place, rate), (9, -4), textcoords="offset points",
            fontsize=9, color=colour, va="center",
        )  # fmt: skip
    axes.set(xlabel="training episode", ylabel=f"mean of the last {window} episodes", ylim=(-0.07, 1.1))
    axes.set_xlim(-9, len(training) + 12)
    axes.grid(alpha=0.25)
    if training:
        figure.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
