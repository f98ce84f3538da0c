"""One update beside LeRobot's SAC: `uv run python benchmarks/update.py`. Prints a markdown table.

Two cameras of 128×128 px, state 20, batch 256, half of it demonstrations, one update of critics, actor and temperature
per batch, drawing and shifting included. Frozen ResNet-10: LeRobot runs it on both ends of every batch, ours learns
from features that were cached when the frame arrived. Small CNN: LeRobot's convolutions on both sides, trained by the
critics' loss. Both take turns in one process; medians of the runs.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import cv2
import torch
from lerobot_sac import LeRobotSac
from replay import STEPS, episode, task

from classifier.encoders import CONVOLUTIONS
from data.replay.capacity import GIB
from data.replay.pixel_replay import PixelReplay, PixelReplayConfig
from data.schema import Episode, Observation
from hilserl.agents.features import ReplayConfig, feature_layout
from hilserl.agents.networks import NetworkConfig, Policy
from hilserl.agents.sac import SacConfig
from hilserl.loop.agents import AgentConfig, make_agent

LEROBOT_CNN = ((7, 2), (5, 2), (3, 2), (3, 2))  # kernel and stride of its convolutions to 32 channels
LATENT = 256  # LeRobot reduces each of two cameras to 256 by a matrix of its own; both by one of 256 is as much work
IMAGENET = {"mean": [[[0.485]], [[0.456]], [[0.406]]], "std": [[[0.229]], [[0.224]], [[0.225]]]}
EQUAL = SacConfig(actor_every=1, anchor_start=0.0)  # as LeRobot: no anchor, and an actor that learns as often
RESNET = NetworkConfig(encoder="resnet10", pooling="spatial", squeeze=64)
DEFAULTS = {"frozen": (RESNET, SacConfig()), "trained": (NetworkConfig(), SacConfig(encoder_lr=3e-4))}
PEER = "LeRobot"


class Contender(NamedTuple):
    """One side, ready to be measured."""

    update: Callable[[], object]  # draw a batch and learn from it
    act: Callable[[], object]  # choose one action
    arrival_ms: float  # CPU, of taking in one frame of both cameras


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoders", nargs="+", choices=("frozen", "trained"), default=["frozen", "trained"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of torch; rows of the table for each")
    parser.add_argument("--runs", type=int, default=5, help="turns of each; the table shows their median")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for both sides")
    parser.add_argument("--compile", action="store_true", help="our defaults with losses by torch.compile, too")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"{platform.machine()}, {args.device}, torch {torch.__version__}, {args.runs} runs\n")
    print("| what | torch threads | CPU ms | wall ms | LeRobot's, CPU | LeRobot's, wall |\n|---|---|---|---|---|---|")
    makers = {"frozen": ("frozen ResNet-10", frozen), "trained": ("small CNN, end to end", trained)}
    for encoder in args.encoders:
        name, make = makers[encoder]
        torch.set_num_threads(1)
        sides = make(args.device)
        if args.compile:
            network, sac = DEFAULTS[encoder]
            sides["ours, defaults, compiled"] = new_ours(network, sac, args.device, compiled=True)
        for side, contender in sides.items():
            print(f"| {name}, a frame arrives: {side} | 1 | {contender.arrival_ms:.1f} | | | |")
        for threads in args.threads:
            torch.set_num_threads(threads)
            updates = measure({s: (c.update, 1 if s == PEER else 5) for s, c in sides.items()}, args.runs, args.device)
            show(f"{name}, update", threads, updates)
        torch.set_num_threads(1)
        actions = measure({s: (c.act, 20) for s, c in sides.items()}, args.runs, args.device)
        show(f"{name}, one action", 1, actions)


def frozen(device: str) -> dict[str, Contender]:
    """Return LeRobot, ours with its network and an actor that learns as often, twice, and ours with its defaults."""
    network = replace(RESNET, squeeze=LATENT)
    return {
        PEER: new_lerobot(device, vision_encoder_name="resnet10", freeze_vision_encoder=True),
        "ours, equal": new_ours(network, EQUAL, device),
        "ours, equal, bf16": new_ours(replace(network, bf16=True), EQUAL, device),
        "ours, defaults": new_ours(*DEFAULTS["frozen"], device),
    }


def trained(device: str) -> dict[str, Contender]:
    """Return the same with a small CNN; that of our defaults is another and smaller one."""
    CONVOLUTIONS["lerobot"] = LEROBOT_CNN  # only here: the product has no use for it
    network = NetworkConfig(encoder="lerobot", pooling="spatial", squeeze=LATENT)
    return {
        PEER: new_lerobot(device, vision_encoder_name=None, freeze_vision_encoder=False),
        "ours, equal": new_ours(network, replace(EQUAL, encoder_lr=3e-4), device),
        "ours, equal, bf16": new_ours(replace(network, bf16=True), replace(EQUAL, encoder_lr=3e-4), device),
        "ours, defaults": new_ours(*DEFAULTS["trained"], device),
    }


def measure(
    calls: Mapping[str, tuple[Callable[[], object], int]], runs: int, device: str
) -> dict[str, tuple[float, float]]:
    """Return the median CPU and wall time [ms] of calls that take turns, each so often in its turn.

    The first turns do not count: they allocate and choose kernels.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(runs + 1):
        for name, (call, count) in calls.items():
            finish(device)
            cpu_s, wall_s = time.process_time(), time.perf_counter()
            for _ in range(count):
                call()
            finish(device)
            spent_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
            times[name].append((1e3 * spent_s[0] / count, 1e3 * spent_s[1] / count))
    return {
        name: (statistics.median(cpu for cpu, _ in rows[1:]), statistics.median(wall for _, wall in rows[1:]))
        for name, rows in times.items()
    }


def show(what: str, threads: int, found: Mapping[str, tuple[float, float]]) -> None:
    """Print a row for each side."""
    peer_cpu_ms, peer_wall_ms = found[PEER]
    for side, (cpu_ms, wall_ms) in found.items():
        ratios = f"{peer_cpu_ms / cpu_ms:.1f} × | {peer_wall_ms / wall_ms:.1f} ×"
        print(f"| {what}: {side} | {threads} | {cpu_ms:.1f} | {wall_ms:.1f} | {ratios} |", flush=True)


def finish(device: str) -> None:
    """Wait for a GPU that works on its own."""
    if device != "cpu":
        torch.cuda.synchronize()


def episodes() -> list[Episode]:
    """Return two episodes of noise, the second one driven by a person."""
    return [episode(0), episode(1, human_steps=STEPS)]


def new_ours(network: NetworkConfig, sac: SacConfig, device: str, *, compiled: bool = False) -> Contender:
    """Return ours as the learner makes it."""
    torch.manual_seed(0)
    policy, seen = Policy(task().observation, 4, network), episodes()
    frames = 1.1 * len(seen) * (STEPS + 1)
    config = AgentConfig(
        sac=sac,
        replay=ReplayConfig(capacity_gib=frames * feature_layout(policy, ReplayConfig()).slot_bytes / GIB),
        pixels=PixelReplayConfig(capacity_gib=frames * PixelReplay.layout(task()).slot_bytes / GIB),
        device=device,
    )
    agent, memory = make_agent(task(), policy, config)
    if compiled:
        for loss in ("critic_loss", "actor_loss"):
            setattr(agent, loss, torch.compile(getattr(agent, loss)))
    started_s = time.process_time()
    for one in seen:
        memory.add(one)
    arrival_ms = 1e3 * (time.process_time() - started_s) / len(seen) / (STEPS + 1)
    first = Observation({c: images[0] for c, images in seen[0].images.items()}, seen[0].state[0], 0.0)
    noise = torch.Generator().manual_seed(0)
    return Contender(lambda: agent.update(memory.sample()), lambda: policy.act(first, noise), arrival_ms)


def new_lerobot(device: str, **policy: object) -> Contender:
    """Return LeRobot's on the same episodes."""
    torch.manual_seed(0)
    images = {f"observation.images.{c}": (3, 128, 128) for c in ("wrist", "front")}
    stats = {"observation.state": {"min": [-3.0] * 20, "max": [3.0] * 20}, **dict.fromkeys(images, IMAGENET)}
    peer = LeRobotSac({"observation.state": (20,), **images}, 4, stats, capacity=STEPS, device=device, **policy)
    seen = episodes()
    started_s = time.process_time()
    for buffer, one in zip((peer.online, peer.demos), seen, strict=True):
        frames = [as_lerobot(one, t) for t in range(STEPS + 1)]
        for t, action in enumerate(torch.from_numpy(one.executed)):
            buffer.add(frames[t], action[None], 0.0, frames[t + 1], False, t == STEPS - 1)
    arrival_ms = 1e3 * (time.process_time() - started_s) / len(seen) / (STEPS + 1)
    first = {key: value.to(device) for key, value in as_lerobot(seen[0], 0).items()}

    def act() -> torch.Tensor:
        return peer.policy.select_action(peer.preprocessor.process_observation(first)).cpu()

    return Contender(peer.update, act, arrival_ms)


def as_lerobot(one: Episode, t: int) -> dict[str, torch.Tensor]:
    """Return the observation at a step as LeRobot's actor sends it."""
    images = {c: torch.from_numpy(one.images[c][t]).permute(2, 0, 1)[None] / 255 for c in one.images}
    state = torch.from_numpy(one.state[t])[None]
    return {"observation.state": state, **{f"observation.images.{c}": image for c, image in images.items()}}


if __name__ == "__main__":
    main()
