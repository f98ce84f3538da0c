"""A run's numbers and episodes for those who have TensorBoard, wandb or rerun, written by a process of its own.

It reads the files that the run writes anyway, so it can neither slow nor stop what moves the arm, and it may run
afterwards. How far each copy got is kept in `curves.json`; what was written once is not written again.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from data.errors import UserError
from data.schema import Episode, Outcome, Source
from data.spec import TaskSpec
from data.store.commit_log import Commit
from data.store.reader import open_reader
from hilserl.runs import write_json
from hilserl.ui.attempts import KINDS

STATE = "curves.json"
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "rerun": "rerun"}  # name: what is imported


class Copy(Protocol):
    """Where numbers or episodes go."""

    def numbers(self, axis: str, at: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve; `axis` names what `at` counts: "updates" or "episodes"."""

    def episode(self, commit: Commit, task: TaskSpec) -> None:
        """Add a whole episode."""

    def close(self) -> None:
        """Write everything out."""


class TensorBoard:
    """Curves in RUN/tensorboard, for `tensorboard --logdir`."""

    def __init__(self, run: Path, _state: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(run / "tensorboard"))

    def numbers(self, axis: str, at: int, values: Mapping[str, float]) -> None:
        """Add points."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, at)

    def episode(self, commit: Commit, task: TaskSpec) -> None:
        """It shows numbers only."""

    def close(self) -> None:
        """Flush."""
        self._writer.close()


class Wandb:
    """Curves in RUN/wandb, offline unless the variable WANDB_MODE says otherwise; `wandb sync` sends them later."""

    def __init__(self, run: Path, state: dict[str, Any]) -> None:
        import wandb

        flags = run / "train.json"
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "hilserl"),
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]  # one of its modes
            id=state.setdefault("id", uuid.uuid4().hex[:12]),  # a resumed run goes on in the same curves
            resume="allow",
            name=run.absolute().name,
            dir=str(run),
            config=json.loads(flags.read_text()) if flags.exists() else {},
        )
        self._run.define_metric("*", step_metric="updates")
        self._run.define_metric("episode/*", step_metric="episodes")

    def numbers(self, axis: str, at: int, values: Mapping[str, float]) -> None:
        """Add points."""
        self._run.log({**values, axis: at})

    def episode(self, commit: Commit, task: TaskSpec) -> None:
        """It shows numbers only."""

    def close(self) -> None:
        """Flush."""
        self._run.finish()


class Rerun:
    """One recording per episode, RUN/rerun/000012.rrd, for `rerun FILE`: pictures, state, action, p(success), who."""

    def __init__(self, run: Path, _state: dict[str, Any]) -> None:
        self._folder, self._reader = run / "rerun", open_reader(run)
        self._folder.mkdir(exist_ok=True)

    def numbers(self, axis: str, at: int, values: Mapping[str, float]) -> None:
        """It shows episodes only."""

    def episode(self, commit: Commit, task: TaskSpec) -> None:
        """Write one recording, with the names that LeRobot gives things."""
        write_recording(self._reader.read(commit), task, self._folder / f"{commit.index:06d}.rrd")

    def close(self) -> None:
        """Nothing is open."""


def write_recording(episode: Episode, task: TaskSpec, path: Path) -> None:
    """Write an episode as a rerun recording; its timelines are the frame and the time since its start."""
    import rerun

    recording = rerun.RecordingStream("hilserl", recording_id=episode.meta.uuid)
    recording.save(path)
    for frame, stamp_s in enumerate(episode.stamp_s):
        recording.set_time("frame", sequence=frame)
        recording.set_time("time", duration=float(stamp_s - episode.stamp_s[0]))
        for camera, images in episode.images.items():
            recording.log(f"observation.images.{camera}", rerun.Image(images[frame]).compress())
        first = 0
        for field in task.observation.state:
            values = episode.state[frame, first : first + field.size]
            recording.log(f"observation.state.{field.name}", rerun.Scalars(values.astype(float)))
            first += field.size
        if frame < len(episode):
            for name, value in zip(task.action.names, episode.executed[frame], strict=True):
                recording.log(f"action.{name}", rerun.Scalars(float(value)))
            recording.log("who", rerun.TextLog(Source(int(episode.source[frame])).name.lower()))
        if frame and math.isfinite(episode.p_success[frame - 1]):  # it belongs to the frame that a step led to
            recording.log("p_success", rerun.Scalars(float(episode.p_success[frame - 1])))
    recording.log("outcome", rerun.TextLog(f"{episode.meta.kind}: {episode.meta.outcome}"))
    recording.flush()
    recording.disconnect()


COPIES: Mapping[str, Callable[[Path, dict[str, Any]], Copy]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "rerun": Rerun,
}


def read_names(text: str) -> list[str]:
    """Return the copies that "tensorboard,wandb" asks for; [] for "".

    Raises:
        UserError: one is unknown, or its package is not installed; says how to.
    """
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in COPIES:
            raise UserError(f"curves for {name!r}; accepted are {', '.join(COPIES)}, or several: tensorboard,rerun")
        if importlib.util.find_spec(PACKAGES[name]) is None:
            raise UserError(
                f"{name} is not installed. Install and run: uv run --extra {name} hilserl ... "
                "Without it, metrics.jsonl and `hilserl report` have the same numbers."
            )
    return names


class Curves:
    """Copies of one run, brought up to date by `update`; a context manager."""

    def __init__(self, run: Path, names: Iterable[str]) -> None:
        """Go on where the copies of these names ended."""
        self._run, path = run, run / STATE
        self._state: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
        self._copies = {name: COPIES[name](run, self._state.setdefault(name, {})) for name in names}

    def update(self) -> None:
        """Copy what is new."""
        before = json.dumps(self._state)
        for name, copy in self._copies.items():
            state = self._state[name]
            self._numbers(copy, state)
            self._episodes(copy, state)
        if json.dumps(self._state) != before:
            write_json(self._run / STATE, self._state)

    def __enter__(self) -> Curves:
        return self

    def __exit__(self, *_: object) -> None:
        for copy in self._copies.values():
            copy.close()

    def _numbers(self, copy: Copy, state: dict[str, Any]) -> None:
        path = self._run / "metrics.jsonl"
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(state.get("bytes", 0))
            fresh = file.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        for line in whole.splitlines():
            row = json.loads(line)
            if "updates" in row:
                copy.numbers("updates", row["updates"], _finite(row))
        state["bytes"] = state.get("bytes", 0) + len(whole)

    def _episodes(self, copy: Copy, state: dict[str, Any]) -> None:
        if not (self._run / "store").exists():
            return
        reader = open_reader(self._run)
        for commit in reader.tail(state.get("last", -1)):
            state["last"] = commit.index
            copy.episode(commit, reader.spec)
            if commit.kind in KINDS and commit.outcome != Outcome.ABORTED:
                state["episodes"] = state.get("episodes", 0) + 1
                copy.numbers("episodes", state["episodes"], _of(commit, reader.spec))


def _finite(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a row that can be drawn."""
    numbers = {k: v for k, v in row.items() if isinstance(v, int | float) and k not in ("unix_s", "updates")}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def _of(commit: Commit, task: TaskSpec) -> dict[str, float]:
    success = float(commit.outcome == Outcome.SUCCESS)
    alone = {} if commit.kind == "online" else {"episode/untouched_success": success}
    share = commit.human_steps / commit.steps
    return {"episode/success": success, "episode/human_share": share, "episode/s": commit.steps / task.rate_hz} | alone
