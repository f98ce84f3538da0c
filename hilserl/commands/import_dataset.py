"""`hilserl import`: a LeRobot v3 dataset on this disk becomes episodes of a run.

Two kinds are understood. Datasets whose actions are those of the task, as `hilserl export` writes them, are taken as
they are. Joint-space datasets of an SO-101 (`lerobot-record`; body joints in degrees, gripper 0 to 100) are converted:
the commanded joints become end-effector deltas, resampled to the task's rate, and what the deltas cannot say is
reported for every episode. A recording made with use_degrees=False has other units and cannot be told from one with
degrees: if nearly all of it is outside the workspace, that is why.

With --kind=labels the episodes are for the success classifier: kept whole, and where `next.reward` is 1 (or
`next.success` true) they are marked, as if a person had marked them; `hilserl label` shows and changes it.

Everything but the images is checked before the first episode is written, and an episode appears whole or not at all.
Importing again adds only what is not there yet, also after an interruption.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import UserError
from hilserl.flags import parse_flags

if TYPE_CHECKING:
    from data.lerobot_io.episode import Draft
    from data.lerobot_io.read import LeRobotFolder
    from data.schema import EpisodeMeta
    from data.spec import TaskSpec


@dataclass(frozen=True)
class ImportArgs:
    """`hilserl import`: a LeRobot v3 dataset on this disk becomes episodes of a run; twice adds nothing."""

    root: Path  # folder of the dataset, as LeRobot's --dataset.root; nothing is downloaded
    output_dir: Path  # run directory; its store is created when it has none
    repo_id: str = ""  # name of the dataset in the notes of the episodes; default: the folder's
    # what the episodes are for; those of our own exports keep theirs. labels: for the classifier, whole and marked
    kind: str = "demo"
    # --successful: every episode ends in success; --successful=false: none does. Left out, the dataset's next.success
    # or next.reward (1 is success, else 0) decides and the episode ends there; a dataset that has neither is refused.
    successful: bool | None = None
    cameras: dict[str, str] = field(default_factory=dict)  # "{wrist: observation.images.arm, front: ...}"
    task: str | None = (
        None  # lift, bowl, paper or a task spec as JSON; none: the run's, else the dataset's own, else the lift task
    )


def main(argv: Sequence[str]) -> int:
    """Check, convert, report, store."""
    args = parse_flags(ImportArgs, argv)
    from tqdm import tqdm

    from data.lerobot_io.episode import find_cameras, require_own, with_images
    from data.lerobot_io.read import ACTION, LeRobotFolder
    from data.store.annotations import Annotations
    from data.store.episode_store import EpisodeStore

    folder = LeRobotFolder(args.root)
    spec = choose_spec(args, folder)
    cameras = find_cameras(folder, spec, args.cameras)
    own = tuple(folder.names(ACTION)) == spec.action.names
    if own:
        require_own(folder, spec)
    drafts = unique(own_drafts(args, folder, spec) if own else joint_drafts(args, folder, spec))
    with EpisodeStore.create_or_open(args.output_dir / "store", spec) as store:
        held, notes = {c.uuid for c in store.commits()}, Annotations(store.path)
        news = [d for d in drafts if d.episode.meta.uuid not in held]
        for draft in tqdm(news, desc="importing", unit="ep", leave=False):
            episode = with_images(draft, folder, cameras, cropped=own)
            if draft.success is not None:  # first, so that no interruption leaves an episode without its labels
                notes.relabel(episode.meta.uuid, draft.success, f"import of {folder.root.name}")
            store.append(episode)
    outcomes = Counter(str(d.episode.meta.outcome) for d in news)
    outcomes["with marked success"] = sum(bool(d.success) for d in news)
    print(
        f"{args.output_dir}: {len(news)} episodes added, {sum(len(d.episode) for d in news)} steps"
        + (f" ({', '.join(f'{n} {outcome}' for outcome, n in outcomes.items() if n)})" if news else "")
        + f"; {len(drafts) - len(news)} were there already, {len(folder) - len(drafts)} too short for a step"
    )
    return 0


def choose_spec(args: ImportArgs, folder: LeRobotFolder) -> TaskSpec:
    """Return the task that the episodes are for: `--task`, or the run's, or the dataset's own, or the lift task."""
    from data.store.store_folder import read_store_json
    from hilserl.tasks import lift_task, read_task

    if args.task is not None:
        return read_task(args.task)
    store = args.output_dir / "store"
    if (store / "store.json").exists():
        return read_store_json(store)
    return folder.spec or lift_task()


def own_drafts(args: ImportArgs, folder: LeRobotFolder, spec: TaskSpec) -> Iterator[Draft]:
    """Yield the episodes of a dataset in the task's own action space."""
    from data.lerobot_io.episode import content_uuid, own_draft

    for number in range(len(folder)):
        meta = new_meta(args, spec, number, content_uuid(folder.columns(number)))
        if draft := own_draft(folder, number, spec, meta, args.successful):
            yield draft


def joint_drafts(args: ImportArgs, folder: LeRobotFolder, spec: TaskSpec) -> Iterator[Draft]:
    """Yield the episodes of a joint-space dataset, and print what the conversion cost each of them."""
    import numpy as np

    from data.lerobot_io.episode import Draft, content_uuid, episode_without_images, judged, marks_at
    from data.lerobot_io.read import ACTION, STATE
    from data.schema import Source
    from hilserl.loop.retarget import JOINT_NAMES, retarget, sample_rows, to_rad

    names = {key: folder.names(key) for key in (ACTION, STATE)}
    for key, found in names.items():
        if missing := [n for n in JOINT_NAMES if n not in found]:
            raise UserError(
                f"{folder.root}: {key} has no {', '.join(missing)}; it has {', '.join(found)}.\nAccepted are the six "
                f"joints of an SO-101 ({', '.join(JOINT_NAMES)}), or the task's own actions "
                f"({', '.join(spec.action.names)})."
            )
    ratio = folder.fps / spec.rate_hz
    print(
        f"{folder.root}: {folder.fps:g} frames/s to {spec.rate_hz:g} Hz, "
        + (f"1 frame of {ratio:g}" if ratio.is_integer() else "the nearest frame, up to half a frame off")
    )
    for number in range(len(folder)):
        columns = folder.columns(number)
        measured, goals = (to_rad(columns[k][:, [names[k].index(n) for n in JOINT_NAMES]]) for k in (STATE, ACTION))
        end, outcome, shown = judged(columns, args.kind, args.successful)
        rows = sample_rows(end, folder.fps, spec.rate_hz)
        if len(rows) < 2:
            continue
        # Frame r was seen before its own action was sent: in force was the action of the frame before.
        state, executed, residual = retarget(measured[rows], goals[rows[1:] - 1], rows / folder.fps, spec)
        meta = new_meta(args, spec, number, content_uuid(columns))
        notes = {
            **meta.notes,
            "residual_mean_m": float(residual.error_m.mean()),
            "residual_max_m": float(residual.error_m.max()),
            "saturated_share": float(residual.saturated.mean()),
            "outside_share": float(residual.outside.mean()),
        }
        print(f"  episode {number}: {len(executed)} steps, {residual}")
        source = np.full(len(executed), Source.HUMAN)
        meta = replace(meta, outcome=outcome, notes=notes)
        episode = episode_without_images(state, executed, rows / folder.fps, source, meta)
        yield Draft(number, rows.tolist(), episode, success=None if shown is None else marks_at(shown, rows))


def new_meta(args: ImportArgs, spec: TaskSpec, number: int, uuid: str) -> EpisodeMeta:
    """Return the meta of an episode that we did not record ourselves."""
    from data.schema import EpisodeMeta, Outcome

    name = args.repo_id or args.root.absolute().name
    return EpisodeMeta(
        outcome=Outcome.TIMEOUT,
        kind=args.kind,
        spec_fingerprint=spec.fingerprint,
        uuid=uuid,
        session=f"import {name}",
        notes={"dataset": name, "dataset_episode": number},
    )


def unique(drafts: Iterator[Draft]) -> list[Draft]:
    """Return the drafts with different uuids: equal recordings are numbered, so that none is lost."""
    seen: Counter[str] = Counter()
    found: list[Draft] = []
    for draft in drafts:
        meta = draft.episode.meta
        uuid = meta.uuid
        if seen[uuid]:
            episode = replace(draft.episode, meta=replace(meta, uuid=f"{uuid}-{seen[uuid]}"))
            draft = replace(draft, episode=episode)
        seen[uuid] += 1
        found.append(draft)
    return found
