"""`hilserl eval`: untouched episodes from fixed starts, judged, with their interval; two policies side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from data.errors import UserError
from data.film import film
from data.schema import Outcome
from data.spec import TaskSpec
from data.store.reader import AnnotatedReader, open_reader
from hilserl.agents.policy_file import load_policy
from hilserl.commands.arguments import EvalArgs, parse
from hilserl.commands.wiring import EpisodeBar, open_actor, read_detector
from hilserl.loop.learner import KINDS
from hilserl.loop.policy_runner import PolicyRunner
from hilserl.loop.session import SessionConfig
from hilserl.loop.witness import ASK, Witness, read_verdicts
from hilserl.runs import TENSORS, find_checkpoint, write_json
from hilserl.ui.attempts import read_truth
from hilserl.ui.coverage import fixed, in_words
from hilserl.ui.evaluation import Evaluated, Trial, table, to_json, worst_first
from hilserl.ui.guide import FILE
from teleop.inputs import Operator, Prompt


@dataclass(frozen=True)
class Side:
    """One of the policies to evaluate."""

    name: str  # kind of its episodes
    path: Path
    runner: PolicyRunner
    driver: str  # what names its weights, and how they act


def main(argv: Sequence[str]) -> int:
    """Run the episodes without take-overs, judge them, print the table, and keep it with films in the run."""
    args = parse(EvalArgs, argv)
    task = args.read_task()
    sides = list(read_sides(args, task))
    for side in sides:
        require_free_name(args, side)
    folder = args.output_dir / "evaluations" / args.name
    folder.mkdir(parents=True, exist_ok=True)
    run_episodes(args, task, sides, folder)
    reader = open_reader(args.output_dir)
    results = [evaluated(reader, side, args, folder) for side in sides]
    print(table(results))
    write_json(folder / "result.json", to_json(results))
    for result, side in zip(results, sides, strict=True):
        write_films(reader, result, folder, side.name, args.films)
    print(f"kept in {folder}")
    return 0


def read_sides(args: EvalArgs, task: TaskSpec) -> Iterator[Side]:
    """Yield the policy, and the one it is compared with, if any."""
    named = [(args.name, args.policy.path)]
    named += [(f"{args.name}-against", args.against.path)] if args.against else []
    for name, path in named:
        weights = find_checkpoint(path) / TENSORS
        driver = hashlib.sha256(weights.read_bytes()).hexdigest()[:16] + ("-sampled" if args.stochastic else "")
        yield Side(name, path, PolicyRunner(load_policy(path, task).policy, args.seed), driver)


def run_episodes(args: EvalArgs, task: TaskSpec, sides: Sequence[Side], folder: Path) -> None:
    """Fill the store up with `args.episodes` of each side; two sides take turns, so that both meet the same day."""
    witnesses: list[Witness] = []

    def beside(operator: Operator) -> Operator:
        if not args.verdict:
            return operator
        witnesses.append(Witness(operator, folder / "verdicts.jsonl"))
        return witnesses[-1]

    with open_actor(
        args, task, policy=sides[0].runner, detector=read_detector(args.classifier, task), seen_by=beside
    ) as actor:
        total = len(sides) * args.episodes
        already = sum(min(args.episodes, actor.count(side.name)) for side in sides)
        with EpisodeBar("untouched", total, already) as bar:
            for number, side in turns(sides, args.episodes):
                session = SessionConfig(
                    kind=side.name,
                    episodes=number + 1,
                    explore=args.stochastic,
                    give_up_s=args.give_up_s,
                    notes={"policy": side.driver},
                    seed=args.seed,
                    series=args.episodes,
                )
                actor.use(side.runner)
                actor.run(session, bar, say=with_place(bar.say, number, args))
            for witness in witnesses:
                witness.ask_last(bar.say, args.give_up_s)


def turns(sides: Sequence[Side], episodes: int) -> Iterator[tuple[int, Side]]:
    """Yield each start for each side; who begins changes from start to start, so that no order favours one."""
    for number in range(episodes):
        yield from ((number, side) for side in (sides if number % 2 == 0 else reversed(sides)))


def with_place(say: Callable[[str], None], number: int, args: EvalArgs) -> Callable[[str], None]:
    """Return `say`, which also says where the object belongs for this start."""

    def both(words: str) -> None:
        if words == Prompt.PLACE_OBJECT and args.coverage.prompts:
            target = fixed(args.coverage, number)
            asks = f"{ASK}; " if args.verdict and number else ""
            place = {**target._asdict(), "words": f"{asks}{in_words(target)}"}
            write_json(args.output_dir / FILE, {"hints": [], "place": place})  # for the page
            words = f"{asks}{words}, {in_words(target)}"
        say(words)

    return both


def evaluated(reader: AnnotatedReader, side: Side, args: EvalArgs, folder: Path) -> Evaluated:
    """Return what the store, the person and, on an emulated rig, the simulator say about a side's episodes."""
    rig: Path | None = getattr(args.teleop, "rig", None)
    truth = read_truth(rig / "truth.jsonl") if rig else {}
    person = read_verdicts(folder / "verdicts.jsonl")
    trials = []
    counted = [c for c in reader.commits(side.name) if c.outcome != Outcome.ABORTED][: args.episodes]
    for commit in counted:
        verdicts = {"classifier" if commit.detector_version else "button": commit.outcome == Outcome.SUCCESS}
        verdicts |= {judge: by[commit.uuid] for judge, by in (("simulator", truth), ("person", person))
                     if commit.uuid in by}  # fmt: skip
        number = int(commit.notes["index"])
        trials.append(Trial(number, commit.index, commit.steps / reader.spec.rate_hz, verdicts))
    return Evaluated(str(side.path), tuple(trials))


def write_films(reader: AnnotatedReader, result: Evaluated, folder: Path, name: str, count: int) -> None:
    """Film the episodes that are most worth watching: who drives, p(success), how it ended and who says so."""
    chosen = worst_first(result)[:count]
    for trial in tqdm(chosen, desc=f"films of {result.policy}", unit="film", disable=not chosen):
        said = " · ".join(f"{judge} {'yes' if won else 'no'}" for judge, won in trial.verdicts.items())
        path = folder / f"{name}-start-{trial.number:03d}.mp4"
        film(reader.read(trial.episode), f"start {trial.number} · {said}", path, reader.spec.rate_hz, lambda _: None)


def require_free_name(args: EvalArgs, side: Side) -> None:
    """Refuse a name under which the store holds training data, labels, or another policy's evaluation."""
    if side.name in (*KINDS, "labels"):
        raise UserError(f"--name={args.name} is taken by training or label episodes; choose another, e.g. --name=eval")
    store = args.output_dir / "store"
    commits = open_reader(store).commits(side.name) if (store / "store.json").exists() else []
    if any(c.notes.get("policy") != side.driver for c in commits):
        raise UserError(
            f"{store} holds {len(commits)} episodes named {side.name!r} of another policy (or of earlier weights). "
            f"Keep them apart: --name={args.name}-2"
        )
