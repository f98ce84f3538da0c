"""Many environments in one batch: that they are `SimEnv`, and what is said where they cannot be.

mujoco-warp also runs on a CPU. What needs it is skipped where the extra is not installed.
"""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from data.errors import UserError
from sim_pretrain.task.env import EnvConfig, privileged_state
from sim_pretrain.task.expert import expert_of
from sim_pretrain.task.gpu_vector import GpuVectorEnv, make_gpu_vector, privileged_states
from sim_pretrain.task.tasks import TASKS
from sim_pretrain.world.physics import World
from sim_pretrain.world.randomize import Randomization
from sim_pretrain.world.truth import Truth
from sim_pretrain.world.truths import Truths

ORACLE = EnvConfig(oracle=True)
POSITIONS, VELOCITIES = [*range(6), *range(12, 32)], [*range(6, 12)]  # of the state; the former with the action
LYING = Truth(
    cube_m=(0.23, 0.0, 0.015), cube_yaw_rad=0.0, cube_tilt_rad=0.0, cube_speed_m_s=0.0, cube_half_m=0.015,
    ee_m=(0.2, 0.0, 0.1), gripper_rad=0.5, static_pad_m=(0.2, 0.02, 0.1), moving_pad_m=(0.2, -0.02, 0.1),
    static_touch=False, moving_touch=False, target_m=None,
)  # fmt: skip
NEEDS_WARP = pytest.mark.skipif(
    importlib.util.find_spec("mujoco_warp") is None, reason="mujoco-warp is not installed: uv sync --extra gpu"
)


def test_images_are_refused_with_the_reason() -> None:
    with pytest.raises(UserError, match=r"no camera images.*oracle=True.*make_vector"):
        make_gpu_vector(EnvConfig(), 2)


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "warp", None)
    with pytest.raises(UserError, match=r"mujoco-warp.*not installed.*uv run --extra gpu.*make_vector"):
        make_gpu_vector(ORACLE, 2)


def test_without_a_gpu_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "warp", SimpleNamespace(is_cuda_available=lambda: False))
    monkeypatch.setitem(sys.modules, "mujoco_warp", SimpleNamespace())
    with pytest.raises(UserError, match=r"no CUDA device.*nvidia-smi.*make_vector"):
        make_gpu_vector(ORACLE, 2)


@pytest.fixture
def make() -> Iterator[Callable[..., GpuVectorEnv]]:
    """A factory of environments on Warp's CPU device, closed afterwards."""
    made = []

    def one(config: EnvConfig, count: int) -> GpuVectorEnv:
        made.append(make_gpu_vector(config, count, device="cpu"))
        return made[-1]

    yield one
    for envs in made:
        envs.close()


@NEEDS_WARP
@pytest.mark.parametrize("stage", ["home", "near", "grasped"])
def test_starts_are_exactly_those_of_single_environments(make: Callable[..., GpuVectorEnv], stage: str) -> None:
    config = replace(ORACLE, task="bowl", randomization=Randomization(), stages={stage: 1.0})
    envs, single = make(config, 2), config.make()
    for seeds in ([3, 4], [4, 9]):
        observed, info = envs.reset(seed=seeds)
        for i, seed in enumerate(seeds):
            np.testing.assert_array_equal(observed["state"][i], single.reset(seed=seed)[0]["state"])
            assert envs.truths.one(i) == single.truth
        assert info["stage"].tolist() == [stage, stage]


@NEEDS_WARP
def test_steps_are_those_of_single_environments(make: Callable[..., GpuVectorEnv]) -> None:
    """Delays, play and offsets included. What differs is float32: 1e-6 rad when this was written."""
    config, seeds, rng = replace(ORACLE, randomization=Randomization()), [3, 4, 5], np.random.default_rng(0)
    envs, singles = make(config, len(seeds)), [config.make() for _ in seeds]
    envs.reset(seed=seeds)
    for single, seed in zip(singles, seeds, strict=True):
        single.reset(seed=seed)
    for _ in range(12):
        actions = rng.uniform(-1, 1, (len(seeds), 4)).astype(np.float32)
        observed, rewards, terminated, truncated, info = envs.step(actions)
        for i, single in enumerate(singles):
            expected, reward, ended, late, told = single.step(actions[i])
            found = observed["state"][i]
            np.testing.assert_allclose(found[POSITIONS], expected["state"][POSITIONS], atol=1e-5)
            np.testing.assert_allclose(found[VELOCITIES], expected["state"][VELOCITIES], atol=1e-4)
            np.testing.assert_allclose(info["executed"][i], told["executed"], atol=1e-5)
            assert (rewards[i], terminated[i], truncated[i]) == (reward, ended, late)
            assert info["limited"][i] == told["limited"]


@NEEDS_WARP
@pytest.mark.parametrize("name", ["lift", "bowl"])
def test_the_expert_wins_as_in_single_environments(make: Callable[..., GpuVectorEnv], name: str) -> None:
    """A whole episode with its grasp, judged alike, and the start of the next one."""
    config, seeds = replace(ORACLE, task=name, reward="dense"), [0, 1]
    envs, singles = make(config, len(seeds)), [config.make() for _ in seeds]
    envs.reset(seed=seeds)
    experts, lengths, returns = [expert_of(envs.task) for _ in seeds], {}, np.zeros(len(seeds))
    step = 0
    while len(lengths) < len(seeds):
        actions = np.stack([expert(envs.truths.one(i)) for i, expert in enumerate(experts)])
        observed, rewards, terminated, truncated, info = envs.step(actions)
        step += 1
        for i in {*range(len(seeds))} - {*lengths}:
            returns[i] += rewards[i]
            if terminated[i] or truncated[i]:
                lengths[i] = step
                assert info["final_info"]["success"][i]
                again = singles[i]
                again.reset(seed=seeds[i])
                np.testing.assert_array_equal(observed["state"][i], again.reset()[0]["state"])
    for i, (single, seed) in enumerate(zip(singles, seeds, strict=True)):
        single.reset(seed=seed)
        expert, length, total, ended = expert_of(single.task), 0, 0.0, False
        while not ended:
            _, reward, ended, late, _ = single.step(expert(single.truth))
            length, total = length + 1, total + reward
            assert not late
        apart = 8 if name == "bowl" else 1  # the bowl's floor has another shape there: the cube settles otherwise
        assert abs(lengths[i] - length) <= apart and returns[i] == pytest.approx(total, abs=0.02 * apart)


@NEEDS_WARP
def test_it_is_a_gymnasium_vector_like_the_other(make: Callable[..., GpuVectorEnv]) -> None:
    """Same spaces, types and infos, at a step that ends nothing and at one that ends an episode."""
    spec = replace(TASKS["lift"].spec, time_limit_steps=2)
    config = replace(ORACLE, task=replace(TASKS["lift"], spec=spec), reward="dense")
    ours, theirs = make(config, 2), SyncVectorEnv([config.make] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"]
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    assert shape(ours.reset(seed=7)) == shape(theirs.reset(seed=7))
    ours.reset(seed=[1, None], options={"reset_mask": np.array([True, False])})
    theirs.reset(seed=[1, None], options={"reset_mask": np.array([True, False])})
    for _ in range(3):
        actions = np.zeros((2, 4), np.float32)
        found, expected = ours.step(actions), theirs.step(actions)
        assert shape(found) == shape(expected)
        assert ours.observation_space.contains(found[0])
        np.testing.assert_allclose(found[0]["state"], expected[0]["state"], atol=1e-4)
    theirs.close()


@NEEDS_WARP
def test_what_a_table_changes_in_physics_is_copied() -> None:
    """Every field of the model that a randomised table changes is copied, or belongs to looks or to nothing."""
    import mujoco_warp as mjw

    from sim_pretrain.world.warp_worlds import TABLE

    world = World(TASKS["bowl"].profile, prop="bowl")
    before = mjw.put_model(world.model)
    world.apply(Randomization().sample(np.random.default_rng(0), world.profile))
    after = mjw.put_model(world.model)
    arrays = {f.name for f in fields(before) if hasattr(getattr(before, f.name), "numpy")}
    changed = {n for n in arrays if not np.array_equal(getattr(before, n).numpy(), getattr(after, n).numpy())}
    seen_only = {n for n in changed if n.startswith(("cam_", "light_", "mat_", "tex_"))}
    unused = {"actuator_acc0", "body_pos", "qpos0", "qpos_spring"}  # of muscles, and of where a free cube would begin
    assert changed - seen_only - unused == {*TABLE}


@NEEDS_WARP
def test_a_rate_between_physics_steps_is_refused(make: Callable[..., GpuVectorEnv]) -> None:
    spec = replace(TASKS["lift"].spec, rate_hz=30.0)
    with pytest.raises(UserError, match="whole number of physics steps of 4 ms"):
        make(replace(ORACLE, task=replace(TASKS["lift"], spec=spec)), 1)


def test_privileged_states_are_those_of_single_environments() -> None:
    for target in (None, (0.2, 0.1, 0.0)):
        truths = [replace(LYING, cube_yaw_rad=yaw, target_m=target) for yaw in (-3.0, -0.8, 0.0, 0.7, 2.5)]
        expected = [privileged_state(truth) for truth in truths]
        np.testing.assert_allclose(privileged_states(Truths.of(truths)), expected, atol=1e-6)


def shape(told: Any) -> object:
    """Types, shapes and masks of what a vector returned, without its numbers."""
    if isinstance(told, dict):
        return {k: v.tolist() if k.startswith("_") else shape(v) for k, v in sorted(told.items())}
    if isinstance(told, tuple):
        return [shape(v) for v in told]
    array = np.asarray(told)
    return array.shape, array.dtype, [shape(v) for v in told] if array.ndim and array.dtype == object else None
