"""`hilserl setup servo-fit`: give the simulation the servos of an arm, from what `hilserl doctor --move` recorded.

The same goals are sent to the simulated arm at the same moments; gain, damping and latency of its servos are those with
which it moves most like the real one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.errors import UserError
from hilserl.flags import parse_flags

if TYPE_CHECKING:
    from hilserl.loop.handshake import Trace
    from sim_pretrain.world.physics import World
    from sim_pretrain.world.profile import WorldProfile

SETTLE_S = 1.0  # before a trace begins: the arm then hangs in its servos as the real one does
_FIRST = (np.log(60.0), np.log(1.5), 0.02)  # gain, damping, latency
_SPREAD = (0.4, 0.5, 0.02)  # of the first simplex
_MAX_LATENCY_S = 0.15
_WORST_RAD = 0.01  # typical residual of a fit that is worth using


@dataclass(frozen=True)
class ServoFitArgs:
    """Flags of `hilserl setup servo-fit`."""

    traces: Path = Path("runs/doctor/servos.json")  # what `hilserl doctor --move` recorded
    output_dir: Path = Path("runs/servo-fit")  # gets profile.json and servos.png
    profile_json: Path | None = None  # present world profile: what the fit does not change is kept


def main(argv: Sequence[str]) -> int:
    """Fit, draw, and write the profile."""
    args = parse_flags(ServoFitArgs, argv)
    from hilserl.runs import write_json
    from sim_pretrain.world.profile import WorldProfile, read_profile

    traces = read_traces(args.traces)
    present = WorldProfile() if args.profile_json is None else read_profile(args.profile_json, WorldProfile)
    kept = {} if args.profile_json is None else json.loads(args.profile_json.read_text())
    fitted, off_rad, before_rad = fit(traces, present)
    found = {name: getattr(fitted, name) for name in ("servo_gain", "servo_damping", "action_latency_s")}
    for name, value in found.items():
        print(f"{name:<17} {getattr(present, name):8.3f} -> {value:8.3f}")
    print(f"typical distance from the real arm: {np.degrees(before_rad):.2f}° -> {np.degrees(off_rad):.2f}°")
    if off_rad > _WORST_RAD:
        raise UserError(
            f"the simulated arm stays {np.degrees(off_rad):.2f}° off; accepted are {np.degrees(_WORST_RAD):.2f}. Did "
            "something touch the arm, or is a joint loose? Record again: hilserl doctor --move ..."
        )
    args.output_dir.mkdir(parents=True, exist_ok=True)
    picture, profile = args.output_dir / "servos.png", args.output_dir / "profile.json"
    draw(traces, {"simulated as before": present, "simulated, fitted": fitted}, picture)
    write_json(profile, kept | found)
    print(f"{picture}: look at it\n{profile}: use it with hilserl pretrain --profile_json={profile}")
    return 0


def read_traces(path: Path) -> list[Trace]:
    """Read what `hilserl doctor --move` wrote; UserError when it is not there or something else."""
    from hilserl.loop.handshake import Trace

    try:
        return [Trace.from_json(content) for content in json.loads(path.read_text())["traces"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} holds no answers of servos ({error!r}); record them with: hilserl doctor --move ..."
        ) from error


def fit(traces: Sequence[Trace], present: WorldProfile) -> tuple[WorldProfile, float, float]:
    """Return the profile with the servos of the arm, and the typical distance [rad] with it and with `present`."""
    from scipy.optimize import minimize

    from sim_pretrain.world.physics import World

    world = World(present)

    def profile(x: np.ndarray) -> WorldProfile:
        latency_s = float(np.clip(x[2], 0.0, _MAX_LATENCY_S))
        return replace(
            present, servo_gain=float(np.exp(x[0])), servo_damping=float(np.exp(x[1])), action_latency_s=latency_s
        )

    def off_rad(candidate: WorldProfile) -> float:
        world.apply(candidate)
        return float(np.sqrt(np.mean([np.mean((replay(world, t) - t.measured_rad[:, :5]) ** 2) for t in traces])))

    simplex = np.array([_FIRST, *(np.array(_FIRST) + np.diag(_SPREAD))])
    best = minimize(
        lambda x: off_rad(profile(x)), _FIRST, method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-6, "maxfev": 120},
    )  # fmt: skip
    try:
        return profile(best.x), float(best.fun), off_rad(present)
    finally:
        world.close()


def replay(world: World, trace: Trace) -> np.ndarray:
    """Send a trace's goals to the simulated arm; return the angles of its body joints, [T, 5] rad."""
    world.reset()
    world.place_cube(0.3, 0.3, 0.0)  # out of the way
    world.set_joints(trace.measured_rad[0])
    world.set_goals(trace.goal_rad[0])
    world.advance(SETTLE_S)
    start_s, found = world.time_s, []
    for time_s, goal in zip(trace.time_s, trace.goal_rad, strict=True):
        world.advance(max(0.0, start_s + time_s - world.time_s))
        found.append(world.joint_positions())
        world.set_goals(goal)
    return np.array(found)[:, :5]


def draw(traces: Sequence[Trace], profiles: dict[str, WorldProfile], path: Path) -> None:
    """Draw the joint that stepped, of each trace: what it was told, what it did, what the simulated ones did."""
    from matplotlib.figure import Figure

    from hilserl.robot.kinematics import JOINTS
    from sim_pretrain.world.physics import World

    figure = Figure(figsize=(3.2 * len(traces), 3.4), layout="constrained")
    axes = figure.subplots(1, len(traces), squeeze=False)[0]
    for axis, trace in zip(axes, traces, strict=True):
        index = JOINTS.index(trace.joint)
        axis.step(trace.time_s, np.degrees(trace.goal_rad[:, index]), where="post", color="0.75", label="goal")
        axis.plot(trace.time_s, np.degrees(trace.measured_rad[:, index]), color="black", label="the arm")
        axis.set(title=trace.joint, xlabel="s")
    for (name, profile), (color, style) in zip(profiles.items(), (("#d55e00", ":"), ("#0072b2", "--")), strict=True):
        world = World(profile)
        for axis, trace in zip(axes, traces, strict=True):
            angles = np.degrees(replay(world, trace))[:, JOINTS.index(trace.joint)]
            axis.plot(trace.time_s, angles, label=name, color=color, ls=style)
        world.close()
    axes[0].set_ylabel("degrees")
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
