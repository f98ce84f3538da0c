"""The Gymnasium environment: its contract, its seeds, and that it is the arm's environment underneath."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from data.errors import UserError
from data.schema import Observation, Source
from data.spec import SpecMismatch, require_same
from hilserl.tasks import lift_task
from sim_pretrain.episodes.rollout import rollout
from sim_pretrain.task.env import PRIVILEGED, EnvConfig, SimEnv, privileged_state
from sim_pretrain.task.expert import expert_of
from sim_pretrain.task.tasks import TASKS
from sim_pretrain.task.vector import make_vector
from sim_pretrain.world.randomize import Randomization

_path = Path(__file__).parents[2] / "hilserl" / "loop" / "env_contract.py"
_spec = importlib.util.spec_from_file_location("env_contract", _path)
contract = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(contract)


class GymStand:
    """The environment as Gymnasium shows it."""

    def __init__(self) -> None:
        self.env = SimEnv("lift")
        self.task, self.world = self.env.task.spec, self.env.world

    def start(self, seed: int) -> Observation:
        return self._shown(self.env.reset(seed=seed)[0])

    def step(self, action: np.ndarray):
        observed, _, _, _, info = self.env.step(action)
        return contract.Taken(self._shown(observed), info["executed"], info["limited"])

    def _shown(self, observed: dict[str, np.ndarray]) -> Observation:
        assert self.env.observation_space.contains(observed)
        images = {name: value for name, value in observed.items() if name != "state"}
        return Observation(images, observed["state"], self.env.observation.stamp_s)


@pytest.fixture(scope="module")
def stand():
    made = GymStand()
    yield made
    made.env.close()


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_it_means_what_the_arms_environment_means(stand, check):
    check(stand)


def test_an_episode_that_nobody_ends_is_recorded_as_on_the_arm(stand):
    run = rollout(stand.env, lambda *_: (contract.STAY, Source.POLICY), lambda _: contract.STAY, seed=0)
    contract.timeout(run.episode, TASKS["lift"].spec)


def episode(env: SimEnv, seed: int, steps: int = 8) -> list:
    """Observations and rewards of random actions that belong to the seed."""
    rng, found = np.random.default_rng(seed), []
    found.append(env.reset(seed=seed)[0])
    for _ in range(steps):
        observation, reward, *_ = env.step(rng.uniform(-1, 1, 4).astype(np.float32))
        found.append({**observation, "reward": np.float64(reward)})
    return found


def assert_same(ours: list, theirs: list) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


@pytest.fixture
def make():
    envs = []

    def one(**options) -> SimEnv:
        envs.append(EnvConfig(**options).make())
        return envs[-1]

    yield one
    for env in envs:
        env.close()


@pytest.mark.filterwarnings("ignore:.*Box observation space.*")
@pytest.mark.parametrize("name", ["Lift", "Bowl", "Paper"])
def test_gymnasium_accepts_it(name):
    env = gymnasium.make(f"sim_pretrain.register:hilserl/{name}-v0")
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


@pytest.mark.parametrize(
    ("options", "listed"),
    [
        ({"task": "stack"}, "lift, bowl, paper"),
        ({"reward": "v99"}, "sparse"),
        ({"stages": {"hover": 1.0}}, "home, far, near, grasped"),
    ],
)
def test_what_is_unknown_is_refused_with_what_exists(make, options, listed):
    with pytest.raises(UserError, match=listed):
        make(**options)


def test_an_unknown_render_mode_is_refused():
    with pytest.raises(UserError, match="rgb_array"):
        SimEnv(render_mode="human")


def test_equal_seeds_give_equal_episodes_whatever_came_before(make):
    one, other = make(randomization=Randomization()), make(randomization=Randomization())
    expected = episode(one, 5)
    episode(other, 9)
    assert_same(episode(other, 5), expected)
    assert any((a["wrist"] != b["wrist"]).any() for a, b in zip(episode(one, 6), expected, strict=True))


def test_environments_side_by_side_equal_single_ones(make):
    config = EnvConfig(randomization=Randomization())
    envs, seeds = make_vector(config, 2), [3, 4]
    single = {seed: episode(make(randomization=Randomization()), seed) for seed in seeds}
    rngs = [np.random.default_rng(seed) for seed in seeds]
    found = [envs.reset(seed=seeds)[0]]
    found[0] = {k: v.copy() for k, v in found[0].items()}
    for _ in range(8):
        observation, reward, *_ = envs.step(np.stack([r.uniform(-1, 1, 4) for r in rngs]).astype(np.float32))
        found.append({**{k: v.copy() for k, v in observation.items()}, "reward": reward.copy()})
    envs.close()
    for i, seed in enumerate(seeds):
        assert_same([{k: v[i] for k, v in step.items()} for step in found], single[seed])


def test_its_spec_is_the_arms(make):
    require_same(lift_task(), make().task.spec, "the simulation")


def test_an_oracle_sees_the_truth_and_fits_no_arm(make):
    env = make(oracle=True)
    observation, _ = env.reset(seed=0)
    assert set(observation) == {"state"}
    np.testing.assert_array_equal(observation["state"][-sum(f.size for f in PRIVILEGED) :], privileged_state(env.truth))
    np.testing.assert_allclose(privileged_state(env.truth)[:3], env.truth.cube_m, rtol=1e-6)
    with pytest.raises(SpecMismatch, match="privileged_cube_m"):
        require_same(lift_task(), env.task.spec, "the oracle")


def test_blind_is_black_and_otherwise_the_same(make):
    for sighted, blind in zip(episode(make(), 1), episode(make(blind=True), 1), strict=True):
        assert not blind["wrist"].any() and sighted["wrist"].any()
        np.testing.assert_array_equal(sighted["state"], blind["state"])


def test_all_cameras_are_those_of_the_spec(make):
    assert set(make(all_cameras=True).reset(seed=0)[0]) == {"wrist", "front", "state"}


def test_a_refused_action_takes_no_time(make):
    lift = TASKS["lift"]
    env = make(task=replace(lift, spec=replace(lift.spec, time_limit_steps=2)), oracle=True)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action"):
        env.step(np.full(4, np.nan))
    assert [env.step(contract.STAY)[3] for _ in range(2)] == [False, True]


def test_success_ends_the_episode_with_its_reward(make):
    env = make(oracle=True)
    env.reset(seed=0)
    expert, ended, rewards = expert_of(env.task), False, []
    while not ended:
        _, reward, ended, truncated, info = env.step(expert(env.truth))
        rewards.append(reward)
        assert not truncated
    assert info["success"] and not info["lost"]
    assert rewards[-1] == 1.0 and not any(rewards[:-1])
    assert info["reward_terms"] == {"success": 1.0}


def test_render_is_the_front_view_when_asked_for():
    with_mode, without = SimEnv(render_mode="rgb_array", oracle=True), SimEnv(oracle=True)
    with_mode.reset(seed=0)
    assert with_mode.render().shape == (84, 112, 3) and with_mode.render().any()
    assert without.render() is None
    with_mode.close()


def test_whoever_else_looks_changes_nothing_that_the_policy_sees(make):
    noisy = replace(TASKS["lift"].profile, image_noise=6.0)
    filmed = make(profile=noisy)
    act = filmed.step
    filmed.step = lambda action: (filmed.world.render("front"), act(action))[1]
    plain, both = episode(make(profile=noisy), 1), episode(make(profile=noisy, all_cameras=True), 1)
    for one, with_front, rendered in zip(plain, both, episode(filmed, 1), strict=True):
        np.testing.assert_array_equal(with_front["wrist"], one["wrist"])
        np.testing.assert_array_equal(rendered["wrist"], one["wrist"])
