"""What a DrQ-v2 update costs: `uv run python benchmarks/drqv2_update.py`. Prints a markdown table.

Ours (`hilserl.agents.drqv2` with `PixelReplay`) beside the published recipe in plain PyTorch: float32, NCHW, shift by
`grid_sample`, default Adam. 84×84 px, three frames, batch 256, feature 50, hidden 1024; an update of ours includes
drawing its batch, one of the recipe's is handed a batch. Both take turns in one process; medians of the runs. Twice:
with the allocator's defaults, and told to keep its memory (environment variables, hence a process each).
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.replay.capacity import GIB
from data.replay.pixel_replay import PixelReplay
from data.schema import Episode, EpisodeMeta, Observation, Outcome, Source, Transition
from data.spec import CameraSpec, ObservationSpec, StateField, TaskSpec
from hilserl.agents.drqv2 import FAITHFUL, FAST, DrQv2, Preset
from hilserl.agents.networks import Policy

TUNED = {  # glibc: keep freed memory instead of giving it back and faulting it in again
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "1000000000",
}
STEPS, EPISODES = 100, 10  # of noise in the replay
PEER = "published recipe, float32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=7, help="turns of each; the table shows their median")
    parser.add_argument("--updates", type=int, default=3, help="in a turn")
    parser.add_argument("--quick", action="store_true", help="a smoke run of every part; its numbers mean nothing")
    parser.add_argument("--only", choices=("default", "tuned"), help="one allocator setting")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds, on one thread: for a machine that is busy")
    parser.add_argument("--profile", action="store_true", help="print where ours spends its time instead")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.runs, args.updates = 1, 1
    args.threads = 1 if args.cpu else args.threads
    clock = time.process_time if args.cpu else time.perf_counter
    if args.child:
        torch.set_num_threads(args.threads)
        return profile() if args.profile else print(json.dumps(measure(args.runs, args.updates, clock)))
    settings = [args.only] if args.only else ["default", "tuned"]
    found = {setting: run_child(setting, args.threads) for setting in settings if not args.profile}
    if args.profile:
        return print(run_child(settings[-1], args.threads, raw=True))
    print(f"{platform.machine()}, {args.threads} threads, torch {torch.__version__}, {args.runs} runs\n")
    print(
        f"| {'CPU ' if args.cpu else ''}s per update | "
        + " | ".join(f"malloc {s} | of the recipe" for s in settings)
        + " |"
    )
    print("|---" * (1 + 2 * len(settings)) + "|")
    for name in found[settings[0]]:
        cells = [f"{found[s][name]:.3f} | {found[s][name] / found[s][PEER]:.2f}" for s in settings]
        print(f"| {name} | " + " | ".join(cells) + " |")


def run_child(setting: str, threads: int, raw: bool = False) -> dict[str, float] | str:
    """Run this file again with an allocator setting; return its medians, or what it printed."""
    ours = {k: v for k, v in os.environ.items() if k not in TUNED}
    environment = ours | {"OMP_NUM_THREADS": str(threads)} | (TUNED if setting == "tuned" else {})
    command = [sys.executable, *sys.argv, "--child"]
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return output if raw else json.loads(output)


def measure(runs: int, updates: int, clock: Callable[[], float]) -> dict[str, float]:
    """Return the median seconds per update of each variant; the variants take turns."""
    exact = replace(FAITHFUL, agent=replace(FAITHFUL.agent, bf16=False))
    variants = {
        PEER: new_recipe(),
        "ours, faithful preset": new_ours(FAITHFUL),
        "ours, faithful preset in float32": new_ours(exact),
        "ours, fast preset": new_ours(FAST),
    }
    for update in variants.values():  # first calls allocate and choose kernels
        update()
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(runs):
        for name, update in variants.items():
            started_s = clock()
            for _ in range(updates):
                update()
            times[name].append((clock() - started_s) / updates)
    return {name: statistics.median(values) for name, values in times.items()}


def profile() -> None:
    """Print the operators that ours spends its time in."""
    update = new_ours(FAITHFUL)
    update()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profiler:
        for _ in range(3):
            update()
    print(profiler.key_averages(group_by_input_shape=True).table(sort_by="self_cpu_time_total", row_limit=30))


# ours


def new_ours(preset: Preset) -> Callable[[], object]:
    """Return one update of ours, on a replay of noise."""
    torch.manual_seed(0)
    task = TaskSpec(
        name="benchmark",
        observation=ObservationSpec(
            cameras=(CameraSpec("wrist", (0.0, 0.0, 1.0, 1.0), preset.size_px),),
            policy_cameras=("wrist",),
            state=(StateField("joints", 18, "rad", -3.0, 3.0),),
        ),
    )
    capacity_gib = EPISODES * (STEPS + 1) * 1.01 * PixelReplay.layout(task).slot_bytes / GIB
    replay = PixelReplay(task, replace(preset.replay, capacity_gib=capacity_gib))
    for seed in range(EPISODES):
        replay.add(episode(seed, preset.size_px))
    agent = DrQv2(task, preset.agent, Policy(task.observation, 4, preset.network))
    return lambda: agent.update(replay.sample(), steps=0)


def episode(seed: int, size_px: int) -> Episode:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (STEPS + 1, size_px, size_px, 3), np.uint8)
    state = rng.normal(size=(STEPS + 1, 18)).astype(np.float32)
    action = rng.uniform(-1, 1, (STEPS, 4)).astype(np.float32)

    def seen(t: int) -> Observation:
        return Observation({"wrist": images[t]}, state[t], t / 10)

    def step(t: int) -> Transition:
        return Transition(action[t], action[t], Source.POLICY, seen(t + 1), 0.0, False, t == STEPS - 1, 0.5, 1)

    return Episode.from_steps(
        seen(0), [step(t) for t in range(STEPS)], EpisodeMeta(Outcome.TIMEOUT, "online", "benchmark")
    )


# the published recipe (Yarats et al., 2021), nothing added


class Recipe(nn.Module):
    """Encoder, actor, two critics and their targets."""

    def __init__(self, actions: int = 4, feature: int = 50, hidden: int = 1024) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels, stride in ((9, 2), (32, 1), (32, 1), (32, 1)):
            layers += [nn.Conv2d(channels, 32, 3, stride), nn.ReLU()]
        self.encoder = nn.Sequential(*layers, nn.Flatten())
        size = 32 * 35 * 35

        def trunk() -> nn.Module:
            return nn.Sequential(nn.Linear(size, feature), nn.LayerNorm(feature), nn.Tanh())

        def mlp(inputs: int, outputs: int) -> nn.Module:
            return nn.Sequential(
                nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
            )

        self.actor = nn.Sequential(trunk(), mlp(feature, actions), nn.Tanh())
        self.critic = nn.ModuleDict(
            {"trunk": trunk(), "one": mlp(feature + actions, 1), "two": mlp(feature + actions, 1)}
        )
        self.target = copy.deepcopy(self.critic)
        parts = (self.encoder, self.actor, self.critic)
        self.encoder_adam, self.actor_adam, self.critic_adam = (torch.optim.Adam(p.parameters(), 1e-4) for p in parts)

    def update(self, obs: Tensor, action: Tensor, reward: Tensor, discount: Tensor, later: Tensor) -> None:
        """Update on images uint8 [B, 9, H, W]."""
        features = self.encoder(shift(obs.float()) / 255.0 - 0.5)
        with torch.no_grad():
            after = self.encoder(shift(later.float()) / 255.0 - 0.5)
            q = judge(self.target, after, noisy(self.actor(after)))
            target = reward + discount * torch.min(*q)
        q = judge(self.critic, features, action)
        loss = F.mse_loss(q[0], target) + F.mse_loss(q[1], target)
        self.encoder_adam.zero_grad(set_to_none=True)
        self.critic_adam.zero_grad(set_to_none=True)
        loss.backward()
        self.critic_adam.step()
        self.encoder_adam.step()
        features = features.detach()
        loss = -torch.min(*judge(self.critic, features, noisy(self.actor(features)))).mean()
        self.actor_adam.zero_grad(set_to_none=True)
        loss.backward()
        self.actor_adam.step()
        for ours, theirs in zip(self.critic.parameters(), self.target.parameters(), strict=True):
            theirs.data.copy_(0.01 * ours.data + 0.99 * theirs.data)


def judge(critic: nn.ModuleDict, features: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    joined = torch.cat((critic["trunk"](features), action), -1)
    return critic["one"](joined), critic["two"](joined)


def noisy(mode: Tensor, std: float = 1.0) -> Tensor:
    action = mode + (std * torch.randn_like(mode)).clamp(-0.3, 0.3)
    return action - action.detach() + action.clamp(-1 + 1e-6, 1 - 1e-6).detach()


def shift(images: Tensor, pad: int = 4) -> Tensor:
    """Pad by repetition, then sample a crop at a whole-pixel offset, with bilinear interpolation."""
    count, _, size, _ = images.shape
    padded = F.pad(images, (pad,) * 4, "replicate")
    full = size + 2 * pad
    line = torch.linspace(-1.0 + 1.0 / full, 1.0 - 1.0 / full, full)[:size]
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).expand(count, -1, -1, -1)
    offset = torch.randint(0, 2 * pad + 1, (count, 1, 1, 2)) * 2.0 / full
    return F.grid_sample(padded, grid + offset, padding_mode="zeros", align_corners=False)


def new_recipe(rows: int = 256) -> Callable[[], object]:
    """Return one update of the recipe, on noise."""
    torch.manual_seed(0)
    recipe = Recipe()
    obs, later = torch.randint(0, 256, (2, rows, 9, 84, 84), dtype=torch.uint8)
    action, reward = torch.rand(rows, 4) * 2 - 1, torch.zeros(rows, 1)
    return lambda: recipe.update(obs, action, reward, torch.full((rows, 1), 0.99**3), later)


if __name__ == "__main__":
    main()
