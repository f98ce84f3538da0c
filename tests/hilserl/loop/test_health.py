"""Health: each number on a case made for it; it changes nothing, and a healthy learner raises no alarm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from data.replay.pixel_replay import PixelReplayConfig
from data.schema import Episode, Outcome, Source
from data.spec import StateField, TaskSpec
from hilserl.agents.drqv2 import DrQv2Config
from hilserl.agents.features import ReplayConfig
from hilserl.agents.networks import NetworkConfig, Policy
from hilserl.agents.sac import SacConfig
from hilserl.loop.agents import make_agent
from hilserl.loop.diagnosis import diagnose
from hilserl.loop.health import JUDGED_EPISODES, JUDGED_UPDATES, Health, Inputs, People
from hilserl.loop.learner import LearnerConfig

NETWORK = NetworkConfig(squeeze=4, hidden=8)
CONFIG = LearnerConfig(
    sac=SacConfig(actor_every=2),
    drqv2=DrQv2Config(bf16=False, actor_every=2),
    replay=ReplayConfig(copies=0, batch_size=32, capacity_gib=0.001),
    pixels=PixelReplayConfig(batch_size=6, capacity_gib=0.01, shift_px=1),
)
AGENTS = {  # cameras, config
    "state": (0, CONFIG),
    "features": (1, CONFIG),
    "end to end": (1, replace(CONFIG, sac=SacConfig(actor_every=2, encoder_lr=1e-3))),
    "discrete gripper": (1, replace(CONFIG, sac=SacConfig(actor_every=2, gripper="discrete"))),
    "drqv2": (1, replace(CONFIG, agent="drqv2")),
    "hg-dagger": (1, replace(CONFIG, agent="hg-dagger")),
}


class Patient:
    """An agent with something to learn from, and its health."""

    def __init__(self, made: ModuleType, name: str = "state", **changes: Any) -> None:
        cameras, config = AGENTS[name]
        self.config: LearnerConfig = replace(config, **changes)
        task: TaskSpec = made.task(cameras, size_px=47)
        state = (*task.observation.state, StateField("previous_action", 4, "1", -1.0, 1.0))
        self.task = replace(task, observation=replace(task.observation, state=state))
        torch.manual_seed(3)
        policy = Policy(self.task.observation, len(self.task.action.names), NETWORK)
        self.agent, self.replay = make_agent(self.task, policy, self.config)
        self.health = Health(self.task, self.agent, self.config)
        for seed in range(3):
            episode = made.episode(self.task, seed, 6)
            self.replay.add(episode)
            self.health.add(episode)
        self.actor_updates = 0

    def update(self, count: int, train_actor: bool = True) -> dict[str, Any]:
        info: dict[str, Any] = {}
        for _ in range(count):
            found = self.agent.update(self.replay.sample(), train_actor=train_actor)
            self.actor_updates += "actor_loss" in found or "cloning" in found
            info |= found
        return info

    def look(self, info: dict[str, Any] | None = None) -> dict[str, Any]:
        row = self.health.look(self.replay.sample(), info or {}, self.actor_updates)
        return {name.removeprefix("health/"): value for name, value in row.items()}


@pytest.fixture
def patient(made: ModuleType) -> Callable[..., Patient]:
    return lambda *args, **changes: Patient(made, *args, **changes)


# the whole


@pytest.mark.parametrize("name", AGENTS)
def test_looking_changes_nothing_and_draws_nothing(patient: Callable[..., Patient], name: str) -> None:
    p = patient(name)
    p.update(3)
    batch, before = p.replay.sample(), {k: v.clone() for k, v in p.agent.state_dict().items()}
    rng, drawn = torch.get_rng_state(), p.replay.rng_state()
    first, second = (p.health.look(batch, {}, p.actor_updates) for _ in range(2))
    assert all(torch.equal(v, before[k]) for k, v in p.agent.state_dict().items())
    assert torch.equal(torch.get_rng_state(), rng) and torch.equal(p.replay.rng_state(), drawn)
    same = first.keys() - {"health/without_gradient"}  # the second one sees that nothing has moved since
    assert {k: first[k] for k in same} == {k: second[k] for k in same}


@pytest.mark.parametrize("name", AGENTS)
def test_a_healthy_agent_raises_no_alarm(patient: Callable[..., Patient], name: str) -> None:
    p = patient(name)
    info = p.update(20)
    row = p.look(info)
    assert diagnose({f"health/{k}": v for k, v in row.items()}) == {}
    assert ("entropy" in row) == (name not in ("drqv2", "hg-dagger"))
    assert 0 < row["actor_change"] < 1 and row["without_gradient"] == ""
    if name == "hg-dagger":  # has no critic
        assert row["critic_change"] is None and "q_high" not in row
    else:
        assert row["critic_change"] > 0 and row["q_low"] <= row["q_median"] <= row["q_high"]
        assert "q_most" not in row, "too early to judge"


@pytest.mark.parametrize(
    ("name", "changes", "returns"),
    [
        ("state", {}, (0.0, 1.0)),
        ("drqv2", {}, (0.0, 1.0)),
        ("drqv2", {"simulated": True}, (None, None)),  # rewards of its own
        ("state", {"simulated": True, "sac": SacConfig(target_low=-2.0, target_high=40.0)}, (-2.0, 40.0)),
    ],
)
def test_q_is_judged_by_the_possible_returns_where_they_are_known(
    patient: Callable[..., Patient], name: str, changes: dict[str, Any], returns: tuple[float | None, float | None]
) -> None:
    p = patient(name, **changes)
    p.agent.updates = JUDGED_UPDATES
    row = p.look()
    assert (row.get("q_least"), row.get("q_most")) == returns


# critics and policy


def test_q_is_that_of_what_the_policy_would_do(patient: Callable[..., Patient]) -> None:
    p = patient()
    with torch.no_grad():
        p.agent.critic.value.weight.zero_()
        p.agent.critic.value.bias.fill_(1.4)
    row = p.look()
    assert [round(row[n], 4) for n in ("q_low", "q_median", "q_high")] == [1.4] * 3


@pytest.mark.parametrize(("bias", "name", "share"), [((0, 4, 0, 0), "dy", 1.0), ((0, 0, 0, 4), "dx", 0.0)])
def test_the_most_clipped_action_is_named_and_the_gripper_is_none(
    patient: Callable[..., Patient], bias: tuple[float, ...], name: str, share: float
) -> None:
    p = patient()
    with torch.no_grad():
        p.agent.policy.actor.mean.weight.zero_()
        p.agent.policy.actor.mean.bias.copy_(torch.tensor(bias))
    row = p.look()
    assert (row["clipped"], row["clipped_name"]) == (share, name)
    assert row["action"] == pytest.approx(abs(np.tanh(bias[:3])).mean(), abs=1e-6)
    assert [row[f"clipped_{n}"] for n in ("dx", "dy", "dz")] == [float(n == name) * share for n in ("dx", "dy", "dz")]


# gradients


def test_weights_that_stand_still_are_named(patient: Callable[..., Patient]) -> None:
    p = patient()
    p.agent.critic.norm_first.requires_grad_(False)  # not said to be trainable: not asked about
    p.look()
    p.update(4)
    for group in p.agent.critic_optimizer.param_groups:  # as if the optimiser had never been given this one
        group["params"] = [w for w in group["params"] if w is not p.agent.critic.second.weight]
    p.look()
    p.update(4)
    assert p.look()["without_gradient"] == "critic.second.weight"


def test_an_actor_that_had_no_update_may_stand_still(patient: Callable[..., Patient]) -> None:
    p = patient()
    p.look()
    p.update(4, train_actor=False)
    assert p.look()["without_gradient"] == ""
    p.actor_updates += 1  # said to be updated, and is not
    p.update(4, train_actor=False)
    found = p.look()["without_gradient"].split(", ")
    assert "policy.actor.mean.weight" in found and "log_temperature" in found
    assert not any(name.startswith("critic.") for name in found)


def test_the_change_is_relative_to_the_start(patient: Callable[..., Patient]) -> None:
    p = patient()
    assert p.look()["actor_change"] == p.look()["critic_change"] == 0.0
    with torch.no_grad():
        for weight in p.agent.policy.actor.parameters():
            weight.mul_(3.0)
    row = p.look()
    assert row["actor_change"] == pytest.approx(2.0, rel=1e-5) and row["critic_change"] == 0.0


# inputs


@pytest.fixture
def task(made: ModuleType) -> TaskSpec:
    task: TaskSpec = made.task(cameras=0)
    fields = (StateField("joints", 2, "rad", -3.0, 3.0), StateField("height", 1, "m", 0.0, 0.4))
    return replace(task, observation=replace(task.observation, state=fields))


def with_state(made: ModuleType, task: TaskSpec, seed: int, **columns: float) -> Episode:
    """An episode that wanders around in range; a column given by name is as given, from -1 to 1 in its range."""
    rng, steps = np.random.default_rng(seed), 10
    x = rng.uniform(-0.5, 0.5, (steps + 1, 3))
    for name, value in columns.items():
        x[:, ("joint0", "joint1", "height").index(name)] = value
    state = x * (3.0, 3.0, 0.2) + (0.0, 0.0, 0.2)
    return replace(made.episode(task, seed, steps), state=state.astype(np.float32))


def inputs(made: ModuleType, task: TaskSpec, episodes: int = JUDGED_EPISODES + 1, **columns: float) -> Inputs:
    found = Inputs(task)
    for seed in range(episodes):
        found.add(with_state(made, task, seed, **columns))
    return found


def test_inputs_that_vary_in_range_are_well(made: ModuleType, task: TaskSpec) -> None:
    row = inputs(made, task).row()
    assert row["constant"] == row["outside"] == ""
    assert row["drift"] < 2


def test_a_constant_input_is_named_once_there_is_enough_to_tell(made: ModuleType, task: TaskSpec) -> None:
    assert inputs(made, task, JUDGED_EPISODES - 1, joint1=0.25).row()["constant"] == ""
    assert inputs(made, task, JUDGED_EPISODES, joint1=0.25).row()["constant"] == "joints[1]"


def test_an_input_that_the_networks_cut_off_is_named(made: ModuleType, task: TaskSpec) -> None:
    found = inputs(made, task)
    found.add(with_state(made, task, 99, height=2.5))  # out of range, and still seen
    assert found.row()["outside"] == ""
    found.add(with_state(made, task, 100, height=200.0))  # millimetres
    assert found.row()["outside"] == "height[0]"


def test_an_input_that_jumps_is_named_and_forgotten_when_it_is_back(made: ModuleType, task: TaskSpec) -> None:
    found = inputs(made, task)
    found.add(with_state(made, task, 50, joint0=2.6))  # half a turn, as after another calibration
    row = found.row()
    assert row["drift"] > 5 and row["drift_name"] == "joints[0]"
    found.add(with_state(made, task, 51))
    assert found.row()["drift"] < 2


def test_a_locked_joint_may_rest_at_another_encoder_count(made: ModuleType, task: TaskSpec) -> None:
    found = inputs(made, task, joint0=0.3)
    found.add(with_state(made, task, 50, joint0=0.3 + 2 * 0.0015 / 3.0))
    assert found.row()["drift"] < 2


# people


def operated(made: ModuleType, task: TaskSpec, sources: str, won: bool = True, **meta: Any) -> Episode:
    """An episode of one step per letter: p for the policy, h for a person, - for nobody."""
    outcome = Outcome.SUCCESS if won else Outcome.TIMEOUT
    episode = made.episode(task, 0, len(sources), **({"kind": "online", "outcome": outcome} | meta))
    letters = {"p": Source.POLICY, "h": Source.HUMAN, "-": Source.HOLD}
    return replace(episode, source=np.array([letters[s] for s in sources], np.uint8))


def test_the_longest_takeover_and_the_shares_are_those_of_the_last_twenty(made: ModuleType, task: TaskSpec) -> None:
    people = People(task)
    assert people.row() == {}
    people.add(operated(made, task, "h" * 50))
    for i in range(20):
        people.add(operated(made, task, "pphhhphhpp", won=i < 15))
    for other in ("demo", "check", "baseline"):
        people.add(operated(made, task, "h" * 50, kind=other))
    people.add(operated(made, task, "h" * 50, outcome=Outcome.ABORTED))
    assert people.row() == {"success_share": 0.75, "human_share": 0.5, "takeover_s": 0.3, "episode_s": 8.0}


def test_a_pause_in_a_takeover_ends_it(made: ModuleType, task: TaskSpec) -> None:
    people = People(task)
    people.add(operated(made, task, "hhh-hhhhp"))
    assert people.row()["takeover_s"] == 0.4
