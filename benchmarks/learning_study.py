"""Which way of fine-tuning works, and how fast: the study behind docs/learning.md.

    uv run python benchmarks/learning_study.py --shift moderate --operator good --seeds 0 1 2
    uv run python benchmarks/learning_curves.py

The actor, learner, store and scripted operator of a session, in one process around a simulated table that differs from
the training simulation. One line a run goes to benchmarks/learning_study.jsonl; runs that are there are not repeated.
Evaluations are untouched, greedy, from the same starts everywhere; success there is the simulator's truth.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import draccus
import numpy as np
import torch
from tqdm import tqdm

from classifier.detector import Verdict
from data.schema import Episode, Observation, Source
from data.store.episode_store import EpisodeStore
from hilserl.agents.policy_file import load_policy
from hilserl.commands.arguments import SHIPPED
from hilserl.loop.actor import Actor
from hilserl.loop.learner import Learner, LearnerConfig
from hilserl.loop.policy_runner import PolicyRunner
from hilserl.loop.session import SessionConfig
from hilserl.runs import RunDirectory
from sim_pretrain.episodes.evaluation import Evaluation, evaluate
from sim_pretrain.rig.people import Judge
from sim_pretrain.task.env import SimEnv
from sim_pretrain.task.tasks import SimTask, find_task
from sim_pretrain.world.physics import World
from sim_pretrain.world.profile import HardWorld, RealWorld, WorldProfile
from sim_pretrain.world.sim_arm import make_env
from teleop.inputs import Operator
from teleop.scripted import ClumsyConfig, ScriptedConfig, ScriptedOperator

HERE = Path(__file__).parent
RESULTS = HERE / "learning_study.jsonl"
EVALUATIONS = 50
# no difference to the training simulation; the table of `hilserl demo`; that of `hilserl demo --hard`
SHIFTS: dict[str, WorldProfile] = {"none": WorldProfile(), "moderate": RealWorld(), "hard": HardWorld()}
CHECKS = {"none": (2, 5, 10, 20), "moderate": (2, 5, 10, 20, 40, 60), "hard": (20, 40, 60, 80, 100, 120)}
OPERATORS: dict[str, ScriptedConfig | None] = {"good": ScriptedConfig(), "poor": ClumsyConfig(), "nobody": None}


@dataclass(frozen=True)
class Arm:
    """One way of fine-tuning."""

    says: str
    learner: Mapping[str, Any] = field(default_factory=dict)  # what differs from the defaults
    false_success: float = 0.0  # chance per frame that the classifier says success where there is none
    missed: float = 0.0  # chance per frame that it does not see success


ARMS = {
    "warm": Arm("the default recipe"),
    "from scratch": Arm("a new actor on the policy's encoder", {"start": {"actor": "scratch"}}),
    "residual": Arm("a bounded correction of the frozen policy", {"start": {"actor": "residual"}}),
    "hg-dagger": Arm("copying people and own successes, no reward", {"agent": "hg-dagger"}),
    "end to end": Arm("the encoder learns, too; one update per step", {"utd": 1.0, "sac": {"encoder_lr": 1e-4}}),
    "no anchor": Arm("no pull towards the simulation policy", {"sac": {"anchor_start": 0.0}}),
    "long anchor": Arm(
        "pulled to the simulation policy four times as hard, for 80 episodes",
        {"sac": {"anchor_start": 1.0, "anchor_end": 0.05, "anchor_episodes": 80}},
    ),
    "no cloning": Arm("human steps are not copied", {"sac": {"cloning_start": 0.0, "cloning_end": 0.0}}),
    "cloning stays": Arm("human steps are copied to the end", {"sac": {"cloning_end": 1.0}}),
    "critics not first": Arm("the actor learns from the first update", {"critic_updates": 1}),
    "naive": Arm(
        "no anchor, no cloning, critics not first, the actor as fast as the critics",
        {
            "critic_updates": 1,
            "sac": {"anchor_start": 0.0, "cloning_start": 0.0, "cloning_end": 0.0, "actor_every": 1, "actor_lr": 3e-4},
        },
    ),
    "new critics": Arm("critics of random weights", {"start": {"critics": "scratch"}}),
    "ten critics": Arm("the minimum of two of ten", {"sac": {"critics": 10}, "start": {"critics": "scratch"}}),
    "discrete gripper": Arm(
        "it closes, keeps or opens", {"sac": {"gripper": "discrete"}, "start": {"critics": "scratch"}}
    ),
    "imperfect classifier": Arm(
        "sees success in 1 of 1,000 frames without, misses 3 of 10 with", false_success=0.001, missed=0.3
    ),
    "take-overs cost": Arm("0.1 for the step before a take-over", {"takeover_penalty": 0.1}),
}


class Beside:
    """The eyes and hands of a person beside a simulated table (`teleop.scripted.Eyes`)."""

    def __init__(self, world: World, task: SimTask, verdicts: Path) -> None:
        self._world, self._task, self._judge = world, task, Judge(verdicts, task)

    def ask(self, **request: Any) -> dict[str, Any]:
        """Answer as a rig does. Nobody's clock runs between episodes but this one."""
        truth = self._world.truth()
        match request["op"]:
            case "place":
                self._world.place_cube(request["x_m"], request["y_m"], request["yaw_rad"])
            case "begin":
                self._judge.begin(request["tag"], truth)
            case "end":
                return self._judge.end(request["tag"], truth)
            case "truth" if not self._judge.watching:
                self._world.advance(0.1)
        self._judge.look(truth)
        seen = {"grasped": truth.grasped, "success": self._task.reached(truth), "lost": self._task.lost(truth)}
        return {**asdict(truth), **seen, "time_s": self._world.time_s}

    def close(self) -> None:
        """Nothing to close."""


class Witness:
    """A success detector that sees the truth, as badly as it is told to."""

    version = "truth"

    def __init__(self, world: World, task: SimTask, arm: Arm, seed: int) -> None:
        self._world, self._task, self._arm = world, task, arm
        self._rng, self._held = np.random.default_rng([seed, 11]), 0

    def reset(self) -> None:
        """Begin an episode."""
        self._held = 0

    def step(self, observation: Observation) -> Verdict:
        """Judge this moment; success has to be seen three times in a row, a false one only once."""
        reached = self._task.reached(self._world.truth())
        seen = reached and self._rng.random() >= self._arm.missed
        self._held = self._held + 1 if reached else 0
        false = not reached and self._rng.random() < self._arm.false_success
        return Verdict(float(seen or false), (seen and self._held >= 3) or false)


def study(name: str, shift: str, operator: str, seed: int, bar: tqdm) -> dict[str, Any]:
    """Run one arm and return its curve: untouched success after some numbers of operated episodes."""
    arm, profile, task, checks = ARMS[name], SHIFTS[shift], find_task("lift"), CHECKS[shift]
    hands_of = OPERATORS[operator]
    config = draccus.decode(LearnerConfig, {**arm.learner, "seed": seed})
    started_s, human, steps, taken = time.process_time(), 0, 0, 0
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        world = World(profile, seed, task.prop)
        opened.callback(world.close)
        test = SimEnv(task, profile=profile)
        opened.callback(test.close)
        store = opened.enter_context(EpisodeStore.create_or_open(folder / "store", task.spec))
        env = make_env(world, task.spec)
        learner = Learner(RunDirectory(folder), task.spec, load_policy(SHIPPED, task.spec), config, linked=False)
        detector = Witness(world, task, arm, seed)

        def done(episode: Episode) -> None:
            nonlocal human, steps, taken
            drove = episode.source == Source.HUMAN
            human, steps, taken = human + int(drove.sum()), steps + len(episode), taken + bool(drove.any())

        def actor_of(policy: PolicyRunner, **hands: Any) -> Actor:
            """A session with its own person: one who watches, or one who helps."""
            config = replace(hands_of or ScriptedConfig(), seed=seed, **hands)
            person: Operator = ScriptedOperator(config, Beside(world, task, folder / "verdicts.jsonl"))
            return Actor(env, person, store, policy=policy, detector=detector)  # type: ignore[arg-type]

        def look(episodes: int) -> dict[str, float]:
            result: Evaluation = evaluate(test, learner.policy, EVALUATIONS)
            bar.set_postfix_str(f"{name}, {shift}, {operator}, seed {seed}: {result.wins}/{result.n} after {episodes}")
            return {
                "episodes": episodes, "wins": result.wins, "n": result.n, "steps": result.mean_steps,
                "robot_steps": steps, "human_steps": human, "taken_over": taken,
                "cpu_minutes": (time.process_time() - started_s) / 60,
            }  # fmt: skip

        curve = [look(0)]
        frozen = PolicyRunner(load_policy(SHIPPED, task.spec).policy, seed)
        actor_of(frozen, plays="watch").run(SessionConfig("baseline", config.baseline_episodes, seed=seed), done)
        learner.ingest()
        learner.update(learner.debt)  # the critics, before the actor may change
        trained = actor_of(PolicyRunner(learner.policy, seed), plays="help" if hands_of else "watch")
        for episodes in range(1, checks[-1] + 1):
            online = SessionConfig("online", episodes, may_take_over=True, explore=True, seed=seed + 1)
            trained.run(online, done)
            learner.ingest()
            learner.update(learner.debt)
            bar.update()
            if episodes in checks:
                curve.append(look(episodes))
    return {"arm": name, "shift": shift, "operator": operator, "seed": seed, "curve": curve}


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--shift", default="moderate", choices=list(SHIFTS))
    parser.add_argument("--operator", default="good", choices=list(OPERATORS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    have = [tuple(r[k] for k in ("arm", "shift", "operator", "seed")) for r in read(args.results)]
    todo = [(a, args.shift, args.operator, n) for n in args.seeds for a in args.arms]
    todo = [run for run in todo if run not in have]
    with tqdm(total=len(todo) * CHECKS[args.shift][-1], unit="ep") as bar:
        for run in todo:
            row = study(*run, bar)
            with args.results.open("a") as file:
                file.write(json.dumps(row) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Return the runs that were made."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
