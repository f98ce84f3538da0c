"""What the numbers of a learner mean, in plain words: a table of rules, each a condition, a sentence and an advice.

Thresholds are set where a good session on the emulated arm (80 operated episodes, 31 of 50 to 47 of 50 untouched) lies
well clear of them; the comments give what was measured there. The failures are those that real sessions had
(real_robot_lessons.md 2.0 and 2.8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

PREFIX = "health/"  # of the numbers in `metrics.jsonl`
GO_BACK = "If it stays so, go back to the best checkpoint: `hilserl train ... --rollback=best`."


class Vitals:
    """One row of numbers; one that is absent is NaN, and no comparison with it holds."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self._row = row

    def __getitem__(self, name: str) -> Any:
        value = self._row.get(PREFIX + name)
        return float("nan") if value is None else value

    def text(self, name: str) -> str:
        """Return a value that is text; "" when it is absent."""
        return str(self._row.get(PREFIX + name) or "")


class Rule(NamedTuple):
    """One diagnosis."""

    name: str
    applies: Callable[[Vitals], bool]
    words: Callable[[Vitals], str]
    advice: str


RULES = (
    Rule(
        "q-high",
        lambda v: v["q_high"] > v["q_most"] + 0.1 * (v["q_most"] - v["q_least"]),  # 0.99 of at most 1
        lambda v: f"the critics promise more than the task can pay (Q {v['q_high']:.2f}, at most {v['q_most']:g})",
        "Help less and let the policy finish by itself. " + GO_BACK,
    ),
    Rule(
        "q-low",
        lambda v: v["q_low"] < v["q_least"] - 0.1 * (v["q_most"] - v["q_least"]),  # 0.15 of at least 0
        lambda v: f"the critics expect less than the task can cost (Q {v['q_low']:.2f}, at least {v['q_least']:g})",
        GO_BACK,
    ),
    Rule(
        "q-blind",
        lambda v: v["q_high"] < v["q_least"] + 0.02 * (v["q_most"] - v["q_least"]) and v["success_share"] > 0.2,
        lambda v: f"episodes succeed, and the critics do not see it coming (Q {v['q_high']:.3f} at most)",
        "Look at successes with `hilserl data show`: their end must be in the picture, and in the reward.",
    ),
    Rule(
        "random",
        lambda v: v["temperature"] > 0.05,  # 0.002
        lambda v: f"the policy is rewarded for being random (temperature {v['temperature']:.3f})",
        "If the arm shakes, start a run with a smaller --learner.sac.temperature_init.",
    ),
    Rule(
        "rigid",
        lambda v: v["entropy"] < -8.0,  # -2.6
        lambda v: f"the policy has stopped exploring (entropy {v['entropy']:.1f})",
        "Show it something else: take over where it fails. " + GO_BACK,
    ),
    Rule(
        "frozen",
        lambda v: v["action"] < 0.05,  # 0.34
        lambda v: f"the policy hardly moves the arm (mean action {v['action']:.0%} of a full step)",
        "Take over and show the motion. " + GO_BACK,
    ),
    Rule(
        "clipped",
        lambda v: v["clipped"] > 0.9,  # 0.58
        lambda v: f"the policy pushes {v.text('clipped_name')} to its limit in {v['clipped']:.0%} of all states",
        "Take over and show smaller motions. " + GO_BACK,
    ),
    Rule(
        "constant",
        lambda v: bool(v.text("constant")),
        lambda v: f"these inputs never change: {v.text('constant')}",
        "Is the sensor read? `hilserl data verify RUN` checks the store.",
    ),
    Rule(
        "outside",
        lambda v: bool(v.text("outside")),
        lambda v: f"these inputs are far outside of the range that the task spec declares: {v.text('outside')}",
        "Check units and calibration; the policy sees them cut off.",
    ),
    Rule(
        "drift",
        lambda v: v["drift"] > 5.0,  # 2.1
        lambda v: f"in the last episode {v.text('drift_name')} was {v['drift']:.0f} standard deviations off its mean",
        "Was the arm calibrated again, moved or mounted differently? Put it back, or start a new run.",
    ),
    Rule(
        "no-gradient",
        lambda v: bool(v.text("without_gradient")),
        lambda v: f"no gradient reaches {v.text('without_gradient')}",
        "These weights do not learn: report it with the run's train.json.",
    ),
    Rule(
        "unlearning",
        lambda v: v["actor_change"] > 0.5 and v["began_with"] == "policy",  # 0.09
        lambda v: f"little is left of the policy that the run began with (weights changed by {v['actor_change']:.0%})",
        "Check it untouched: `hilserl eval`. " + GO_BACK,
    ),
    Rule(
        "long-takeover",
        lambda v: v["takeover_s"] > 0.5 * v["episode_s"],  # 1.8 of 8
        lambda v: f"a take-over lasted {v['takeover_s']:.1f} of at most {v['episode_s']:.0f} seconds",
        "Help briefly and often: guide, let go, let it finish. Long take-overs make the critics overestimate.",
    ),
    Rule(
        "driven",
        lambda v: v["human_share"] > 0.6,  # 0.36
        lambda v: f"a person drove {v['human_share']:.0%} of the last 20 episodes",
        "The policy cannot learn what it does not try: let it begin, help when it is stuck, let go.",
    ),
)


def diagnose(row: Mapping[str, Any]) -> dict[str, str]:
    """Return {rule: sentence and advice} for every rule that applies to a row of `metrics.jsonl`; {}: all is well."""
    vitals = Vitals(row)
    return {r.name: f"{r.words(vitals)}. {r.advice}" for r in RULES if r.applies(vitals)}
