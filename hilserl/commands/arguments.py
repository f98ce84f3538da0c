"""Flags of the commands, as frozen dataclasses: a field's comment is its help."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from lerobot.robots import RobotConfig

from data.errors import UserError
from data.spec import TaskSpec
from hilserl.flags import parse_flags
from hilserl.loop.learner import LearnerConfig
from hilserl.tasks import read_task
from hilserl.ui.address import UiArgs
from hilserl.ui.coach import CoachConfig
from hilserl.ui.coverage import CoverageConfig
from teleop.inputs import OperatorConfig

# What `--robot.type`, `--robot.cameras` and `--teleop.type` may name; each registers itself when imported.
DEVICES = (
    "lerobot.robots.so_follower",
    "lerobot.cameras.opencv",
    "hilserl.robot.leader_arm",
    "teleop.gamepad",
    "teleop.keyboard",
    "teleop.virtual_pad",
    "teleop.scripted",
    "teleop.nobody",
)
PLUGINS, RIG = "--plugins=", "--rig="
SHIPPED = Path(__file__).resolve().parents[2] / "sim_pretrain" / "checkpoints" / "lift"


@dataclass(frozen=True)
class PolicyArgs:
    """`--policy...`: the policy to start from."""

    path: Path = SHIPPED  # a policy folder, or a run: then its newest checkpoint


@dataclass(frozen=True)
class ClassifierArgs:
    """`--classifier...`: the success detector."""

    path: Path | None = None  # folder written by `hilserl classifier train`; none: the Success button decides


@dataclass(frozen=True)
class ArmArgs:
    """What every command that moves an arm needs."""

    robot: RobotConfig  # as in LeRobot: --robot.type=so101_follower --robot.port=... --robot.id=...
    teleop: OperatorConfig  # who can stop it: --teleop.type=gamepad or so101_leader; "none" has to be asked for
    output_dir: Path  # run directory; its store is created on first use
    buttons: OperatorConfig | None = None  # whose buttons count, too: --buttons.type=keyboard; a leader has none
    task: str = "lift"  # lift, bowl or paper, or the path of a task spec as JSON
    clock: Path | None = None  # an emulated rig's clock; none: the wall clock
    seed: int = 0  # start poses and exploration
    ui: UiArgs = field(default_factory=UiArgs)
    preflight: bool = True  # look at disk, motors and cameras before the first motion; what is wrong ends the command
    give_up_s: float = 60.0  # arm, camera, pad or learner may be silent for so long before the session ends; it holds

    def read_task(self) -> TaskSpec:
        """Return the task spec to use."""
        return read_task(self.task)


Purpose = Literal["classifier", "demo"]


@dataclass(frozen=True)
class RecordArgs(ArmArgs):
    """`hilserl record`: the person drives; hold Success (Y) while the task is done."""

    purpose: Purpose = "classifier"  # classifier: success does not end the episode
    episodes: int = 20  # the store is filled up to this many
    keep_native: bool | None = None  # whole camera frames, too, to change the crop later; none: for the classifier

    def keeps_native(self) -> bool:
        """Whether whole frames are kept; 0.9 MB each at 640x480."""
        return self.purpose == "classifier" if self.keep_native is None else self.keep_native


@dataclass(frozen=True, kw_only=True)
class TeleopArgs(ArmArgs):
    """`hilserl teleop`: practise with a device; with --robot flags on the arm, else it only shows the device."""

    robot: RobotConfig | None = None  # type: ignore[assignment]  # the arm to drive; none: only the device is shown
    output_dir: Path = Path()  # not used: nothing is recorded


@dataclass(frozen=True)
class EvalArgs(ArmArgs):
    """`hilserl eval`: untouched episodes from fixed starts; success with its 95 % interval."""

    policy: PolicyArgs = field(default_factory=PolicyArgs)
    against: PolicyArgs | None = None  # compare with this policy from the same starts: --against.path=RUN/best
    classifier: ClassifierArgs = field(default_factory=ClassifierArgs)
    coverage: CoverageConfig = field(default_factory=CoverageConfig)
    episodes: int = 50  # of each policy
    stochastic: bool = False  # sample its actions, as in training, instead of taking the most likely one
    verdict: bool = False  # after each episode a person presses Success or Failure, beside the classifier's verdict
    films: int = 4  # of the episodes that are most worth watching, for each policy
    name: str = "eval"  # stored with the episodes, so that several evaluations fit into one run


@dataclass(frozen=True)
class TrainArgs(ArmArgs):
    """`hilserl train`: baseline episodes with the frozen policy, then episodes with the person at hand."""

    policy: PolicyArgs = field(default_factory=PolicyArgs)
    classifier: ClassifierArgs = field(default_factory=ClassifierArgs)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    coach: CoachConfig = field(default_factory=CoachConfig)
    coverage: CoverageConfig = field(default_factory=CoverageConfig)
    episodes: int = 80  # operated episodes, after the baseline
    max_debt: int = 400  # the next episode waits until the learner owes no more updates than this
    resume: bool = False  # go on from the run's newest checkpoint
    curves: str = ""  # copy the numbers to tensorboard, wandb or both (with a comma); each is an extra to install
    display_data: bool = False  # as in LeRobot: every episode for the rerun viewer, in RUN/rerun
    rollback: str = ""  # go on from an older checkpoint, "best" or its number; nothing is deleted


@dataclass(frozen=True)
class ActorArgs(TrainArgs):
    """`hilserl actor`: the half of `train` that moves the arm; with `--connect`, for a learner on another machine."""

    connect: str = ""  # HOST:PORT of a learner elsewhere, also as --learner=HOST:PORT; none: it shares --output_dir
    token_file: Path | None = None  # the same as the learner's
    tls_cert: Path | None = None  # the learner's certificate (PEM), or that of who signed it; none: not encrypted
    hold_after_s: float = 600.0  # without a word from a learner elsewhere, begin no episode after this; hold instead


@dataclass(frozen=True, kw_only=True)
class LearnerArgs(TrainArgs):
    """`hilserl learner`: the half of `train` that updates the policy; with `--listen`, for actors on other machines."""

    robot: RobotConfig | None = None  # type: ignore[assignment]  # of the actor; not used here
    teleop: OperatorConfig | None = None  # type: ignore[assignment]  # of the actor; not used here
    listen: str = ""  # HOST:PORT, or PORT for this machine alone; none: the actor shares --output_dir
    token_file: Path | None = None  # needed to listen beyond this machine: make it with openssl rand -hex 32
    tls_cert: Path | None = None  # certificate (PEM), to encrypt what travels
    tls_key: Path | None = None  # its private key (PEM)


def parse[T](cls: type[T], argv: Sequence[str]) -> T:
    """Read flags into `cls`.

    Two flags are for every command: `--plugins=a.b,c` names modules to import first (cameras, robots, operators), and
    `--rig=DIR` stands for the flags of the rig that runs there.

    Raises:
        draccus.ParsingError: an unknown or missing flag; the message lists what is accepted.
        UserError: no rig runs there.
    """
    given = [a for a in argv if not a.startswith(RIG)]
    rigs = [Path(a.removeprefix(RIG)) for a in argv if a.startswith(RIG)]
    given = [*(flag for rig in rigs for flag in rig_flags(cls, rig, given)), *given]
    named = [m for a in given if a.startswith(PLUGINS) for m in a.removeprefix(PLUGINS).split(",") if m]
    for module in (*DEVICES, *named):
        importlib.import_module(module)
    return parse_flags(cls, [a for a in given if not a.startswith(PLUGINS)])


def rig_flags(cls: type, directory: Path, given: Sequence[str]) -> list[str]:
    """Return what a running rig says about itself, as far as `cls` has such flags and they are not `given`."""
    try:
        flags: dict[str, list[str]] = json.loads((directory / "rig.json").read_text())["flags"]
    except FileNotFoundError as error:
        raise UserError(f"no rig is ready in {directory}; start it: hilserl rig --directory={directory}") from error
    asked = {_group(flag) for flag in given}
    if asked & _PERSON:  # devices belong together
        asked |= _PERSON
    accepted = {f"--{f.name}" for f in fields(cls)} - asked  # type: ignore[arg-type]
    return [flag for part in flags.values() for flag in part if flag.startswith(PLUGINS) or _group(flag) in accepted]


_PERSON = {"--teleop", "--buttons"}


def _group(flag: str) -> str:
    """`--robot` of `--robot.port=...`."""
    return flag.partition("=")[0].partition(".")[0]
