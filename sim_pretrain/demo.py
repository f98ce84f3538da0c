"""`hilserl demo`: the whole loop on an emulated SO-101, through the commands a person would type."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import draccus

from data.errors import UserError
from hilserl.commands.page import page_beside
from hilserl.commands.processes import start, stop
from hilserl.flags import parse_flags
from hilserl.runs import write_json
from hilserl.ui.address import UiArgs
from sim_pretrain.demo_report import write_report
from sim_pretrain.rig.client import arm_flags
from sim_pretrain.world.profile import HardWorld, RealWorld, WorldProfile, read_profile

CHECKPOINT = Path(__file__).parent / "checkpoints" / "lift"
RIG_START_S = 60.0


@dataclass(frozen=True)
class DemoArgs:
    """Flags of `hilserl demo`."""

    output_dir: Path = Path("runs/demo")  # everything the demo writes
    quick: bool = False  # the same stages with a handful of episodes, as a smoke run
    resume: bool = False  # go on where an interrupted demo in output_dir stopped
    hard: bool = False  # a table further from the simulation, and a clumsy operator; give it --episodes=120
    gap: bool = True  # --gap=false: the emulated arm is exactly the training simulation
    profile: RealWorld = field(default_factory=RealWorld)  # the emulated "real" world
    profile_json: Path | None = None  # read the profile from this file instead
    policy: Path = CHECKPOINT  # simulation-pretrained policy to start from
    time_scale: float = 4.0  # simulated seconds per second at most; a busy machine runs slower, not differently
    evaluations: int = 50  # untouched episodes before and after
    labels: int = 30  # labelled episodes for the classifier
    baseline: int = 20  # untouched episodes that start the training
    episodes: int = 60  # operated episodes
    seed: int = 0
    ui: UiArgs = field(default_factory=UiArgs)


@dataclass(frozen=True)
class Stage:
    """One stage of the demo, and the sentence that announces it."""

    name: str
    says: str
    run: Callable[[], None]


QUICK = {"evaluations": 4, "labels": 12, "baseline": 3, "episodes": 5}


def main(argv: Sequence[str]) -> int:
    """Run or resume all stages and print the table."""
    args = parse_flags(DemoArgs, argv)
    run, begun = args.output_dir, args.output_dir / "demo.json"
    if begun.exists() and not args.resume:
        raise UserError(
            f"{run} holds a demo already. Go on with it: hilserl demo --resume --output_dir={run}; "
            "or start another: --output_dir=runs/NAME"
        )
    if begun.exists():  # the same demo: its own flags count, not today's
        args = replace(draccus.decode(DemoArgs, json.loads(begun.read_text())), output_dir=run, resume=True, ui=args.ui)
    write_json(begun, draccus.encode(args))
    sizes = {k: QUICK[k] if args.quick else getattr(args, k) for k in QUICK}
    done, minutes = _read_stages(run)
    with page_beside(args.ui, run), _rig(args) as rig:
        for number, stage in enumerate(_stages(args, rig, sizes), 2):
            if stage.name in done:
                continue
            print(f"\n[{number}/5] {stage.says}", flush=True)
            started_s = time.monotonic()
            try:
                stage.run()
                done.append(stage.name)
            except KeyboardInterrupt:
                print(f"\nGo on with: hilserl demo --resume --output_dir={run}", flush=True)
                raise
            finally:  # what an interrupted stage took counts too
                minutes[stage.name] = minutes.get(stage.name, 0.0) + (time.monotonic() - started_s) / 60
                write_json(run / "stages.json", {"done": done, "minutes": minutes})
    print("\n" + write_report(run, sizes, minutes))
    return 0


def _stages(args: DemoArgs, rig: Path, sizes: dict[str, int]) -> Iterator[Stage]:
    run = args.output_dir
    person = "clumsy" if args.hard else "scripted"
    arm = [*arm_flags(rig), f"--output_dir={run}", f"--teleop.type={person}", f"--teleop.rig={rig}"]
    arm.append(f"--ui.enabled={args.ui.enabled}")
    trained = [f"--classifier.path={run / 'classifier'}"]

    def seeds(seed: int) -> list[str]:
        return [f"--seed={seed}", f"--teleop.seed={seed}"]

    watch = [*arm, *seeds(args.seed + 1000), "--teleop.plays=watch", f"--episodes={sizes['evaluations']}", "--films=0"]
    before = ["--teleop.presses_success=true", "--name=eval-before", f"--policy.path={args.policy}"]
    yield Stage(
        "before",
        f"Before: the simulation policy drives the emulated arm untouched, {sizes['evaluations']} episodes.",
        lambda: _must(["eval", *watch, *before], run),
    )
    yield Stage(
        "classifier",
        f"Labels: the operator drives {sizes['labels']} episodes and holds Success while the cube is up; "
        "the classifier learns from it.",
        lambda: _teach([*arm, *seeds(args.seed), "--teleop.plays=show"], args, sizes["labels"]),
    )
    training = [
        f"--policy.path={args.policy}",
        f"--episodes={sizes['episodes']}",
        f"--learner.baseline_episodes={sizes['baseline']}",
        f"--learner.critic_updates={200 if args.quick else 1000}",
        f"--learner.seed={args.seed}",
        "--learner.check_every=0",  # the evaluation after it says more
        f"--resume={args.resume}",
    ]
    yield Stage(
        "training",
        f"Training: {sizes['baseline']} untouched episodes, then {sizes['episodes']} with the operator at hand; "
        "the classifier is the only reward.",
        lambda: _must(["train", *arm, *seeds(args.seed), "--teleop.plays=help", *trained, *training], run),
    )
    yield Stage(
        "after",
        f"After: the trained policy drives untouched, the same {sizes['evaluations']} starts.",
        lambda: _must(["eval", *watch, *trained, "--name=eval-after", f"--policy.path={run}"], run),
    )


def _teach(record: list[str], args: DemoArgs, labels: int) -> None:
    """Record labelled episodes and train the classifier; record more when it says that they do not suffice."""
    train = ["classifier", "train", f"--output_dir={args.output_dir}", f"--seed={args.seed}", f"--quick={args.quick}"]
    for count in (labels, labels + labels // 2):
        _must(["record", *record, "--keep_native=false", f"--episodes={count}"], args.output_dir)
        if _run(train) == 0:
            return
        print(f"The operator records more labelled episodes, {labels // 2} at a time.", flush=True)
    _must(["record", *record, "--keep_native=false", f"--episodes={2 * labels}"], args.output_dir)
    _must(train, args.output_dir)


def world_of(args: DemoArgs) -> WorldProfile:
    """Return the emulated world that the flags ask for; a resumed demo keeps its own.

    Raises:
        UserError: they contradict each other, or the file of the profile does not fit.
    """
    kept = args.output_dir / "profile.json"
    if args.resume and kept.exists():  # the same world, whatever became of the file it was read from
        return read_profile(kept, WorldProfile)
    changed = {f.name: getattr(args.profile, f.name) for f in fields(RealWorld)}
    changed = {name: value for name, value in changed.items() if value != getattr(RealWorld(), name)}
    if not args.gap and (changed or args.hard or args.profile_json is not None):
        raise UserError("--gap=false means no difference; leave out --profile... and --hard, or leave out --gap=false")
    real = HardWorld if args.hard else RealWorld
    if args.profile_json is not None:
        return read_profile(args.profile_json, real)
    return replace(real(), **changed) if args.gap else WorldProfile()


@contextlib.contextmanager
def _rig(args: DemoArgs) -> Iterator[Path]:
    """Start the emulated rig and wait until it is ready; stop it at the end."""
    directory = (args.output_dir / "rig").resolve()
    profile = write_json(args.output_dir / "profile.json", draccus.encode(world_of(args)))
    print(f"[1/5] The emulated SO-101 starts: servo bus on a pseudo-terminal, two cameras, time x{args.time_scale:g}.")
    (directory / "rig.json").unlink(missing_ok=True)
    log = args.output_dir / "rig.log"
    command = [
        "rig",
        f"--directory={directory}",
        f"--time_scale={args.time_scale}",
        f"--profile_json={profile}",
    ]
    rig = start([*command, f"--seed={args.seed}"], log)
    try:
        deadline_s = time.monotonic() + RIG_START_S
        while not (directory / "rig.json").exists():
            if rig.poll() is not None or time.monotonic() > deadline_s:
                raise UserError(f"the emulated rig did not start; its last words:\n{_tail(log)}")
            time.sleep(0.05)
        yield directory
    finally:
        stop(rig)


def _run(command: list[str]) -> int:
    """Run one `hilserl` command to its end and return its status."""
    process = start(command)
    try:
        return process.wait()
    finally:
        stop(process)


def _must(command: list[str], run: Path) -> None:
    """Run one `hilserl` command that the demo cannot go on without."""
    status = _run(command)
    if status != 0:
        raise UserError(
            f"`hilserl {command[0]}` ended with status {status}; everything recorded so far is kept. "
            f"Go on with: hilserl demo --resume --output_dir={run}"
        )


def _read_stages(run: Path) -> tuple[list[str], dict[str, float]]:
    """Return the finished stages, and the minutes that each stage took so far."""
    path = run / "stages.json"
    if not path.exists():
        return [], {}
    stages = json.loads(path.read_text())
    return stages["done"], stages["minutes"]


def _tail(log: Path, lines: int = 8) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(nothing)"
