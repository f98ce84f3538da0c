"""Every rule of the diagnosis: a row of numbers that it is for, and one, close to it, that it is not for."""

from __future__ import annotations

import pytest

from hilserl.loop.diagnosis import RULES, diagnose

HEALTHY = {  # in the middle of a session on the emulated arm
    "q_low": 0.12, "q_median": 0.5, "q_high": 0.97, "q_least": 0.0, "q_most": 1.0,
    "entropy": -1.4, "temperature": 0.002, "action": 0.55, "clipped": 0.42, "clipped_name": "dz",
    "constant": "", "outside": "", "drift": 2.1, "drift_name": "joint_position[3]", "without_gradient": "",
    "actor_change": 0.12, "critic_change": 0.3, "began_with": "policy",
    "success_share": 0.8, "human_share": 0.2, "takeover_s": 1.8, "episode_s": 8.0,
}  # fmt: skip
CASES = {  # rule: what sets it off, what does not yet
    "q-high": ({"q_high": 1.3}, {"q_high": 1.05}),
    "q-low": ({"q_low": -0.2}, {"q_low": -0.05}),
    "q-blind": ({"q_high": 0.01}, {"q_high": 0.01, "success_share": 0.1}),
    "random": ({"temperature": 0.2}, {"temperature": 0.01}),
    "rigid": ({"entropy": -12.0}, {"entropy": -6.0}),
    "frozen": ({"action": 0.03}, {"action": 0.1}),
    "clipped": ({"clipped": 0.95}, {"clipped": 0.8}),
    "constant": ({"constant": "joint_velocity[0]"}, {"constant": ""}),
    "outside": ({"outside": "ee_in_base[2]"}, {"outside": ""}),
    "drift": ({"drift": 7.0}, {"drift": 4.0}),
    "no-gradient": ({"without_gradient": "critic.first.weight"}, {"without_gradient": ""}),
    "unlearning": ({"actor_change": 0.7}, {"actor_change": 0.3}),
    "long-takeover": ({"takeover_s": 4.5}, {"takeover_s": 3.5}),
    "driven": ({"human_share": 0.9}, {"human_share": 0.5}),
}


def row(**values: object) -> dict[str, object]:
    return {f"health/{name}": value for name, value in (HEALTHY | values).items()}


def test_every_rule_has_its_own_name_and_a_case_here() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names) and set(names) == set(CASES)


def test_nothing_is_wrong_with_a_healthy_row_or_with_no_row() -> None:
    assert diagnose(row()) == {} and diagnose({}) == {}
    assert diagnose({name: None for name in row()}) == {}  # what JSON makes of NaN


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_speaks_when_it_should_and_only_then(rule: str) -> None:
    sick, well = CASES[rule]
    assert diagnose(row(**well)) == {}
    found = diagnose(row(**sick))
    assert set(found) == {rule}
    words = found[rule]
    assert words[0].islower() and words.endswith(".") and len(words) < 260
    value = next(iter(sick.values()))
    if isinstance(value, str):
        assert value in words


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_q_is_judged_by_what_the_task_can_pay(scale: float) -> None:
    returns = {"q_least": -scale, "q_most": 0.0, "q_low": -0.9 * scale, "success_share": 0.0}
    assert diagnose(row(**returns, q_high=-0.1 * scale)) == {}
    assert set(diagnose(row(**returns, q_high=0.2 * scale))) == {"q-high"}


def test_an_actor_from_scratch_has_nothing_to_unlearn() -> None:
    assert diagnose(row(actor_change=1.4, began_with="scratch")) == {}


def test_without_bounds_q_is_not_judged() -> None:
    assert diagnose(row(q_high=50.0, q_least=None, q_most=None)) == {}
