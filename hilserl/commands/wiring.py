"""What the commands that move an arm share: devices opened in the right order, and a bar that people can read."""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

import torch
from lerobot.robots import RobotConfig
from tqdm import tqdm

from classifier.detector import SuccessDetector
from data.schema import Episode, Outcome, Source
from data.spec import TaskSpec
from data.store.episode_store import EpisodeStore
from hilserl.commands.arguments import ArmArgs, ClassifierArgs
from hilserl.commands.page import page_beside
from hilserl.commands.preflight import preflight
from hilserl.loop.actor import Actor
from hilserl.loop.env import ArmEnv
from hilserl.loop.policy_runner import PolicyRunner
from hilserl.loop.slot import Slot, live_folder, mapped
from hilserl.loop.snapshot import PRESSES, SNAPSHOT, Snapshot
from hilserl.loop.window import Newest, Window
from hilserl.robot.arm import connect_arm
from hilserl.robot.cameras import open_cameras
from hilserl.robot.clock import STANDS_STILL_S, Clock, SharedClock, WallClock
from hilserl.robot.heartbeat import guarded
from hilserl.robot.lerobot_arm import LeRobotArm
from hilserl.runs import journal
from teleop.buttons import WithButtons
from teleop.inputs import Operator
from teleop.keyboard import KeyboardConfig
from teleop.page_buttons import SIZE, PageButtons, Presses

HANG_S = 5.0  # a control loop that sends nothing for this long hangs; the worst tick on busy cores was late by 0.1


@contextlib.contextmanager
def open_actor(
    args: ArmArgs,
    task: TaskSpec,
    *,
    policy: PolicyRunner | None = None,
    detector: SuccessDetector | None = None,
    keep_native: bool = False,
    seen_by: Callable[[Operator], Operator] = lambda operator: operator,
) -> Iterator[Actor]:
    """Open store, operator, arm and cameras, and close them whatever happens; the arm is left holding.

    The operator connects before the arm, so that nothing moves while nobody can stop it.
    """
    torch.set_num_threads(1)  # a batch of one gains nothing from more, and the learner needs the other core
    clock: Clock = WallClock() if args.clock is None else SharedClock(args.clock)
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(EpisodeStore.create_or_open(args.output_dir / "store", task))
        stack.enter_context(page_beside(args.ui, args.output_dir))
        operator = seen_by(with_page(connect_operator(args), args))
        stack.callback(operator.close)
        period_s = 1.0 / (task.rate_hz * task.inner_steps)
        arm = stack.enter_context(open_arm(args.robot, clock, args.output_dir, write_period_s=period_s))
        frames = stack.enter_context(open_cameras(args.robot.cameras))
        found = preflight(args, task, arm, frames) if args.preflight else ()
        env = ArmEnv(arm, frames, clock, task, keep_native=keep_native)
        window = open_window(args, task, frames, detector, arm.celsius)
        window.note(findings=tuple((f.what, f.words) for f in found))
        stack.callback(window.end)
        note = functools.partial(journal, args.output_dir)
        yield Actor(env, operator, store, policy=policy, detector=detector, window=window, journal=note)


def open_window(
    args: ArmArgs,
    task: TaskSpec,
    frames: Newest,
    detector: SuccessDetector | None,
    celsius: Callable[[], Mapping[str, int]],
) -> Window:
    """Return where the session shows itself to the page, if there is one."""
    if not args.ui.enabled:
        return Window()
    glyphs = {**args.teleop.glyphs(), **(args.buttons.glyphs() if args.buttons else {})}
    first = Snapshot(rate_hz=task.rate_hz, glyphs=glyphs)
    if detector is not None:
        first = replace(first, threshold=detector.calibration.threshold, hold=detector.calibration.hold)
    return Window(Slot(live_folder(args.output_dir) / SNAPSHOT), frames, task.observation.cameras, first, celsius)


def connect_operator(args: ArmArgs) -> Operator:
    """Open the person's device, and the buttons beside it; a device without any gets the keyboard's."""
    buttons = args.buttons or (None if args.teleop.has_buttons else KeyboardConfig())
    if buttons is None:
        return args.teleop.connect()
    with contextlib.ExitStack() as undo:
        beside = buttons.connect()
        undo.callback(beside.close)
        operator = WithButtons(args.teleop.connect(), beside)
        undo.pop_all()
    return operator


def with_page(operator: Operator, args: ArmArgs) -> Operator:
    """Return a device for which the page's buttons count, too."""
    if not args.ui.enabled:
        return operator
    return WithButtons(operator, PageButtons(Presses(memoryview(mapped(live_folder(args.output_dir) / PRESSES, SIZE)))))


@contextlib.contextmanager
def open_arm(robot: RobotConfig, clock: Clock, run: Path | None = None, **options: float) -> Iterator[LeRobotArm]:
    """Connect an arm with a torque guard beside it: the one way in which a command gets an arm.

    Options are those of `connect_arm`. A rig that is slower than time gives the guard more patience.
    """
    silence_s = HANG_S if isinstance(clock, WallClock) else STANDS_STILL_S + HANG_S
    port = getattr(robot, "port", "")  # a robot without one is refused by connect_arm
    with (
        guarded(port, silence_s, run) as heartbeat,
        connect_arm(robot, clock, heartbeat=heartbeat, **options) as arm,
    ):
        yield arm


def read_detector(args: ClassifierArgs, task: TaskSpec) -> SuccessDetector | None:
    """Load the success detector that was named, if any."""
    return None if args.path is None else SuccessDetector.load(args.path, task)


class EpisodeBar:
    """A progress bar over episodes with what a tired operator wants to know."""

    def __init__(self, title: str, total: int, already: int) -> None:
        self._title = title
        self._bar = tqdm(total=total, initial=already, desc=title, unit="ep")
        self._recent: deque[bool] = deque(maxlen=20)

    def __call__(self, episode: Episode) -> None:
        """Count one finished episode."""
        if episode.meta.outcome is Outcome.ABORTED:
            return
        self._recent.append(episode.meta.outcome is Outcome.SUCCESS)
        human = float((episode.source == Source.HUMAN).mean())
        self._bar.set_postfix_str(
            f"success {sum(self._recent)}/{len(self._recent)} of the last, human {human:.0%}, {len(episode)} steps"
        )
        self._bar.update()

    def say(self, words: str) -> None:
        """Show what happens or what is waited for, in front of the bar."""
        self._bar.set_description_str(f"{self._title}: {words}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
