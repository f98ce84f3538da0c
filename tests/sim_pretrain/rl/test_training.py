"""Reinforcement learning in the simulation: that a run is one run, however often it is stopped or killed."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import draccus
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UserError
from data.schema import Episode, Source
from data.spec import SpecMismatch
from data.store.commit_log import Commit
from data.store.episode_store import EpisodeStore
from data.store.reader import open_reader
from hilserl.agents.policy_file import load_policy
from hilserl.agents.sac import Sac
from hilserl.loop.finite import NotFinite
from hilserl.metrics import read_metrics
from hilserl.runs import RunDirectory, load_checkpoint, numbered
from hilserl.tasks import lift_task
from sim_pretrain.episodes.evaluation import EpisodeResult, Evaluation
from sim_pretrain.episodes.rollout import Phase, rollout
from sim_pretrain.rl import config as rl_config
from sim_pretrain.rl import training as rl
from sim_pretrain.rl.config import RLConfig, StateNetworkConfig, learner_of
from sim_pretrain.rl.report import Evaluated, Result, kept_steps
from sim_pretrain.rl.training import RLRun, train
from sim_pretrain.rl.training_episodes import episode_seed
from sim_pretrain.task.env import EnvConfig, oracle_spec
from sim_pretrain.task.gpu_vector import make_gpu_vector
from sim_pretrain.task.tasks import TASKS

LIMIT = 40  # steps of an episode here; the expert needs about 25
TINY = RLConfig(
    steps=200,
    demos=2,
    batch_size=8,
    evaluate_every=100,
    evaluation_episodes=2,
    checkpoint_every=40,
    keep_checkpoints=3,
    log_every=50,
    network=StateNetworkConfig(hidden=8, squeeze=4),
)


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """One thread, and short episodes of lifting."""
    before, task = torch.get_num_threads(), TASKS["lift"]
    torch.set_num_threads(1)
    short = replace(task, spec=replace(task.spec, time_limit_steps=LIMIT))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "lift", short)
        yield
    torch.set_num_threads(before)


class Listener:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.said: list[str] = []
        self.moved: list[tuple[int, int]] = []

    def progress(self, steps: int, total: int) -> None:
        self.moved.append((steps, total))

    def row(self, steps: int, values: Any) -> None:
        self.rows.append((steps, dict(values)))

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, quick: None) -> tuple[RunDirectory, Result, Listener]:
    """A run of 200 steps that nothing disturbs."""
    run, listener = RunDirectory(tmp_path_factory.mktemp("rl") / "straight"), Listener()
    return run, train(run, TINY, reporters=[listener], info={"provenance": "a test"}), listener


def assert_same_run(found: RunDirectory, expected: RunDirectory) -> None:
    """Equal in every tensor of the newest checkpoint, in its counters, and in what was learned from."""
    (tensors, info), (wanted, facts) = load_checkpoint(found.path), load_checkpoint(expected.path)
    assert tensors.keys() == wanted.keys()
    assert [k for k in tensors if not torch.equal(tensors[k], wanted[k])] == []
    for key in ("updates", "owed", "last_commit", "operated_episodes", "steps", "spec", "network"):
        assert info[key] == facts[key], key
    for key in ("best", "recent"):
        assert info["rl"][key] == facts["rl"][key], key
    timeless = [[{**e, "minutes": 0} for e in i["rl"]["history"]] for i in (info, facts)]
    assert timeless[0] == timeless[1]
    here, there = open_reader(found.path), open_reader(expected.path)
    commits = list(zip(here.commits(), there.commits(), strict=True))
    for a, b in commits:
        assert (a.index, a.kind, a.steps, a.outcome, a.notes) == (b.index, b.kind, b.steps, b.outcome, b.notes)
        one, other = here.read(a), there.read(b)
        for name, array in vars(one).items():
            if isinstance(array, np.ndarray):
                assert array.tobytes() == getattr(other, name).tobytes(), (a.index, name)


def until(run: RLRun, reached: Callable[[RLRun], bool]) -> None:
    while not run.finished and not reached(run):
        run.step()


# one run


def test_a_run_is_made_of_demonstrations_and_whole_episodes(straight: tuple[RunDirectory, Result, Listener]) -> None:
    run, result, _ = straight
    reader = open_reader(run.path)
    commits = reader.commits()
    assert [c.kind for c in commits] == ["demo"] * 2 + ["online"] * (len(commits) - 2)
    assert result.finished and 200 <= result.steps < 200 + LIMIT
    assert result.steps == sum(c.steps for c in commits if c.kind == "online")
    for commit in commits:
        episode = reader.read(commit)
        demo = commit.kind == "demo"
        assert set(episode.source) == {Source.EXPERT if demo else Source.POLICY}
        assert set(episode.policy_version) == {-1} if demo else len(set(episode.policy_version)) == 1
        assert commit.notes["phase"] == "success" or not demo
        assert commit.notes["return"] == episode.reward.sum()
    _, info = load_checkpoint(run.path)
    assert info["updates"] == result.steps  # utd 1: as many as transitions


def test_evaluations_go_by_transitions_and_always_start_the_same(
    straight: tuple[RunDirectory, Result, Listener],
) -> None:
    _, result, listener = straight
    assert [e.step // 100 for e in result.history] == [1, 2]
    assert result.history[-1].step == result.steps
    assert {e.n for e in result.history} == {2}
    assert result.best is not None and [e.seed for e in result.best.episodes] == [1_000_000, 1_000_001]
    logged = [s for s, values in listener.rows if "time/total_timesteps" in values]
    assert [s // 50 for s in logged] == sorted({s // 50 for s in logged}) and logged[0] >= 50
    assert listener.moved[-1] == (result.steps, 200)
    assert len([t for t in listener.said if "of 2 successes" in t]) == 2


def test_the_numbers_are_named_as_people_know_them(straight: tuple[RunDirectory, Result, Listener]) -> None:
    run, _, listener = straight
    names = {name for _, values in listener.rows for name in values}
    assert names >= {
        "rollout/success_rate", "rollout/ep_len_mean", "rollout/ep_rew_mean", "time/fps", "time/total_timesteps",
        "train/critic_loss", "train/actor_loss", "train/n_updates", "eval/success_rate",
    }  # fmt: skip
    rows = read_metrics(run.metrics_path)
    assert len(rows) == len(listener.rows)
    assert [row["steps"] for row in rows] == [steps for steps, _ in listener.rows]


def test_the_best_policy_lies_beside_the_run_and_loads(straight: tuple[RunDirectory, Result, Listener]) -> None:
    run, result, _ = straight
    assert result.policy == run.path / "policy" and result.best is not None
    assert result.text().splitlines()[0].startswith("finished after") and str(result.policy) in result.text()
    spec = oracle_spec(TASKS["lift"].spec)
    loaded = load_policy(result.policy, spec)
    assert loaded.info["steps"] == result.best.step and loaded.info["provenance"] == "a test"
    assert len(loaded.golden) == 32 and loaded.critic
    with pytest.raises(SpecMismatch, match="privileged_cube_m"):  # the arm has no such state
        load_policy(result.policy, TASKS["lift"].spec)
    best = load_checkpoint(run.path, "best")[1]
    assert best["steps"] == result.best.step


# stopped, killed, resumed


@pytest.mark.parametrize("cut", [1, 90, 100, 130])
def test_stopped_and_resumed_is_the_same_as_straight_through(
    straight: tuple[RunDirectory, Result, Listener], tmp_path: Path, cut: int
) -> None:
    """Stopped in the middle of demonstrations, of updates, and beside an evaluation."""
    run = RunDirectory(tmp_path / "run")
    with RLRun(run, TINY) as first:
        until(first, lambda r: r.steps + r.learner.episodes >= cut)
        first.save()
    torch.rand(3)  # whatever else the process does
    result = train(run, TINY)
    assert result.finished
    assert_same_run(run, straight[0])


def test_a_wish_to_stop_leaves_a_checkpoint_and_says_so(tmp_path: Path) -> None:
    run, asked = RunDirectory(tmp_path / "run"), []
    result = train(run, TINY, lambda: bool(asked.append(1)) or len(asked) > 5)
    assert not result.finished and result.policy is None
    assert "stopped after" in result.text() and result.text("hilserl x --resume").endswith("Go on: hilserl x --resume")
    assert [f.name for f in numbered(run.checkpoints)] == ["000001"]


@pytest.mark.parametrize("killed_at", [20, 170])
def test_killed_it_loses_nothing_that_was_committed(
    straight: tuple[RunDirectory, Result, Listener], tmp_path: Path, killed_at: int
) -> None:
    """Before the first checkpoint, and long after the newest one; twice."""
    config = replace(TINY, checkpoint_every=10_000)
    run = RunDirectory(tmp_path / "run")
    for _ in range(2):
        with RLRun(run, config) as life:
            until(life, lambda r: r.steps >= killed_at and not r.learner.debt)
            there = len(open_reader(run.path).commits())
    with RLRun(run, config) as life:
        assert life.steps < killed_at
        until(life, lambda r: r.steps >= killed_at)
        assert len(open_reader(run.path).commits()) == there  # taken up again, not made again
    train(run, config)
    assert_same_run(run, straight[0])


def test_a_longer_run_goes_on_where_the_shorter_one_ended(
    straight: tuple[RunDirectory, Result, Listener], tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "run")
    short = train(run, replace(TINY, steps=100))
    assert short.finished and short.steps < 200
    longer = train(run, TINY)
    assert longer.finished and longer.steps == straight[1].steps
    assert_same_run(run, straight[0])


PROCESS = """
import dataclasses, json, sys, draccus, torch
from pathlib import Path
from hilserl.runs import RunDirectory
from sim_pretrain.rl.console import stop_on_signals
from sim_pretrain.rl.training import train
from sim_pretrain.rl.config import RLConfig
from sim_pretrain.task.tasks import TASKS
class Told:
    def progress(self, steps, total): print("moved", flush=True)
    def row(self, steps, values): pass
    def say(self, text): pass
folder, config, limit = sys.argv[1:]
torch.set_num_threads(1)
lift = TASKS["lift"]
TASKS["lift"] = dataclasses.replace(lift, spec=dataclasses.replace(lift.spec, time_limit_steps=int(limit)))
config = draccus.decode(RLConfig, json.loads(config))
with stop_on_signals() as should_stop:
    result = train(RunDirectory(Path(folder)), config, should_stop, reporters=[Told()])
print("finished", result.finished, result.steps)
"""


@pytest.mark.parametrize(("number", "episodes"), [(signal.SIGINT, 4), (signal.SIGKILL, 6)])
def test_a_process_that_is_told_to_stop_or_killed_leaves_a_run_that_goes_on(
    straight: tuple[RunDirectory, Result, Listener], tmp_path: Path, number: signal.Signals, episodes: int
) -> None:
    run = RunDirectory(tmp_path / "run")
    command = [sys.executable, "-c", PROCESS, str(run.path), json.dumps(draccus.encode(TINY)), str(LIMIT)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(episodes):
        assert process.stdout.readline() == "moved\n"
    os.kill(process.pid, number)
    rest, _ = process.communicate(timeout=60)
    if number == signal.SIGINT:
        _, info = load_checkpoint(run.path)
        assert process.returncode == 0
        assert rest.splitlines()[-1] == f"finished False {info['steps']}" and info["steps"] > 0
    else:
        assert process.returncode == -number
    assert len(open_reader(run.path).commits()) >= episodes
    train(run, TINY)
    assert_same_run(run, straight[0])


# many worlds at once


def side_by_side(config: EnvConfig, count: int) -> SyncVectorEnv:
    """Gymnasium's own vector, in place of the one that needs an extra and a GPU and has its interface."""
    return SyncVectorEnv([config.make] * count, autoreset_mode=AutoresetMode.SAME_STEP)


ROUNDS = replace(TINY, steps=120, backend="gpu", worlds=2, checkpoint_every=10_000)


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory, quick: None) -> Iterator[RunDirectory]:
    """A run that plays two episodes at once, twice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rl, "make_gpu_vector", side_by_side)
        run = RunDirectory(tmp_path_factory.mktemp("rl") / "rounds")
        assert train(run, ROUNDS).finished
        yield run


def test_many_worlds_play_the_episodes_of_single_ones(rounds: RunDirectory) -> None:
    assert_played_as_alone(rounds, 4, atol=1e-6)


@pytest.mark.skipif(not find_spec("mujoco_warp"), reason="mujoco-warp is not installed: uv sync --extra gpu")
def test_so_does_mujoco_warp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On its CPU device. Where the hand touches the cube, float32 moves a finger by up to a degree."""
    run = RunDirectory(tmp_path / "run")
    monkeypatch.setattr(rl, "make_gpu_vector", lambda config, count: make_gpu_vector(config, count, device="cpu"))
    train(run, replace(ROUNDS, steps=1))
    assert_played_as_alone(run, 2, atol=0.02)


def assert_played_as_alone(run: RunDirectory, count: int, atol: float) -> None:
    """Played again in one environment, the actions of each episode lead to the same states [rad] and the same end."""
    reader, env = open_reader(run.path), EnvConfig(oracle=True).make()
    online = reader.commits("online")
    assert [c.notes["number"] for c in online] == [*range(count)]
    assert [c.notes["seed"] for c in online] == [episode_seed(0, 1, i) for i in range(count)]
    for commit in online:
        episode = reader.read(commit)
        again = rollout(env, played(episode), lambda _: np.zeros(4, np.float32), commit.notes["seed"])
        assert (again.episode.meta.outcome, str(again.phase)) == (commit.outcome, commit.notes["phase"])
        np.testing.assert_array_equal(again.episode.terminated, episode.terminated)
        np.testing.assert_allclose(again.episode.stamp_s - again.episode.stamp_s[0], episode.stamp_s, atol=1e-9)
        np.testing.assert_allclose(again.episode.executed, episode.executed, atol=1e-4)
        np.testing.assert_allclose(again.episode.state[:, :6], episode.state[:, :6], atol=atol)
    env.close()


def played(episode: Episode) -> Callable[..., tuple[np.ndarray, Source]]:
    actions = iter(episode.proposed)
    return lambda observation, truth: (next(actions), Source.POLICY)


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_kill_within_a_round_changes_nothing(
    rounds: RunDirectory, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when some episodes of a round are committed: it is played again, and the missing ones are added."""
    run, append, number = RunDirectory(tmp_path / "run"), EpisodeStore.append, itertools.count()

    def dies(store: EpisodeStore, episode: Episode) -> Commit:
        if episode.meta.kind == "online" and next(number) >= kept:
            raise KeyboardInterrupt
        return append(store, episode)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(EpisodeStore, "append", dies)
        train(run, ROUNDS)
    assert len(open_reader(run.path).commits("online")) == kept
    train(run, ROUNDS)
    assert_same_run(run, rounds)


# another run


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, ["config.seed: this command has 1, the run has 0"]),
        ({"reward": "dense"}, ["reward.name: this command has dense, the run has sparse", "reward.shaping"]),
        ({"task": "bowl"}, ["spec.name: this command has bowl-oracle, the run has lift-oracle"]),
        ({"pixels": True}, ["spec.observation.policy_cameras.0: this command has wrist, the run has (absent)"]),
        ({"sac": replace(TINY.sac, tau=0.5)}, ["config.sac.tau: this command has 0.5, the run has 0.02"]),
    ],
)
def test_another_run_is_refused_with_what_differs(
    straight: tuple[RunDirectory, Result, Listener], change: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UserError) as refused:
        train(straight[0], replace(TINY, **change))
    for expected in words:
        assert expected in str(refused.value)


def test_a_reward_whose_constants_changed_is_another_reward(
    straight: tuple[RunDirectory, Result, Listener], tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "run")
    begun = json.loads((straight[0].path / "rl.json").read_text())
    begun["reward"]["success"] = 2.0
    run.write_json("rl.json", begun)
    with pytest.raises(UserError, match=r"reward\.success: this command has 1\.0, the run has 2\.0"):
        train(run, TINY)


# what goes wrong


def test_a_nan_ends_the_run_and_the_good_checkpoint_stays(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with RLRun(run, TINY) as life:
        until(life, lambda r: r.steps > 0 and not r.learner.debt)
        life.save()
        good = {k: v.clone() for k, v in life.learner.policy.state_dict().items()}
        until(life, lambda r: r.learner.debt > 0)
        with torch.no_grad():
            life.learner.agent.critic.second.weight[0, 0, 0] = float("nan")
        committed = len(open_reader(run.path).commits())
        with pytest.raises(NotFinite, match=r"(?s)critic_loss is nan.* critic\..*Checkpoint 000001"):
            until(life, lambda r: False)
        assert len(open_reader(run.path).commits()) == committed  # nobody acted on it
        with pytest.raises(NotFinite):
            life.save()
    assert [f.name for f in numbered(run.checkpoints)] == ["000001"]
    with RLRun(run, TINY) as again:
        assert all(torch.equal(v, good[k]) for k, v in again.learner.policy.state_dict().items())


def test_a_simulation_that_diverged_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sim_pretrain.task.env import SimEnv

    true = SimEnv._observe

    def broken(self: SimEnv, observed: Any) -> Any:
        found = true(self, observed)
        self.observation.state[0] = np.nan
        return found

    monkeypatch.setattr(SimEnv, "_observe", broken)
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(UserError, match="diverged in demo episode 0"):
        train(run, TINY)
    assert open_reader(run.path).commits() == []


def test_an_expert_that_never_succeeds_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sim_pretrain.rl import training_episodes as rl_episodes

    monkeypatch.setattr(rl_episodes, "expert_of", lambda task: lambda truth: np.zeros(4, np.float32))
    with pytest.raises(UserError, match="failed 50 times in a row after 0 demonstrations of lift"):
        train(RunDirectory(tmp_path / "run"), TINY)


def scripted(*wins: int) -> Callable[..., Evaluation]:
    """Evaluations that come out as told, of 20 episodes each."""
    told = iter(wins)

    def evaluate(env: Any, policy: Any, episodes: int, step: int) -> Evaluation:
        won = next(told)
        results = (EpisodeResult(i, Phase.SUCCESS if i < won else Phase.MISSED, 30, 0.0, 0.0, 0.0) for i in range(20))
        return Evaluation(tuple(results), step)

    return evaluate


def test_a_regression_is_told_and_the_best_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rl, "evaluate", scripted(2, 19, 9))
    run, listener = RunDirectory(tmp_path / "run"), Listener()
    result = train(run, replace(TINY, steps=120, evaluate_every=40, keep_evaluated=2), reporters=[listener])
    _, best, last = (e.step for e in result.history)
    assert result.best is not None and result.best.step == best
    assert f"best at {best:,} steps: 95%; now 50 points lower" in listener.said[-1]
    assert not any("points lower" in text for text in listener.said[:-1])
    assert load_checkpoint(run.path, "best")[1]["steps"] == best
    assert load_checkpoint(run.path)[1]["steps"] == last
    assert {int(f.name) for f in (run.path / "evaluated").iterdir()} == {best, last}
    assert load_policy(run.path / "policy", oracle_spec(TASKS["lift"].spec)).info["evaluation"]["wins"] == 19


def test_the_first_evaluation_that_is_good_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rl, "evaluate", scripted(2, 19, 20))
    result = train(RunDirectory(tmp_path / "run"), replace(TINY, steps=120, evaluate_every=40))
    reached = result.first_at(0.95)
    assert reached is not None and reached.wins == 19 and result.first_at(0.1).wins == 2  # type: ignore[union-attr]
    assert result.first_at(1.01) is None


# what a method is


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (RLConfig(), (False, 60, "sparse", 0, 1.0, 128)),
        (RLConfig(pixels=True), (True, 60, "sparse", 0, 1.0, 128)),
        (RLConfig(method="sac"), (False, 0, "dense", 1000, 1.0, 128)),
        (RLConfig(method="drqv2"), (True, 0, "dense", 1000, 0.5, 128)),
        (RLConfig(method="drqv2", preset="faithful", demos=5), (True, 5, "sparse", 0, 0.5, 256)),
        (RLConfig(reward="v19", demos=3, random_steps=7, utd=2.0, batch_size=9), (False, 3, "v19", 7, 2.0, 9)),
    ],
)
def test_each_method_has_its_own_defaults(config: RLConfig, expected: tuple[Any, ...]) -> None:
    c = config.settled()
    assert (c.pixels, c.demos, c.reward, c.random_steps, c.utd, c.batch_size) == expected
    assert c.settled() == c


def test_targets_are_clipped_to_what_the_reward_can_give() -> None:
    sparse, dense, past = (learner_of(RLConfig(reward=r).settled()).sac for r in ("sparse", "dense", "v11"))
    assert (sparse.target_low, sparse.target_high) == (0.0, 1.0)
    assert dense.target_low < 0.0 < 1.0 <= dense.target_high
    assert past.target_high > 1000.0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"demos": 0}, "rlpd learns from demonstrations"),
        ({"steps": 0}, "steps is 0"),
        ({"evaluation_episodes": 0}, "evaluation_episodes is 0"),
        ({"perturbed": 1.5}, "perturbed is 1.5"),
    ],
)
def test_nonsense_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        RLConfig(**wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"task": "fold"}, "no task 'fold'"),
        ({"reward": "v99"}, "no reward 'v99'"),
        ({"stages": {"space": 1.0}}, "home, far, near, grasped"),
        ({"task": "bowl", "reward": "v19"}, "does not fit"),
    ],
)
def test_what_does_not_exist_is_refused(tmp_path: Path, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        train(RunDirectory(tmp_path / "run"), replace(TINY, **wrong))


def test_sac_begins_at_random_and_learns_from_a_dense_reward(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    config = replace(TINY, method="sac", demos=None, steps=80, random_steps=LIMIT)
    train(run, config)
    reader = open_reader(run.path)
    first, second = (reader.read(c) for c in reader.commits()[:2])
    assert np.abs(first.proposed).mean() == pytest.approx(0.5, abs=0.1)  # uniform
    assert len(np.unique(first.reward)) > LIMIT // 2
    assert {c.kind for c in reader.commits()} == {"online"}
    assert set(second.policy_version) == {len(first)}


@pytest.mark.parametrize("config", [
    replace(TINY, pixels=True, demos=1),
    replace(TINY, method="drqv2", demos=0, random_steps=0, utd=0.1),
])  # fmt: skip
def test_pixel_methods_make_policies_that_the_arm_takes(tmp_path: Path, config: RLConfig) -> None:
    run = RunDirectory(tmp_path / "run")
    config = replace(config, steps=LIMIT, evaluation_episodes=1, capacity_gib=0.05)
    with RLRun(run, config) as life:
        before = {k: v.clone() for k, v in life.learner.policy.encoder.state_dict().items()}
        until(life, lambda r: False)
        assert any(not torch.equal(v, before[k]) for k, v in life.learner.policy.encoder.state_dict().items())
        spec = life.task
    assert spec.observation.state == lift_task().observation.state  # nothing privileged
    assert {c.size_px for c in spec.observation.cameras} == ({64} if config.method == "drqv2" else {84})
    assert load_policy(run.path / "policy", spec).policy.cameras == ("wrist",)
    reader = open_reader(run.path)
    assert set(reader.read(0).images) == {"wrist"}  # nobody looks through the other one
    if config.method == "rlpd":
        assert isinstance(life.learner.agent, Sac) and life.learner.agent.trains_encoder
        assert load_policy(run.path / "policy", TASKS["lift"].spec)


# small parts


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(10, 40)), min_size=1, max_size=30), st.integers(1, 12))
def test_what_is_kept_holds_the_best_and_the_newest(found: list[tuple[int, float]], count: int) -> None:
    history = [Evaluated(100 * i, 0.0, wins, 5, length) for i, (wins, length) in enumerate(found)]
    kept = kept_steps(history, count)
    assert kept == sorted(set(kept)) and len(kept) <= max(count, 2)
    assert history[-1].step in kept
    best = max(history, key=lambda e: (e.wins, -(e.mean_steps or 0.0), -e.step))
    assert best.step in kept
    assert len(kept) == min(max(count, 2), len(history))


@given(st.integers(0, 3), st.integers(0, 1), st.integers(0, 10_000))
def test_seeds_of_episodes_are_apart(seed: int, stream: int, number: int) -> None:
    found = episode_seed(seed, stream, number)
    assert 0 <= found < 2**32 and found == episode_seed(seed, stream, number)
    neighbours = {episode_seed(seed + 1, stream, number), episode_seed(seed, 1 - stream, number)}
    assert found not in neighbours | {episode_seed(seed, stream, number + 1)}


def test_a_config_that_changes_no_number_may_change() -> None:
    config = TINY.settled()
    free = replace(config, steps=9, log_every=3, tensorboard=True, keep_evaluated=2, checkpoint_every=5)
    assert free.lasting() == config.lasting()
    assert replace(config, evaluate_every=9).lasting() != config.lasting()
    assert set(rl_config.MAY_CHANGE) <= set(vars(config))
