"""A policy folder: what goes in comes out, and what does not fit is refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from data.errors import UserError
from data.schema import Observation
from data.spec import SpecMismatch, StateField, TaskSpec
from hilserl.agents.actors import ACTORS, new_actor
from hilserl.agents.networks import CriticEnsemble, NetworkConfig, Policy
from hilserl.agents.policy_file import greedy, load_policy, save_policy
from hilserl.runs import RunDirectory, load_checkpoint, save_checkpoint
from hilserl.tasks import lift_task

NewPolicy = Callable[..., Policy]
SHIPPED = Path(__file__).resolve().parents[3] / "sim_pretrain" / "checkpoints" / "lift"


@pytest.fixture
def saved(tmp_path: Path, task: TaskSpec, new_policy: NewPolicy) -> Path:
    return save_policy(tmp_path / "policy", new_policy(1), task, {"note": "from here"})


def test_roundtrip_is_bit_equal(tmp_path: Path, task: TaskSpec, new_policy: NewPolicy) -> None:
    policy = new_policy(1)
    critic = CriticEnsemble(policy.features, task.observation, 4, members=2).state_dict()
    loaded = load_policy(save_policy(tmp_path / "policy", policy, task, {"note": "hi"}, critic), task)
    for found, expected in ((loaded.policy.state_dict(), policy.state_dict()), (loaded.critic, critic)):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[k], expected[k]) for k in expected)
    assert loaded.info["note"] == "hi"
    features, state = torch.randn(3, policy.features), torch.randn(3, 4)
    assert torch.equal(loaded.policy.actor(features, state)[1], policy.actor(features, state)[1])


def test_a_policy_without_critics_has_none(saved: Path, task: TaskSpec) -> None:
    assert load_policy(saved, task).critic == {}


def test_a_run_stands_for_its_newest_checkpoint(tmp_path: Path, saved: Path, task: TaskSpec) -> None:
    run = RunDirectory(tmp_path / "run")
    tensors, info = load_checkpoint(saved)
    for n in (1, 2):
        run.save_checkpoint(tensors, info | {"n": n})
    assert load_policy(run.path, task).info["n"] == 2


def test_another_spec_is_refused_key_by_key(saved: Path, task: TaskSpec) -> None:
    other = replace(task, rate_hz=20.0, action=replace(task.action, step_m=0.02))
    with pytest.raises(SpecMismatch) as caught:
        load_policy(saved, other)
    message = str(caught.value)
    assert "rate_hz: this session has 20.0" in message and "has 10.0" in message
    assert "action.step_m" in message
    assert "name" not in message.split("--task")[0].replace("names", "")  # equal keys are not listed


def test_nothing_there(tmp_path: Path, task: TaskSpec) -> None:
    with pytest.raises(UserError, match="no such folder"):
        load_policy(tmp_path / "absent", task)


@pytest.mark.parametrize("name", ["tensors.safetensors", "info.json"])
@pytest.mark.parametrize("keep", [0.0, 0.6])
def test_a_torn_file_says_so(saved: Path, task: TaskSpec, name: str, keep: float) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UserError, match=r"is damaged(?s:.*)hilserl pretrain"):
        load_policy(saved, task)


def test_a_checkpoint_that_is_no_policy_says_so(tmp_path: Path, saved: Path, task: TaskSpec) -> None:
    tensors, info = load_checkpoint(saved)
    run = RunDirectory(tmp_path / "run")
    run.save_checkpoint(tensors, {"threshold": 0.5})
    with pytest.raises(UserError, match=r"\['threshold'\], not `spec`"):
        load_policy(run.path, task)
    del tensors["policy.actor.mean.weight"]
    run.save_checkpoint(tensors, info)
    with pytest.raises(UserError, match=r"does not fit(?s:.*)actor\.mean\.weight"):
        load_policy(run.path, task)


def test_the_file_is_readable_without_us(saved: Path, task: TaskSpec) -> None:
    info = json.loads((saved / "info.json").read_text())
    assert TaskSpec.from_json(json.dumps(info["spec"])) == task


@pytest.mark.parametrize("kind", ACTORS)
def test_every_kind_of_actor_acts_as_it_did(tmp_path: Path, task: TaskSpec, kind: str) -> None:
    state = (*task.observation.state, StateField("previous_action", 4, "1", -1.0, 1.0))
    task = replace(task, observation=replace(task.observation, state=state))
    policy = Policy(task.observation, 4)
    policy.actor = new_actor(kind, policy, task.observation)
    path = save_policy(tmp_path / "policy", policy, task, {}, golden=observations(task))
    loaded = load_policy(path, task)
    assert loaded.info["actor"] == kind and len(loaded.golden) == SHOWN
    seen = observations(task, seed=7)
    np.testing.assert_array_equal(greedy(loaded.policy, seen), greedy(policy, seen))
    (path / "info.json").write_text((path / "info.json").read_text().replace(f'"actor": "{kind}"', '"actor": "none"'))
    with pytest.raises(UserError, match="actor is 'none'; this version knows gaussian, hybrid, residual"):
        load_policy(path, task)


# golden pairs

SHOWN = 3


def observations(task: TaskSpec, count: int = SHOWN, seed: int = 0) -> list[Observation]:
    rng = np.random.default_rng(seed)
    return [
        Observation(
            {c.name: rng.integers(0, 256, (c.size_px, c.size_px, 3), np.uint8) for c in task.observation.cameras},
            rng.uniform(-1, 1, task.observation.state_dim).astype(np.float32),
            t / 10,
        )
        for t in range(count)
    ]


def rewritten(path: Path, **changed: torch.Tensor | None) -> Path:
    """Change golden tensors of a checkpoint; None removes one."""
    tensors, info = load_checkpoint(path)
    for name, tensor in changed.items():
        key = "golden." + name.replace("__", ".")
        tensors.pop(key)
        tensors |= {} if tensor is None else {key: tensor}
    return save_checkpoint(path, tensors, info)


@pytest.fixture
def golden(tmp_path: Path, task: TaskSpec, new_policy: NewPolicy) -> Path:
    return save_policy(tmp_path / "golden", new_policy(1), task, {}, golden=observations(task))


def test_golden_observations_come_back_with_the_policy(golden: Path, task: TaskSpec, new_policy: NewPolicy) -> None:
    loaded = load_policy(golden, task)
    assert len(loaded.golden) == SHOWN
    for found, shown in zip(loaded.golden, observations(task), strict=True):
        assert found.images.keys() == {"wrist"}  # what the policy sees, and no more
        assert np.array_equal(found.images["wrist"], shown.images["wrist"]) and found.images["wrist"].dtype == np.uint8
        assert np.array_equal(found.state, shown.state)
    again = save_policy(golden, loaded.policy, task, loaded.info, golden=loaded.golden)
    assert len(load_policy(again, task).golden) == SHOWN
    tensors, _ = load_checkpoint(golden)
    expected = [new_policy(1).act(o) for o in observations(task)]
    np.testing.assert_allclose(tensors["golden.action"].numpy(), np.stack(expected), atol=1e-6)


def test_only_the_first_32_are_kept(tmp_path: Path, task: TaskSpec, new_policy: NewPolicy) -> None:
    path = save_policy(tmp_path / "policy", new_policy(1), task, {}, golden=observations(task, 40))
    assert len(load_policy(path, task).golden) == 32


def test_without_golden_observations_there_is_nothing_to_verify(saved: Path, task: TaskSpec) -> None:
    assert load_policy(saved, task).golden == ()


def test_a_policy_that_acts_otherwise_is_refused(golden: Path, task: TaskSpec) -> None:
    action = load_checkpoint(golden)[0]["golden.action"]
    action[1, 2] += 0.0123
    with pytest.raises(UserError) as caught:
        load_policy(rewritten(golden, action=action), task)
    message = str(caught.value)
    assert "1 of its 3 golden pairs do not reproduce" in message
    assert "pair 1, dz" in message and "0.0123 apart; accepted is 0.0001" in message
    assert "hilserl pretrain" in message


@pytest.mark.parametrize(("apart", "refused"), [(0.5e-4, False), (2e-4, True), (float("nan"), True)])
def test_the_tolerance_is_a_ten_thousandth(golden: Path, task: TaskSpec, apart: float, refused: bool) -> None:
    action = load_checkpoint(golden)[0]["golden.action"]
    action[2, 0] += apart
    rewritten(golden, action=action)
    if not refused:
        assert len(load_policy(golden, task).golden) == SHOWN
        return
    with pytest.raises(UserError, match="pair 2, dx"):
        load_policy(golden, task)


def test_other_preprocessing_of_images_is_noticed(
    golden: Path, task: TaskSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Policy.encode
    monkeypatch.setattr(Policy, "encode", lambda self, images: encode(self, images.flip(-1)))  # BGR for RGB
    with pytest.raises(UserError, match="3 of its 3 golden pairs"):
        load_policy(golden, task)


def test_golden_pairs_that_are_torn_are_refused(golden: Path, task: TaskSpec) -> None:
    state = load_checkpoint(golden)[0]["golden.state"]
    for changed in ({"state": state[:2]}, {"state": None}):
        with pytest.raises(UserError, match="damaged golden pairs"):
            load_policy(rewritten(golden, **changed), task)


def test_a_stacked_policy_is_verified_over_one_episode(tmp_path: Path, task: TaskSpec) -> None:
    torch.manual_seed(0)
    policy = Policy(task.observation, 4, NetworkConfig(stack=3))
    policy.act(observations(task, 1, seed=9)[0])  # it is in the middle of an episode ...
    before = [f.copy() for f in policy._frames._frames]
    path = save_policy(tmp_path / "policy", policy, task, {}, golden=observations(task))
    assert all(np.array_equal(a, b) for a, b in zip(policy._frames._frames, before, strict=True))  # ... and stays there
    assert len(load_policy(path, task).golden) == SHOWN
    images = load_checkpoint(path)[0]["golden.images.wrist"]
    with pytest.raises(UserError, match="golden pairs do not reproduce"):  # the same frames, in another order
        load_policy(rewritten(path, images__wrist=images.flip(0)), task)


def test_golden_pairs_of_a_policy_without_a_camera(tmp_path: Path, task: TaskSpec) -> None:
    blind = replace(task, observation=replace(task.observation, cameras=(), policy_cameras=()))
    shown = observations(blind)
    path = save_policy(tmp_path / "policy", Policy(blind.observation, 4), blind, {}, golden=shown)
    assert [o.state.tolist() for o in load_policy(path, blind).golden] == [o.state.tolist() for o in shown]


# the shape of the networks


def test_the_shape_of_the_networks_is_kept(tmp_path: Path, task: TaskSpec) -> None:
    config = NetworkConfig(encoder="drqv2", stack=2, squeeze=10, hidden=32, layer_norm=False, std_max=0.5)
    path = save_policy(tmp_path / "policy", Policy(task.observation, 4, config), task, {"network": {"stack": 9}})
    loaded = load_policy(path, task)
    assert loaded.policy.config == config
    assert loaded.info["network"]["squeeze"] == 10  # what is said in `info` does not replace it


@pytest.mark.parametrize("pooling", ["flatten", "spatial"])
def test_a_resnet_needs_its_file_only_once(tmp_path: Path, task: TaskSpec, pooling: str) -> None:
    weights = tmp_path / "resnet.safetensors"
    save_file(Policy(task.observation, 4, NetworkConfig(encoder="resnet10")).encoder.conv.state_dict(), weights)
    config = NetworkConfig(
        encoder="resnet10", encoder_weights=weights, pooling=pooling, per_camera=True, squeeze=4, hidden=8
    )
    policy = Policy(task.observation, 4, config)
    path = save_policy(tmp_path / "policy", policy, task, {}, golden=observations(task))
    weights.unlink()
    loaded = load_policy(path, task)  # golden pairs verify
    assert loaded.policy.config == replace(config, encoder_weights=None)
    assert loaded.policy.encoder_hash() == policy.encoder_hash() and len(loaded.golden) == SHOWN


def test_the_shipped_policy_loads_as_it_was_saved() -> None:
    """Its info knows nothing of poolings, of ResNets and of encoders for each camera."""
    loaded = load_policy(SHIPPED, lift_task())
    assert len(loaded.golden) == 32 and loaded.policy.config == NetworkConfig()


def with_network(path: Path, network: dict | None) -> Path:
    tensors, info = load_checkpoint(path)
    del info["network"]
    return save_checkpoint(path, tensors, info | ({} if network is None else {"network": network}))


def test_a_checkpoint_from_before_has_the_default_networks(saved: Path, task: TaskSpec) -> None:
    assert load_policy(with_network(saved, None), task).policy.config == NetworkConfig()


@pytest.mark.parametrize(
    ("network", "found"), [({"depth": 5}, "depth"), ({"encoder": "vit"}, "vit"), ({"stack": "many"}, "stack")]
)
def test_an_unknown_network_is_refused(saved: Path, task: TaskSpec, network: dict, found: str) -> None:
    with pytest.raises(UserError, match=rf"network that this version does not know(?s:.*){found}(?s:.*)Accepted"):
        load_policy(with_network(saved, network), task)
