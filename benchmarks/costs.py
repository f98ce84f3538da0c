"""What each part of the loop costs on this machine: `uv run python benchmarks/costs.py`. Prints a markdown table.

Medians over repeated calls, one torch thread, as the actor and the learner run them.
"""

from __future__ import annotations

import dataclasses
import platform
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from classifier.calibrate import Calibration
from classifier.detector import SuccessDetector
from classifier.model import ClassifierSpec, SuccessModel
from data.schema import Source
from data.store.episode_store import EpisodeStore
from hilserl.agents.features import FeatureReplay, ReplayConfig
from hilserl.agents.policy_file import load_policy
from hilserl.agents.sac import Sac, SacConfig
from hilserl.loop.policy_runner import PolicyRunner
from hilserl.robot.kinematics import inverse
from hilserl.tasks import lift_task
from sim_pretrain.demo import CHECKPOINT
from sim_pretrain.episodes.rollout import rollout
from sim_pretrain.task.env import EnvConfig
from sim_pretrain.task.expert import expert_of
from sim_pretrain.world.physics import World
from sim_pretrain.world.profile import WorldProfile
from sim_pretrain.world.sim_arm import make_env


def median_ms(call: Callable[[], object], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        started_s = time.perf_counter()
        call()
        times.append(time.perf_counter() - started_s)
    return 1e3 * float(np.median(times))


def main() -> None:
    torch.set_num_threads(1)
    task = lift_task()
    loaded = load_policy(CHECKPOINT, task)
    runner = PolicyRunner(loaded.policy, seed=0)
    rows: list[tuple[str, float]] = []
    for size in (84, 128):
        world = World(WorldProfile(native_width_px=size, native_height_px=size))
        rows.append((f"render the wrist camera at {size}×{size}", median_ms(lambda w=world: w.render("wrist"), 200)))
        world.close()
    world = World()
    rows.append(("render the wrist camera at 160×120 (the rig's)", median_ms(lambda: world.render("wrist"), 200)))
    rows.append(("render the front camera at 160×120", median_ms(lambda: world.render("front"), 200)))
    rows.append(("physics of one 100 ms control period", median_ms(lambda: world.advance(0.1), 100)))
    seed = np.array([0.0, -0.2, 0.05, 1.6, np.pi / 2])
    ik = lambda: inverse(np.array([0.22, 0.01, 0.1]), seed, wrist_roll_rad=np.pi / 2)  # noqa: E731
    rows.append(("inverse kinematics", median_ms(ik, 300)))
    observation = make_env(world, task).begin()
    rows.append(("policy: one action from pixels", median_ms(lambda: runner.act(observation, explore=True), 200)))
    spec = ClassifierSpec.for_task(task, 0)
    detector = SuccessDetector(SuccessModel(spec), Calibration(0.9, 3, 0.0))
    rows.append(("success detector, two cameras", median_ms(lambda: detector.step(observation), 200)))
    env = EnvConfig().make()
    act = lambda o, _: (runner.act(o, explore=True), Source.POLICY)  # noqa: E731
    episodes = [rollout(env, act, expert_of(env.task), seed).episode for seed in range(12)]
    env.close()
    replay = FeatureReplay(loaded.policy, ReplayConfig())
    for episode in episodes:
        replay.add(episode)
    frames = len(replay) // len(episodes)
    ingest = FeatureReplay(loaded.policy, ReplayConfig())
    rows.append(
        (
            f"replay: encode an episode of {frames} frames, 4 copies",
            median_ms(lambda: ingest.add(episodes[0]), 10),
        )
    )
    rows.append(("replay: sample a batch of 256", median_ms(replay.sample, 200)))
    sac = Sac(task, SacConfig(), loaded.policy)
    batch = replay.sample()
    critic = lambda: sac.update(batch, operated_episodes=0, train_actor=False)  # noqa: E731
    rows.append(("learner: one critic update, batch 256", median_ms(critic, 200)))

    def four() -> None:
        for _ in range(sac.config.actor_every):
            sac.update(batch, operated_episodes=0, train_actor=True)

    rows.append(("learner: one update, an actor update in every 4th", median_ms(four, 50) / sac.config.actor_every))
    world.close()
    rows.append(commit_row(task))
    print(f"{platform.machine()}, {torch.get_num_threads()} torch thread, Python {platform.python_version()}\n")
    print("| what | median |\n|---|---|")
    for name, value_ms in rows:
        print(f"| {name} | {value_ms:.2f} ms |")


def commit_row(task) -> tuple[str, float]:
    """Time the commit of an episode with both cameras."""
    env = EnvConfig(all_cameras=True).make()
    rng = np.random.default_rng(0)
    act = lambda *_: (rng.uniform(-1, 1, 4).astype(np.float32), Source.EXPERT)  # noqa: E731
    episode = rollout(env, act, expert_of(env.task), 0).episode
    env.close()
    with (
        tempfile.TemporaryDirectory() as folder,
        EpisodeStore.create_or_open(Path(folder) / "store", task) as store,
    ):

        def commit() -> None:
            meta = dataclasses.replace(episode.meta, uuid=uuid.uuid4().hex)
            store.append(dataclasses.replace(episode, meta=meta))

        cost_ms = median_ms(commit, 10)
        size = sum(p.stat().st_size for p in (Path(folder) / "store" / "episodes").rglob("*") if p.is_file())
    return (
        f"store: commit {len(episode)} steps, {size / 11 / len(episode) / 1024:.0f} KiB a step, fsynced",
        cost_ms,
    )


if __name__ == "__main__":
    main()
