"""Films of evaluation episodes, the worst first: what the policy saw, what happened, and what the reward made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from data.film import DPI, FAINT, INK, SUCCESS
from data.labels import from_mask
from data.schema import Observation
from sim_pretrain.episodes.evaluation import Acts, Evaluation, play
from sim_pretrain.episodes.rollout import Phase, Rollout
from sim_pretrain.task.env import SimEnv
from sim_pretrain.task.tasks import LIFT_HEIGHT_M, SimTask

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

Dash = Literal["-", "--", ":"]

# Okabe and Ito (2008): told apart with any colour vision. Every second round is dashed; names stand beside the lines.
LINES = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
DASHES: tuple[Dash, ...] = ("-", "--", ":")
WORDS: Mapping[Phase, str] = {
    Phase.SUCCESS: "success",
    Phase.MISSED: "missed: never had the cube in the hand",
    Phase.SLIPPED: "slipped: had the cube in the hand and let go of it",
    Phase.BELOW: "below: still holds the cube, short of the goal",
    Phase.LOST: "lost: the cube fell off or lies out of reach",
}
WIDE = 3.0  # rewards beyond this are drawn on a logarithmic scale, so that a bonus does not flatten the rest
PIXELS = (1280, 720)
FRONT = "front"
LEFT, RIGHT = 0.055, 0.70  # of the timelines


@dataclass(frozen=True)
class Watched:
    """One episode and what a film of it shows besides: T steps, T + 1 frames."""

    run: Rollout
    seed: int
    views: Mapping[str, np.ndarray]  # {title: uint8 [T+1, H, W, 3]}
    height_m: np.ndarray  # float64 [T+1], of the cube's centre
    in_hand: np.ndarray  # bool [T+1]
    held_s: np.ndarray  # float64 [T+1], for how long the goal has been reached


def films(
    env: SimEnv,
    policy: Acts,
    evaluation: Evaluation,
    folder: Path,
    count: int = 3,
    progress: Callable[[int], Any] = lambda _: None,
) -> list[Path]:
    """Play the worst `count` episodes of an evaluation again, and film them; return the films, worst first.

    Equal seeds make them the evaluated episodes, as long as `env` and `policy` are.

    Args:
        env: as it was evaluated.
        policy: as it was evaluated.
        evaluation: names the seeds.
        folder: made when absent; films of the same name are replaced.
        count: how many at most.
        progress: called with 1 after each film.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for place, episode in enumerate(evaluation.worst_first()[:count], start=1):
        watched = watch(env, policy, episode.seed)
        path = folder / f"{place:02d}-{watched.run.phase}-seed-{episode.seed}.mp4"
        film(watched, env.task, path)
        paths.append(path)
        progress(1)
    return paths


def watch(env: SimEnv, policy: Acts, seed: int) -> Watched:
    """Play one greedy episode as `evaluation.play` does, and look at it from the front as well."""
    seen: list[tuple[np.ndarray, float, bool, float]] = []

    def note(held_s: float) -> None:
        seen.append((env.world.render(FRONT), env.truth.cube_m[2], env.truth.grasped, held_s))

    class Noting:
        def begin(self) -> None:
            getattr(policy, "begin", lambda: None)()

        def act(self, observation: Observation) -> np.ndarray:
            note(env.state.held_s if seen else 0.0)
            return policy.act(observation)

    run = play(env, Noting(), seed)
    note(env.state.held_s)
    front, height_m, in_hand, held_s = (np.array(column) for column in zip(*seen, strict=True))
    cameras = env.task.spec.observation.policy_cameras
    views = {f"{camera} camera, as the policy sees it": run.episode.images[camera] for camera in cameras}
    return Watched(run, seed, views | {FRONT: front}, height_m, in_hand, held_s)


def film(watched: Watched, task: SimTask, path: Path) -> None:
    """Write an MP4 (H.264, plays in a browser) at the task's rate, one picture per frame; the last stays for 1 s."""
    import av

    picture = Picture(watched, task)
    frames, rate = len(watched.height_m), round(task.spec.rate_hz)
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream: Any = container.add_stream("libx264", rate=rate)
        stream.width, stream.height = PIXELS
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "20", "preset": "veryfast"}
        for frame in range(frames):
            drawn = av.VideoFrame.from_ndarray(picture.at(frame), format="rgb24")
            for _ in range(rate if frame == frames - 1 else 1):
                container.mux(stream.encode(drawn))
        container.mux(stream.encode())


class Picture:
    """The picture of one episode: drawn once, of which only what moves is drawn again for each frame."""

    def __init__(self, watched: Watched, task: SimTask) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._watched, self._task = watched, task
        self._figure = Figure((PIXELS[0] / DPI, PIXELS[1] / DPI), dpi=DPI, facecolor="white")
        self._canvas = FigureCanvasAgg(self._figure)
        self._terms = _terms(watched.run)
        self._moving: list[Artist] = []
        self._heading()
        self._images = self._show_views()
        self._cursors = [
            self._keep(axes.axvline(0, color=INK, linewidth=1.5)) for axes in (self._rewards(), *self._below())
        ]
        self._now = self._keep(self._figure.text(0.735, 0.885, "", fontsize=12, color=INK, va="top", linespacing=1.7))
        self._values = self._key()
        for artist in self._moving:
            artist.set_animated(True)
        self._canvas.draw()
        self._still = self._canvas.copy_from_bbox(self._figure.bbox)

    def at(self, frame: int) -> np.ndarray:
        """Return the picture of one frame, uint8 [720, 1280, 3]."""
        for image, pixels in self._images:
            image.set_data(pixels[frame])
        for cursor in self._cursors:
            cursor.set_xdata([frame, frame])
        self._now.set_text(self._words(frame))
        for text, values in zip(self._values, self._terms.values(), strict=True):
            text.set_text(f"{round(values[frame - 1], 3) + 0.0:.3f}" if frame else "")  # + 0: never "-0.000"
        self._canvas.restore_region(self._still)  # type: ignore[attr-defined]
        for artist in self._moving:
            self._figure.draw_artist(artist)
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()

    def _keep(self, artist: Any) -> Any:
        self._moving.append(artist)
        return artist

    def _heading(self) -> None:
        run, task = self._watched.run, self._task
        title = f"{task.name} · {WORDS[run.phase]}"
        facts = f"seed {self._watched.seed} · {len(run.episode)} steps · highest {100 * run.max_height_m:.1f} cm · "
        facts += f"return {run.episode.reward.sum():.2f}"
        self._figure.text(0.02, 0.962, title, fontsize=15, weight="bold", color=INK, va="center")
        self._figure.text(0.98, 0.962, facts, fontsize=10, color=INK, va="center", ha="right")

    def _show_views(self) -> list[tuple[Any, np.ndarray]]:
        """Put the views side by side; the front view is smoothed, the policy's are not: it sees these pixels."""
        images, left = [], 0.02
        aspects = [pixels.shape[2] / pixels.shape[1] for pixels in self._watched.views.values()]
        height = min(0.44, (RIGHT - left) / sum(aspects) * PIXELS[0] / PIXELS[1])
        for (title, pixels), aspect in zip(self._watched.views.items(), aspects, strict=True):
            width = height * aspect * PIXELS[1] / PIXELS[0]
            axes = self._figure.add_axes((left, 0.885 - height, width, height), xticks=[], yticks=[])
            smooth: Literal["bilinear", "nearest"] = "bilinear" if title == FRONT else "nearest"
            images.append((self._keep(axes.imshow(pixels[0], interpolation=smooth)), pixels))
            axes.set_title(title, fontsize=10, color=INK, pad=4, loc="left")
            left += width + 0.015
        return images

    def _rewards(self) -> Axes:
        axes = self._timeline((LEFT, 0.225, RIGHT - LEFT, 0.185), "reward")
        for (_, values), (colour, dash) in zip(self._terms.items(), _styles(self._terms), strict=True):
            axes.plot(np.arange(1, len(values) + 1), values, color=colour, linestyle=dash, linewidth=1.8)
        if max(np.nanmax(np.abs(v)) for v in self._terms.values()) > WIDE:
            axes.set_yscale("symlog", linthresh=1.0)
            axes.yaxis.set_major_formatter("{x:g}")
        axes.margins(y=0.12)
        axes.set_xticklabels([])
        return axes

    def _below(self) -> tuple[Axes, Axes]:
        seen = self._watched
        height = self._timeline((LEFT, 0.135, RIGHT - LEFT, 0.075), "cube, cm")
        height.plot(100 * seen.height_m, color=INK, linewidth=1.8)
        height.set_ylim(0, max(12.0, 110 * seen.height_m.max()))
        height.set_xticklabels([])
        if self._task.prop is None:
            height.axhline(100 * LIFT_HEIGHT_M, color=FAINT, linestyle=":", linewidth=1.5)
            height.text(
                1.005, 100 * LIFT_HEIGHT_M, "goal", transform=height.get_yaxis_transform(), fontsize=9, va="center"
            )
        for mask, colour, alpha in ((seen.in_hand, LINES[4], 0.35), (seen.held_s > 0, SUCCESS, 0.6)):
            for first, stop in from_mask(mask):
                height.axvspan(first - 0.5, stop - 0.5, color=colour, alpha=alpha, linewidth=0)
        gripper = self._timeline((LEFT, 0.06, RIGHT - LEFT, 0.06), "gripper")
        command = seen.run.episode.executed[:, 3]
        gripper.step(np.arange(len(command) + 1), [*command, command[-1]], where="post", color=INK, linewidth=1.8)
        gripper.set(ylim=(-1.25, 1.25), yticks=[-1, 1], yticklabels=["close", "open"])
        gripper.set_xlabel(f"step, {self._task.spec.rate_hz:g} per second", fontsize=9, color=INK, labelpad=1)
        return height, gripper

    def _timeline(self, box: tuple[float, float, float, float], name: str) -> Axes:
        axes = self._figure.add_axes(box, xlim=(0, len(self._watched.run.episode)))
        axes.set_ylabel(name, fontsize=9, color=INK)
        axes.tick_params(labelsize=8, length=2, color=FAINT, labelcolor=INK)
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        return axes

    def _key(self) -> list[Any]:
        """Write what the lines and bands are beside them; return the texts that show the terms' present values."""
        from matplotlib.lines import Line2D
        from matplotlib.patches import Rectangle

        figure, values = self._figure, []
        pitch = min(0.026, 0.21 / max(len(self._terms), 1))
        for row, (name, (colour, dash)) in enumerate(zip(self._terms, _styles(self._terms), strict=True)):
            y = 0.397 - row * pitch
            figure.add_artist(Line2D([0.735, 0.76], [y, y], color=colour, linestyle=dash, linewidth=2.5))
            figure.text(0.768, y, name, fontsize=10, color=INK, va="center")
            values.append(self._keep(figure.text(0.95, y, "", fontsize=10, color=INK, va="center", ha="right")))
        bands = (("in the hand", LINES[4], 0.35), ("goal reached", SUCCESS, 0.6))
        for row, (name, colour, alpha) in enumerate(bands):
            y = 0.155 - 0.028 * row
            figure.add_artist(Rectangle((0.735, y - 0.008), 0.025, 0.016, color=colour, alpha=alpha, linewidth=0))
            figure.text(0.768, y, name, fontsize=10, color=INK, va="center")
        return values

    def _words(self, frame: int) -> str:
        seen, episode = self._watched, self._watched.run.episode
        last = frame == len(episode)
        state = (
            "goal reached" if seen.held_s[frame] > 0 else "in the hand" if seen.in_hand[frame] else "not in the hand"
        )
        command = episode.executed[min(frame, len(episode) - 1)]
        so_far = episode.reward[:frame].sum()
        return (
            f"step {frame} of {len(episode)}   {frame / self._task.spec.rate_hz:.1f} s\n"
            f"{state}; cube at {100 * seen.height_m[frame]:.1f} cm\n"
            f"goal held {seen.held_s[frame]:.1f} of {self._task.hold_s:.1f} s\n"
            + (f"ended: {seen.run.phase}" if last else f"gripper {_gripper(float(command[3]))}")
            + f"\nreturn so far {so_far:.2f}"
        )


def _gripper(command: float) -> str:
    return f"{'open' if command > 0 else 'close'} ({command:+.2f})"


def _terms(run: Rollout) -> dict[str, np.ndarray]:
    """Return {term: float64 [T]}, in the order of their first appearance; a term that is absent is NaN."""
    names = list(dict.fromkeys(name for step in run.terms for name in step))
    return {name: np.array([step.get(name, np.nan) for step in run.terms]) for name in names}


def _styles(terms: Mapping[str, Any]) -> list[tuple[str, Dash]]:
    return [(LINES[i % len(LINES)], DASHES[i // len(LINES) % len(DASHES)]) for i in range(len(terms))]
