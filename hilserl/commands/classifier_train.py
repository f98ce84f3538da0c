"""`hilserl classifier train`: from labelled episodes to a calibrated success detector."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from classifier.augment import Augmentation
from classifier.detector import PLOT
from classifier.encoders import CONVOLUTIONS, RESNETS, EncoderConfig, for_camera
from classifier.fit import FitConfig, fit_detector
from classifier.model import SUCCESS, ClassifierSpec, StateInput
from classifier.train import EPOCHS, QUICK_EPOCHS, QUICK_MEMBERS
from data.errors import UserError
from data.lint import require_fit
from data.schema import Episode
from data.spec import CameraSpec, TaskSpec
from data.store.reader import AnnotatedReader, open_reader
from hilserl.agents.networks import Policy
from hilserl.agents.policy_file import load_policy, made_for
from hilserl.commands.arguments import PolicyArgs
from hilserl.flags import parse_flags

OF_POLICY = "policy"


@dataclass(frozen=True)
class ClassifierTrainArgs:
    """Flags of `hilserl classifier train`."""

    output_dir: Path  # the run whose store holds the labelled episodes; the detector goes to its classifier/
    encoder: str = (
        OF_POLICY  # start from the policy's own, trained in simulation; or strided, drqv2, resnet10, resnet18
    )
    policy: PolicyArgs = field(default_factory=PolicyArgs)  # whose encoder
    encoder_weights: Path | None = None  # safetensors file of a torchvision ResNet to start from
    frozen: bool = False  # keep the encoder as it is: seconds instead of a minute, but it misses more
    cameras: tuple[str, ...] = ()  # what to look through; none: every camera of the task
    state: tuple[str, ...] = ()  # what else to look at: FIELD.INDEX of the state, e.g. ee_in_base.2; none: images alone
    gate: tuple[str, ...] = FitConfig.gate  # success only within the range that these had in marked frames; []: no gate
    stages: tuple[str, ...] = (SUCCESS,)  # labels that the task passes in this order, the last of them success
    failures: tuple[str, ...] = ()  # labels that end an episode as a failure
    members: int = 3  # networks; each episode is judged by the one that has not learned from it
    augmentation: Augmentation = field(default_factory=Augmentation)
    epochs: int = EPOCHS
    quick: bool = False  # two networks, fewer epochs; for smoke runs
    seed: int = 0  # split, initial weights and augmentation


def main(argv: Sequence[str]) -> int:
    """Train, calibrate, save, and print the held-out result."""
    args = parse_flags(ClassifierTrainArgs, argv)
    if args.quick:
        args = replace(args, members=min(args.members, QUICK_MEMBERS), epochs=min(args.epochs, QUICK_EPOCHS))
    torch.set_num_threads(1)  # a second thread gains a fifth alone, and loses a factor of eight beside a busy process
    store = open_reader(args.output_dir)
    spec, start = make_spec(args, store.spec)
    report = fit_detector(
        labelled_episodes(store),
        store.spec,
        spec,
        args.output_dir / "classifier",
        FitConfig(args.gate, args.epochs, threads=_cores()),
        start,
    )
    print(report.table())
    print(f"Look at it: {args.output_dir / 'classifier' / PLOT}")
    print(f"Its worst mistakes, and who is right: hilserl classifier calibrate --output_dir={args.output_dir}")
    return 0


def labelled_episodes(store: AnnotatedReader) -> list[Episode]:
    """Return the episodes to learn from: those recorded for it, and others that a person has labelled since."""
    verdicts = store.annotations.verdicts()
    episodes = []
    for commit in store.commits():
        if commit.kind == "labels" or (commit.uuid in verdicts and verdicts[commit.uuid].labels):
            episode = store.read(commit)
            for finding in require_fit(episode, store.spec):
                print(f"warning: episode {episode.meta.uuid}, {finding}")
            episodes.append(episode)
    return episodes


def make_spec(args: ClassifierTrainArgs, task: TaskSpec) -> tuple[ClassifierSpec, Callable[[str], nn.Module] | None]:
    """Return what the model looks at, and what its encoders start from (None: random weights).

    Raises:
        UserError: a camera, a state, an encoder or a stage that there is not, or a choice that cannot learn.
    """
    known = {c.name: c for c in task.observation.cameras}
    if unknown := set(args.cameras) - set(known):
        raise UserError(f"there is no camera {', '.join(sorted(unknown))}; accepted are {', '.join(known)}")
    if args.stages[-1:] != (SUCCESS,):
        raise UserError(f"the last stage has to be {SUCCESS}; found {', '.join(args.stages) or 'none'}")
    cameras = tuple(known[n] for n in args.cameras) or task.observation.cameras
    policy = policy_that_sees(args.policy.path, cameras) if args.encoder == OF_POLICY else None
    if args.encoder not in (OF_POLICY, *CONVOLUTIONS, *RESNETS):
        raise UserError(f"encoder is {args.encoder!r}; accepted are {', '.join((OF_POLICY, *CONVOLUTIONS, *RESNETS))}")
    if args.frozen and policy is None and args.encoder_weights is None:
        raise UserError("a frozen encoder of random weights sees nothing: leave out --frozen, or give it weights")
    if policy is None:
        encoder = EncoderConfig(args.encoder, args.encoder_weights)
    else:
        shape = {k: getattr(policy.config, k) for k in ("encoder", "pooling", "stack")}
        encoder = EncoderConfig(**shape)
    if encoder.stack != 1:
        raise UserError(
            f"{args.policy.path} sees stacks of {encoder.stack} frames, a classifier one: use --encoder=strided"
        )
    spec = ClassifierSpec(
        cameras=cameras,
        task_fingerprint=task.fingerprint,
        state=tuple(StateInput.parse(n, task.observation) for n in args.state),
        stages=args.stages,
        failures=args.failures,
        encoder=encoder,
        frozen=args.frozen,
        members=args.members,
        augmentation=args.augmentation,
        seed=args.seed,
    )
    return spec, encoders_of(policy) if policy else None


def policy_that_sees(path: Path, cameras: Sequence[CameraSpec]) -> Policy:
    """Return the policy in a folder or run, of this task or another one, if its encoder takes images of these sizes.

    Raises:
        UserError: there is no policy, or it sees other sizes.
    """
    made, wanted = made_for(path), {c.size_px for c in cameras}
    seen = {c.size_px for c in made.observation.cameras if c.name in made.observation.policy_cameras}
    if seen != wanted:
        raise UserError(
            f"the policy at {path} sees images of {sorted(seen)} px, the classifier is to see {sorted(wanted)}: "
            "accepted are a policy that sees the same size, or an encoder that starts from nothing, --encoder=strided"
        )
    return load_policy(path, made).policy


def encoders_of(policy: Policy) -> Callable[[str], nn.Module]:
    """Return what gives the policy's encoder for a camera; for one that it does not see, that of its first."""

    def start(camera: str) -> nn.Module:
        seen = policy.cameras.index(camera) if camera in policy.cameras else 0
        return for_camera(policy.encoder, seen)

    return start


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
