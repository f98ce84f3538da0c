"""What a run of reinforcement learning in the simulation is made of, and how its agent follows from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import draccus

from data.errors import UserError
from data.replay.pixel_replay import PixelReplayConfig
from data.spec import TaskSpec, difference
from hilserl.agents.drqv2 import FAITHFUL, FAST, DrQv2Config
from hilserl.agents.features import ReplayConfig
from hilserl.agents.networks import NetworkConfig
from hilserl.agents.sac import SacConfig
from hilserl.loop.learner import LearnerConfig
from hilserl.runs import RunDirectory
from sim_pretrain.task.rewards import find_reward
from sim_pretrain.task.tasks import SimTask, find_task
from sim_pretrain.world.profile import WorldProfile
from sim_pretrain.world.randomize import Randomization

# Under names of their own, as `--help` finds no comment beside a type with quotes in it.
Method = Literal["rlpd", "sac", "drqv2"]
Preset = Literal["fast", "faithful"]
Backend = Literal["cpu", "gpu"]
Gripper = Literal["continuous", "exploring", "discrete"]

BEGUN = "rl.json"  # what a run was begun with
PRESETS = {"fast": FAST, "faithful": FAITHFUL}
MAY_CHANGE = (  # between a run and its resume: what changes no number
    "steps", "checkpoint_every", "keep_checkpoints", "keep_evaluated", "log_every", "tensorboard",
)  # fmt: skip


@dataclass(frozen=True)
class ScratchConfig(SacConfig):
    """SAC from scratch: no anchor, the actor learns as often as the critics, and demonstrations are copied, too.

    A class, as flags of some fields must leave the others at these defaults.
    """

    # continuous: an absolute command, outside of the entropy term; exploring: inside; discrete: close, keep or open
    gripper: Gripper = "exploring"
    tau: float = 0.02
    actor_every: int = 1
    temperature_init: float = 0.01
    anchor_start: float = 0.0
    cloning_end: float = 1.0


@dataclass(frozen=True)
class StateNetworkConfig(NetworkConfig):
    """Networks of `rlpd` and `sac`: without a policy to start from, the actor has to explore."""

    std_max: float = 1.0  # cap of the standard deviation before squashing


@dataclass(frozen=True)
class RLConfig:
    """Reinforcement learning in the simulation. Every count of steps is one of environment transitions."""

    method: Method = "rlpd"  # SAC with demonstrations, SAC without, or DrQ-v2
    pixels: bool = False  # learn from what the arm sees, not from privileged state; drqv2 always does
    # of drqv2: strided 64x64, or the paper's 84x84x9; without demonstrations it may need 200,000 updates, which take
    # about 3 hours with the first and 36 with the second, on one core without a GPU
    preset: Preset = "fast"
    task: str = "lift"  # lift, bowl or paper
    reward: str | None = None  # see sim_pretrain/task/rewards.py; none: sparse with demonstrations, dense without
    stages: dict[str, float] = field(default_factory=lambda: {"home": 1.0})  # weights of the training's starts
    steps: int = 10_000  # length of the run; a resume may raise it
    demos: int | None = None  # successful episodes of the scripted expert; none: 60 for rlpd, 0 for the others
    perturbed: float = 0.3  # share of the expert's steps that get noise, so that recoveries are seen
    random_steps: int | None = None  # uniformly random actions at first; none: 0 with demonstrations, else 1000
    utd: float | None = None  # updates per step; none: 1, for drqv2 0.5
    batch_size: int | None = None  # none: 128, for drqv2 that of the preset
    n_step: int = 3  # steps in a return
    capacity_gib: float = 4.0  # memory for images; when it is full, the oldest policy steps leave it
    evaluate_every: int = 1000  # steps between evaluations
    evaluation_episodes: int = 50  # greedy ones, always from the same starts of stage home
    checkpoint_every: int = 2000  # steps between checkpoints, besides one at every evaluation
    keep_checkpoints: int = 2  # newest ones; the best stays in any case
    keep_evaluated: int = 10  # evaluated policies that stay: the best half and the newest half
    log_every: int = 500  # steps between rows of numbers
    tensorboard: bool = False  # curves for TensorBoard beside metrics.jsonl; needs the extra `tensorboard`
    device: str = "cpu"  # of pixel methods
    backend: Backend = "cpu"  # what simulates the training; follows from --backend
    worlds: int = 64  # episodes that the backend gpu plays at once, all of them with the same policy
    seed: int = 0
    sac: ScratchConfig = field(default_factory=ScratchConfig)
    drqv2: DrQv2Config = field(default_factory=DrQv2Config)  # with demonstrations: less noise, benchmarks/rl_pixels.md
    network: StateNetworkConfig = field(default_factory=StateNetworkConfig)  # of rlpd and sac

    def __post_init__(self) -> None:
        counts = "steps", "n_step", "evaluate_every", "evaluation_episodes", "checkpoint_every", "log_every", "worlds"
        for name in counts:
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; accepted is 1 or more")
        if self.method == "rlpd" and self.demos == 0:
            raise UserError("demos is 0, and rlpd learns from demonstrations; accepted is 1 or more, or method sac")
        if not 0.0 <= self.perturbed <= 1.0:
            raise UserError(f"perturbed is {self.perturbed}; accepted is a share from 0 to 1")

    def settled(self) -> RLConfig:
        """Return the config with every `none` replaced by the method's own value."""
        drqv2 = self.method == "drqv2"
        demos = (60 if self.method == "rlpd" else 0) if self.demos is None else self.demos
        batch_size = PRESETS[self.preset].replay.batch_size if drqv2 else 128
        return replace(
            self,
            pixels=self.pixels or drqv2,
            demos=demos,
            reward=("sparse" if demos else "dense") if self.reward is None else self.reward,
            random_steps=(0 if demos else 1000) if self.random_steps is None else self.random_steps,
            utd=(0.5 if drqv2 else 1.0) if self.utd is None else self.utd,
            batch_size=batch_size if self.batch_size is None else self.batch_size,
        )

    def lasting(self) -> dict[str, Any]:
        """Return as JSON what must be the same in a run and in its resume; call it on a settled config."""
        flags: dict[str, Any] = draccus.encode(self)
        return {name: value for name, value in flags.items() if name not in MAY_CHANGE}


def task_of(config: RLConfig) -> SimTask:
    """Return the task, with images of the preset's size.

    Raises:
        UserError: there is no such task or reward, or the reward does not fit the task.
    """
    task = find_task(config.task)
    find_reward(config.reward or "sparse").require(task)
    if config.method != "drqv2":
        return task
    size_px, seen = PRESETS[config.preset].size_px, task.spec.observation
    cameras = tuple(replace(c, size_px=size_px) for c in seen.cameras)
    return replace(task, spec=replace(task.spec, observation=replace(seen, cameras=cameras)))


def network_of(config: RLConfig) -> NetworkConfig:
    """Return the shape of the networks."""
    return PRESETS[config.preset].network if config.method == "drqv2" else config.network


def learner_of(config: RLConfig) -> LearnerConfig:
    """Return the learner of a settled config: no warm start, targets clipped to what the reward can give."""
    assert config.utd is not None and config.batch_size is not None and config.reward is not None
    low, high = find_reward(config.reward).returns()
    sac = config.sac
    if config.pixels and not sac.encoder_lr:
        sac = replace(sac, encoder_lr=sac.critic_lr)
    drqv2 = config.method == "drqv2"
    pixels = PRESETS[config.preset].replay if drqv2 else PixelReplayConfig()
    drawn: dict[str, Any] = {"batch_size": config.batch_size, "n_step": config.n_step, "seed": config.seed}
    return LearnerConfig(
        agent="drqv2" if drqv2 else "sac",
        sac=replace(sac, target_low=low, target_high=high),
        drqv2=config.drqv2,
        learned="proposed",
        replay=replace(ReplayConfig(copies=0, capacity_gib=0.25), **drawn),
        pixels=replace(pixels, capacity_gib=config.capacity_gib, **drawn),
        device=config.device,
        baseline_episodes=0,
        critic_updates=0,
        utd=config.utd,
        simulated=True,
        seed=config.seed,
    )


def stored_spec(spec: TaskSpec) -> TaskSpec:
    """Return the spec of the run's store: only the cameras that the policy sees are simulated."""
    seen = spec.observation
    cameras = tuple(c for c in seen.cameras if c.name in seen.policy_cameras)
    return replace(spec, observation=replace(seen, cameras=cameras))


def identity(
    config: RLConfig, spec: TaskSpec, randomization: Randomization | None, profile: WorldProfile | None
) -> dict[str, Any]:
    """Return as JSON what makes a run the one that it is; of a settled config and the spec of its policy."""
    assert config.reward is not None
    parts = {
        "spec": json.loads(spec.to_json()),
        "reward": find_reward(config.reward).constants(),
        "config": config.lasting(),
        "randomization": draccus.encode(randomization) if randomization else None,
        "profile": draccus.encode(profile) if profile else None,
    }
    plain: dict[str, Any] = json.loads(json.dumps(parts))
    return plain


def require_same_run(run: RunDirectory, now: Mapping[str, Any]) -> None:
    """Note what a new run is, or check that it is the one that was begun in this folder.

    Raises:
        UserError: it is another one; the message lists the keys that differ.
    """
    begun = run.path / BEGUN
    if not begun.exists():
        run.write_json(BEGUN, now)
        return
    lines = difference(now, json.loads(begun.read_text()), "this command", "the run")
    if lines:
        raise UserError(
            f"{run.path} was begun as another run:\n" + "\n".join(lines) + "\nA resumed run must be the same run. Use "
            "its flags, or start another: --output_dir=runs/NAME"
        )
