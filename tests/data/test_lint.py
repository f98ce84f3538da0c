"""Lint is silent on a good recording and finds each thing that goes wrong with one."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.columns import JUDGED_EPISODES, ColumnRange, ConstantField
from data.lint import Finding, UnfitEpisode, lint, require_fit
from data.schema import Episode, EpisodeMeta, Outcome, Source
from data.spec import CameraSpec, ObservationSpec, StateField, TaskSpec

_made = runpy.run_path(str(Path(__file__).parents[1] / "data" / "made_episodes.py"))
STEPS = 40
SPEC = TaskSpec(
    name="test",
    observation=ObservationSpec(
        cameras=(CameraSpec("wrist", (0, 0, 1, 1), 16), CameraSpec("front", (0, 0, 1, 1), 16)),
        policy_cameras=("wrist",),
        state=(
            StateField("joint_position", 2, "rad", -2.0, 2.0),
            StateField("ee_in_base", 3, "m", -0.35, 0.35),
            StateField("command_lead", 3, "m", -0.04, 0.04),
        ),
    ),
)
EE, LEAD = slice(2, 5), slice(5, 8)


def recording(seed: int = 0, outcome: Outcome = Outcome.SUCCESS, **changes: Any) -> Episode:
    """An arm that follows its commands with lag and sensor noise; a person drives steps 10 to 19."""
    rng = np.random.default_rng(seed)
    drift = np.sign(rng.normal(size=3))
    executed = np.clip(rng.normal(0.4 * drift, 0.4, (STEPS, 3)), -1, 1)
    executed = np.hstack((executed, np.where(np.arange(STEPS) < 30, 1.0, -1.0)[:, None])).astype(np.float32)
    command = np.cumsum(np.vstack(([0.2, 0, 0.1], executed[:, :3].astype(float) * SPEC.action.step_m)), 0)
    measured = command.copy()
    for t in range(STEPS):
        measured[t + 1] = measured[t] + 0.6 * (command[t + 1] - measured[t]) + rng.normal(0, 2e-4, 3)
    joints = np.cumsum(rng.normal(0, 0.03, (STEPS + 1, 2)), 0)
    source = np.full(STEPS, Source.POLICY, np.uint8)
    source[10:20] = Source.HUMAN
    fields: dict[str, Any] = {
        "images": {c: rng.integers(60, 200, (STEPS + 1, 16, 16, 3), np.uint8) for c in ("wrist", "front")},
        "state": np.hstack((joints, measured, command - measured)).astype(np.float32),
        "stamp_s": np.cumsum(rng.normal(0.1, 0.01, STEPS + 1)),
        "proposed": executed,
        "executed": executed,
        "source": source,
        "meta": EpisodeMeta(outcome, "online", SPEC.fingerprint, uuid=f"e{seed}"),
    }
    return _made["blank"](STEPS, outcome, **(fields | changes))


def changed(array: np.ndarray, rows: Any, value: Any) -> np.ndarray:
    copy = array.copy()
    copy[rows] = value
    return copy


def rules(episode: Episode) -> set[tuple[str, str]]:
    return {(f.severity, f.rule) for f in lint(episode, SPEC)}


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_good_recording_is_not_complained_about(outcome: Outcome) -> None:
    for seed in range(40):
        assert lint(recording(seed, outcome), SPEC) == []
    assert require_fit(recording(0, outcome), SPEC) == []


def _only(t: int) -> np.ndarray:
    return np.arange(STEPS) == t


ERRORS: dict[str, tuple[str, Callable[[Episode], Episode]]] = {
    "NaN in the state": ("not-finite", lambda e: replace(e, state=changed(e.state, (7, 1), np.nan))),
    "infinite action": ("not-finite", lambda e: replace(e, executed=changed(e.executed, (7, 1), np.inf))),
    "action in degrees": ("action-range", lambda e: replace(e, executed=e.executed * 57)),
    "reward in the middle": ("reward", lambda e: replace(e, reward=changed(e.reward, 20, 1))),
    "reward every step": ("reward", lambda e: replace(e, reward=np.ones_like(e.reward))),
    "no reward for a success": ("reward", lambda e: replace(e, reward=np.zeros_like(e.reward))),
    "reward of a failure": ("reward", lambda e: replace(e, meta=replace(e.meta, outcome=Outcome.FAILURE))),
    "end in the middle": ("end", lambda e: replace(e, truncated=_only(5))),
    "no end": ("end", lambda e: replace(e, terminated=np.zeros(STEPS, bool))),
    "both ends": ("end", lambda e: replace(e, truncated=_only(STEPS - 1))),
    "time-out that terminates": (
        "end",
        lambda e: replace(e, meta=replace(e.meta, outcome=Outcome.TIMEOUT), reward=0 * e.reward),
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_training_refuses(name: str) -> None:
    rule, damage = ERRORS[name]
    episode = damage(recording())
    assert ("error", rule) in rules(episode)
    with pytest.raises(UnfitEpisode, match=r"(?s)episode e0 .*step.*hilserl data exclude RUN --episode=e0"):
        require_fit(episode, SPEC)


def _frozen(e: Episode) -> Episode:
    return replace(e, images={**e.images, "front": changed(e.images["front"], slice(12, 22), e.images["front"][12])})


def _every_other(e: Episode) -> Episode:
    return replace(e, images={**e.images, "wrist": e.images["wrist"][np.arange(STEPS + 1) // 2 * 2]})


def _blank(e: Episode, level: int) -> Episode:
    return replace(e, images={**e.images, "wrist": changed(e.images["wrist"], slice(3, 9), level)})


def _arm(e: Episode, ee: np.ndarray) -> Episode:
    """The same commands and another measured motion; the commanded position is consistent."""
    command = e.state[:, EE] + e.state[:, LEAD]
    return replace(e, state=np.hstack((e.state[:, :2], ee, command - ee)).astype(np.float32))


def _mirrored(e: Episode) -> Episode:
    ee = e.state[:, EE]
    return _arm(e, ee[0] + (ee - ee[0]) * [1, -1, 1])


WARNINGS: dict[str, tuple[str, int, int, Callable[[Episode], Episode]]] = {
    "gap": ("time-gap", 15, 15, lambda e: replace(e, stamp_s=e.stamp_s + (np.arange(STEPS + 1) > 15) * 1.5)),
    "clock runs back": ("time", 15, 15, lambda e: replace(e, stamp_s=e.stamp_s - (np.arange(STEPS + 1) > 15) * 1.5)),
    "half the rate": ("rate", 0, STEPS - 1, lambda e: replace(e, stamp_s=e.stamp_s * 2)),
    "take-over of zero actions": (
        "zero-action", 10, 19, lambda e: replace(e, executed=changed(e.executed, (slice(10, 20), slice(0, 3)), 0)),
    ),
    "policy does nothing": (
        "zero-action", 0, 29,
        lambda e: replace(
            e, executed=changed(e.executed, (slice(0, 30), slice(0, 3)), 0), source=np.zeros(STEPS, np.uint8)
        ),
    ),
    "saturated": ("saturated", 0, STEPS - 1, lambda e: replace(e, executed=changed(e.executed, (slice(None), 1), 1))),
    "action of one step off": ("action-record", 5, 5, lambda e: replace(e, executed=changed(e.executed, (5, 0), -1))),
    "action scaled": ("action-record", 0, STEPS - 1, lambda e: replace(e, executed=e.executed * np.float32(0.1))),
    "arm does not move": ("motion", 0, STEPS - 1, lambda e: _arm(e, np.repeat(e.state[:1, EE], STEPS + 1, 0))),
    "axis mirrored": ("motion", 0, STEPS - 1, _mirrored),
    "frozen camera": ("frozen", 12, 21, _frozen),
    "slow camera": ("duplicates", 0, STEPS - 2, _every_other),
    "black": ("black", 3, 8, lambda e: _blank(e, 0)),
    "lens cap of one grey": ("black", 3, 8, lambda e: _blank(e, 90)),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNINGS)
def test_what_a_person_should_look_at(name: str) -> None:
    rule, first, last, damage = WARNINGS[name]
    for seed in range(5):
        found: list[Finding] = [f for f in lint(damage(recording(seed)), SPEC) if f.rule == rule]
        assert found, f"seed {seed}"
        assert {f.severity for f in found} == {"warning"}
        assert (min(f.first for f in found), max(f.last for f in found)) == pytest.approx((first, last), abs=2)


def test_an_arm_that_moves_without_a_command() -> None:
    episode = recording()
    still = replace(episode, executed=changed(episode.executed, (slice(None), slice(0, 3)), 0))
    assert {r for _, r in rules(still)} >= {"action-record", "motion"}


def test_a_camera_on_a_resting_arm_is_not_frozen() -> None:
    """A noise-free picture of a still scene is the same picture."""
    episode = recording()
    rest = slice(10, 25)
    state = changed(episode.state, rest, episode.state[10])
    images = {c: changed(i, rest, i[10]) for c, i in episode.images.items()}
    assert not {"frozen", "duplicates"} & {r for _, r in rules(replace(episode, state=state, images=images))}


def test_a_step_that_waits_is_not_a_take_over_without_motion() -> None:
    executed = changed(recording().executed, (slice(10, 13), slice(0, 3)), 0)
    assert ("warning", "zero-action") not in rules(recording(executed=executed))


def test_rules_go_by_the_spec_and_not_by_position() -> None:
    """Without a position in metres there is nothing to compare an action with."""
    fields = tuple(replace(f, name=f"other_{i}") for i, f in enumerate(SPEC.observation.state))
    other = replace(SPEC, observation=replace(SPEC.observation, state=fields))
    assert lint(recording(executed=recording(1).executed), other) == []
    assert ("warning", "action-record") in rules(recording(executed=recording(1).executed))


@pytest.mark.parametrize(("still", "dead"), [((1,), False), ((0, 1), True)])
def test_a_joint_may_be_held_still_but_a_field_that_never_changes_is_an_error(
    still: tuple[int, ...], dead: bool
) -> None:
    columns = ColumnRange(SPEC.observation)
    for seed in range(JUDGED_EPISODES):
        assert columns.constant() == []
        columns.require_varying()
        episode = recording(seed)
        columns.add(replace(episode, state=changed(episode.state, (slice(None), list(still)), 1.57)))
    assert columns.constant() == [
        f"state joint_position[{i}] is 1.57 rad in all of {JUDGED_EPISODES} episodes" for i in still
    ]
    if dead:
        with pytest.raises(ConstantField, match=r"joint_position never changed(?s:.*)task spec"):
            columns.require_varying()
    columns.add(recording(99))
    columns.require_varying()
