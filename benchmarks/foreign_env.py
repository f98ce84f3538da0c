"""Ours and LeRobot's SAC on an environment that is neither's: gym-hil's Panda picks up a cube, from state.

    uv run --with gym-hil==0.1.14 python benchmarks/foreign_env.py --seeds 0 1
    uv run python benchmarks/foreign_env.py --seeds

The cube lies elsewhere in every episode; sparse reward; both get the same scripted demonstrations and take half of
every batch from them; one update of batch 256 per environment step, made when the episode is over. A run that is in
benchmarks/foreign_env.json is not made again; without seeds it only prints the table and draws the curves.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from lerobot_sac import LeRobotSac

from data.schema import Episode, EpisodeMeta, Observation, Outcome, Source, Transition
from data.spec import ObservationSpec, StateField, TaskSpec
from hilserl.agents.features import ReplayConfig
from hilserl.agents.networks import NetworkConfig, Policy
from hilserl.agents.sac import SacConfig
from hilserl.loop.agents import AgentConfig, make_agent

RESULTS = Path(__file__).with_suffix(".json")
ROBOT = (  # gym-hil's `agent_pos` [18]; the ranges are what both sides normalise by
    StateField("joint_position", 7, "rad", -3.0, 3.0),
    StateField("joint_velocity", 7, "rad/s", -2.0, 2.0),
    StateField("gripper", 1, "1", 0.0, 255.0),
    StateField("hand_x", 1, "m", 0.2, 0.6),
    StateField("hand_y", 1, "m", -0.3, 0.3),
    StateField("hand_z", 1, "m", 0.0, 0.5),
)
CUBE = (  # its `environment_state` [3]
    StateField("cube_x", 1, "m", 0.2, 0.6),
    StateField("cube_y", 1, "m", -0.3, 0.3),
    StateField("cube_z", 1, "m", 0.0, 0.5),
)
ROBOT_DIM = sum(f.size for f in ROBOT)
TASK = TaskSpec("panda_pick", ObservationSpec((), (), (*ROBOT, *CUBE)), time_limit_steps=100)
STEP_M = 0.025  # of an action of 1
SHARED = {"actor_lr": 3e-4, "critic_lr": 3e-4, "temperature_lr": 3e-4, "temperature_init": 0.01, "discount": 0.97}
PLAIN = SacConfig(
    **SHARED, actor_every=1, anchor_start=0.0, anchor_end=0.0, cloning_start=0.0, cloning_end=0.0
)  # SAC and nothing else
WINDOW = 20  # training episodes in the success rate of the curve
EVALUATIONS = 20


class Trial(NamedTuple):
    """One episode: T actions over T+1 states."""

    state: np.ndarray  # float32 [T+1, 21]
    action: np.ndarray  # float32 [T, 4]: the hand's motion in [-1, 1], the gripper's from 0 (opens) to 2 (closes)
    success: bool
    terminated: bool  # success, or the cube was pushed away


@dataclass
class Run:
    """What one side came to with one seed."""

    side: str
    seed: int
    demonstrations: int
    curve: list[tuple[int, bool, float, float]]  # of each training episode: steps so far, success, CPU s, wall s
    greedy: int  # untouched successes of `EVALUATIONS`, at the end
    step_ms: float  # mean CPU times: of the environment, ...
    act_ms: float
    update_ms: float


class Side(Protocol):
    """A learner that is compared."""

    def act(self, state: np.ndarray, explore: bool) -> np.ndarray:
        """Return an action [4] of the environment."""

    def add(self, trial: Trial, demonstration: bool) -> None:
        """Take an episode in."""

    def update(self) -> object:
        """Draw a batch and update everything once."""


class Ours:
    """The agent and the memory of our learner; the gripper is continuous."""

    def __init__(self, seed: int, sac: SacConfig = PLAIN) -> None:
        torch.manual_seed(seed)
        self._policy = Policy(TASK.observation, 4, NetworkConfig(std_max=1.0))
        replay = ReplayConfig(copies=0, capacity_gib=0.1, seed=seed)
        self._agent, self._memory = make_agent(TASK, self._policy, AgentConfig(sac=sac, replay=replay))
        self._noise = torch.Generator().manual_seed(seed)

    def act(self, state: np.ndarray, explore: bool) -> np.ndarray:
        action = self._policy.act(Observation({}, state, 0.0), self._noise if explore else None)
        return action + np.array([0, 0, 0, 1], np.float32)

    def add(self, trial: Trial, demonstration: bool) -> None:
        seen = [Observation({}, state, t / TASK.rate_hz) for t, state in enumerate(trial.state)]
        source = Source.HUMAN if demonstration else Source.POLICY
        steps = [
            Transition(action, action, source, seen[t + 1], 0.0, False, False, float("nan"), 0)
            for t, action in enumerate(trial.action - np.array([0, 0, 0, 1], np.float32))
        ]
        end = {"reward": float(trial.success), "terminated": trial.terminated, "truncated": not trial.terminated}
        steps[-1] = replace(steps[-1], **end)
        outcome = Outcome.SUCCESS if trial.success else Outcome.FAILURE if trial.terminated else Outcome.TIMEOUT
        meta = EpisodeMeta(outcome, "demo" if demonstration else "online", TASK.fingerprint)
        self._memory.add(Episode.from_steps(seen[0], steps, meta))

    def update(self) -> object:
        return self._agent.update(self._memory.sample())  # type: ignore[arg-type]


class Theirs:
    """LeRobot's; the gripper is its discrete critic's."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        fields = {"observation.state": ROBOT, "observation.environment_state": CUBE}
        stats = {
            key: {
                "min": [f.low for f in group for _ in range(f.size)],
                "max": [f.high for f in group for _ in range(f.size)],
            }
            for key, group in fields.items()
        }
        inputs = {key: (len(ends["min"]),) for key, ends in stats.items()}
        self._sac = LeRobotSac(inputs, 3, stats, capacity=20_000, algorithm=SHARED, num_discrete_actions=3)

    @torch.no_grad()
    def act(self, state: np.ndarray, explore: bool) -> np.ndarray:
        seen, policy = self._sac.preprocessor.process_observation(as_lerobot(state)), self._sac.policy
        action = policy.select_action(seen)
        if not explore:  # it has no greedy mode: put the mean in the place of the sample
            action[:, :3] = torch.tanh(policy.actor(seen)[2])
        return action[0].numpy()

    def add(self, trial: Trial, demonstration: bool) -> None:
        buffer, last = self._sac.demos if demonstration else self._sac.online, len(trial.action) - 1
        for t, action in enumerate(torch.from_numpy(trial.action)):
            end, done = t == last, t == last and trial.terminated
            now, later = as_lerobot(trial.state[t]), as_lerobot(trial.state[t + 1])
            buffer.add(now, action[None], float(end and trial.success), later, done, end and not done)

    def update(self) -> object:
        return self._sac.update()


def as_lerobot(state: np.ndarray) -> dict[str, torch.Tensor]:
    """Return the state under LeRobot's keys."""
    row = torch.from_numpy(state)[None]
    return {"observation.state": row[:, :ROBOT_DIM], "observation.environment_state": row[:, ROBOT_DIM:]}


SIDES: dict[str, Callable[[int], Side]] = {
    "LeRobot": Theirs,
    "ours": Ours,
    "ours, demonstrations cloned too": lambda seed: Ours(seed, replace(PLAIN, cloning_start=1.0, cloning_end=1.0)),
}


class Panda:
    """gym-hil's registered environment; the cube's place follows from the number of the episode alone."""

    def __init__(self) -> None:
        os.environ.setdefault("MUJOCO_GL", "egl")  # it opens a renderer, even to give state
        import gym_hil  # noqa: F401 - registers it
        import gymnasium

        self._env = gymnasium.make(
            "gym_hil/PandaPickCube-v0", random_block_position=True, reset_delay_seconds=0, disable_env_checker=True
        )
        self.cpu_s, self.steps = 0.0, 0

    def play(self, act: Callable[[np.ndarray], np.ndarray], number: int) -> Trial:
        """Play one episode of at most 100 steps."""
        np.random.seed(number)  # its own source of randomness
        states, actions = [flat(self._env.reset(seed=number)[0])], list[np.ndarray]()
        while True:
            actions.append(act(states[-1]).astype(np.float32))
            started_s = time.process_time()
            seen, reward, terminated, truncated, _ = self._env.step(actions[-1])
            self.cpu_s, self.steps = self.cpu_s + time.process_time() - started_s, self.steps + 1
            states.append(flat(seen))
            if terminated or truncated:
                return Trial(np.stack(states), np.stack(actions), reward == 1.0, terminated)


def flat(seen: dict[str, np.ndarray]) -> np.ndarray:
    """Return the state [21] of an observation."""
    return np.concatenate((seen["agent_pos"], seen["environment_state"]))


def expert(state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the action [4] of the demonstrator: above the cube, down, close, up; three of ten steps are perturbed."""
    offset, closed = state[-3:] - state[-6:-3], state[14] > 127
    motion = np.array([0.0, 0.0, 1.0])
    if not (closed and np.linalg.norm(offset) < 0.04):
        aim = offset + np.array([0.0, 0.0, 0.0 if np.linalg.norm(offset[:2]) < 0.015 else 0.08])
        closed, motion = np.linalg.norm(offset) < 0.02, 0.6 * aim / STEP_M
    noise = rng.normal(0.0, 0.7, 3) * (rng.random() < 0.3)
    return np.array([*np.clip(motion + noise, -1.0, 1.0), 2.0 if closed else 0.0])


def learn(name: str, seed: int, steps: int, demonstrations: int) -> Run:
    """Train one side for so many environment steps."""
    env, side, rng = Panda(), SIDES[name](seed), np.random.default_rng(seed)
    shown, number = 0, 1000 * seed
    while shown < demonstrations:
        trial, number = env.play(lambda state: expert(state, rng), number), number + 1
        if trial.success:
            side.add(trial, demonstration=True)
            shown += 1
    env.cpu_s, env.steps = 0.0, 0
    spent = {"act": 0.0, "update": 0.0}

    def act(state: np.ndarray) -> np.ndarray:
        started_s = time.process_time()
        action = side.act(state, explore=True)
        spent["act"] += time.process_time() - started_s
        return action

    curve, cpu_s, wall_s = [], time.process_time(), time.monotonic()
    while env.steps < steps:
        trial, number = env.play(act, number), number + 1
        side.add(trial, demonstration=False)
        started_s = time.process_time()
        for _ in trial.action:
            side.update()
        spent["update"] += time.process_time() - started_s
        times_s = time.process_time() - cpu_s, time.monotonic() - wall_s
        curve.append((env.steps, bool(trial.success), *(round(t, 2) for t in times_s)))
    made, env_s = env.steps, env.cpu_s
    greedy = sum(
        env.play(lambda state: side.act(state, explore=False), 1_000_000 + i).success for i in range(EVALUATIONS)
    )
    print(f"{name}, seed {seed}: {greedy} of {EVALUATIONS}, {curve[-1][2] / 60:.1f} CPU minutes", flush=True)
    per_step = (1e3 * total_s / made for total_s in (env_s, spent["act"], spent["update"]))
    return Run(name, seed, demonstrations, curve, greedy, *per_step)


def rate(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Return the success rate of the last `WINDOW` training episodes, and the steps at the end of each."""
    won = np.array([success for _, success, _, _ in run.curve], float)
    sums = np.concatenate(([0.0], np.cumsum(won)))
    first = np.maximum(np.arange(1, len(won) + 1) - WINDOW, 0)
    return (sums[1:] - sums[first]) / (np.arange(1, len(won) + 1) - first), np.array([c[0] for c in run.curve])


def table(runs: list[Run]) -> str:
    """Return the markdown table."""
    lines = [
        f"| side | seed | steps | last {WINDOW} training episodes | greedy | steps to 80 % | CPU min | wall min "
        "| env, act, update: CPU ms a step |\n|---|---|---|---|---|---|---|---|---|"
    ]
    for run in runs:
        success, steps = rate(run)
        good = np.flatnonzero((success >= 0.8) & (np.arange(len(success)) >= WINDOW - 1))
        _, _, cpu_s, wall_s = run.curve[-1]
        lines.append(
            f"| {run.side} | {run.seed} | {steps[-1]:,} | {success[-1]:.0%} | {run.greedy}/{EVALUATIONS} | "
            f"{f'{steps[good[0]]:,}' if len(good) else 'never'} | {cpu_s / 60:.1f} | {wall_s / 60:.1f} | "
            f"{run.step_ms:.1f}, {run.act_ms:.1f}, {run.update_ms:.1f} |"
        )
    return "\n".join(lines)


def draw(runs: list[Run], path: Path) -> None:
    """Draw success against steps, and against minutes of one core."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, label in zip(figure.subplots(1, 2, sharey=True), ("environment steps", "CPU minutes"), strict=True):
        for run in runs:
            success, steps = rate(run)
            x: Any = steps if label == "environment steps" else [cpu_s / 60 for _, _, cpu_s, _ in run.curve]
            colour = f"C{list(SIDES).index(run.side)}"
            axes.plot(x, success, color=colour, alpha=0.8, label=run.side if run.seed == runs[0].seed else None)
        axes.set(xlabel=label, ylim=(-0.02, 1.02))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel(f"success, last {WINDOW} training episodes")
    figure.axes[1].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Make the runs that are missing, print the table, draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--steps", type=int, default=4000, help="of the environment, in each run")
    parser.add_argument("--demonstrations", type=int, default=20)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs = [Run(**r) for r in json.loads(args.results.read_text())] if args.results.exists() else []
    for seed in args.seeds:
        for name in args.sides:
            if not any((r.side, r.seed) == (name, seed) for r in runs):
                runs.append(learn(name, seed, args.steps, args.demonstrations))
                lines = ",\n".join(json.dumps(asdict(r)) for r in runs)
                args.results.write_text(f"[\n{lines}\n]\n")
    print("\n" + table(runs))
    draw(runs, args.results.with_suffix(".png"))


if __name__ == "__main__":
    main()
