"""What holds for an update of every agent with every option: all that should learn does, and nothing waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from data.replay.pixel_replay import PixelBatch
from data.spec import StateField, TaskSpec
from hilserl.agents.drqv2 import DrQv2, DrQv2Config
from hilserl.agents.hg_dagger import HgDagger, HgDaggerConfig
from hilserl.agents.networks import NetworkConfig, Policy
from hilserl.agents.sac import Batch, Sac, SacConfig
from hilserl.agents.warm_start import StartConfig, prepare

ROWS = 8
Agent = Sac | DrQv2 | HgDagger


START = StartConfig()


@dataclass(frozen=True)
class Option:
    """An agent and what it begins with."""

    make: Callable[..., Agent]
    config: Any
    pixels: bool = False
    start: StartConfig = START
    frozen: tuple[str, ...] = ()  # parts of the policy that must not change


EYES = ("encoder",)
EVERY = SacConfig(actor_every=1)
OPTIONS = {
    "sac": Option(Sac, EVERY, frozen=EYES),
    "ten critics": Option(Sac, replace(EVERY, critics=10), frozen=EYES),
    "discrete gripper": Option(Sac, replace(EVERY, gripper="discrete"), frozen=EYES),
    "residual": Option(Sac, EVERY, start=StartConfig(actor="residual"), frozen=("encoder", "actor.base")),
    "from scratch": Option(Sac, EVERY, start=StartConfig(actor="scratch"), frozen=EYES),
    "end to end": Option(Sac, replace(EVERY, encoder_lr=1e-3), pixels=True),
    "end to end, discrete gripper": Option(Sac, replace(EVERY, encoder_lr=1e-3, gripper="discrete"), pixels=True),
    "drqv2": Option(DrQv2, DrQv2Config(bf16=False), pixels=True, frozen=("actor.log_std",)),
    "hg-dagger": Option(HgDagger, HgDaggerConfig(), frozen=("encoder", "actor.log_std")),
    "hg-dagger, end to end": Option(HgDagger, HgDaggerConfig(encoder_lr=1e-3), pixels=True, frozen=("actor.log_std",)),
}


@pytest.fixture(params=OPTIONS)
def option(request: pytest.FixtureRequest) -> Option:
    return OPTIONS[request.param]


@pytest.fixture
def agent(option: Option, task: TaskSpec) -> Agent:
    state = (*task.observation.state, StateField("previous_action", 4, "1", -1.0, 1.0))
    hand = replace(task, observation=replace(task.observation, state=state))
    torch.manual_seed(0)
    discrete = getattr(option.config, "gripper", "") == "discrete"
    policy = Policy(hand.observation, 4, NetworkConfig(squeeze=8, hidden=16))
    return option.make(hand, option.config, prepare(policy, hand, option.start, discrete_gripper=discrete))


def batch_of(agent: Agent, pixels: bool) -> Batch | PixelBatch:
    state, next_state = torch.rand(2, ROWS, 8) * 2 - 1
    action, reward, human = torch.rand(ROWS, 4) * 2 - 1, torch.rand(ROWS), (torch.arange(ROWS) % 2).float()
    if not pixels:
        features, later = torch.randn(2, ROWS, agent.policy.features)
        return Batch(features, state, action, reward, torch.ones(ROWS), later, next_state, human)
    images, later = torch.randint(0, 256, (2, ROWS, 1, 47, 47, 3)).to(torch.uint8)
    bootstrap = torch.full((ROWS,), 0.97)
    return PixelBatch({"wrist": images}, state, action, reward, bootstrap, {"wrist": later}, next_state, human)


def test_gradient_reaches_all_that_learns_and_nothing_else(option: Option, agent: Agent) -> None:
    before = {k: v.clone() for k, v in agent.policy.state_dict().items()}
    optimised = {p for optimizer in agent.optimizers().values() for g in optimizer.param_groups for p in g["params"]}
    for _ in range(3):  # the first moves a residual's last layer away from zero, before which nothing else can learn
        agent.update(batch_of(agent, option.pixels))
    for name, parameter in agent.named_parameters():
        assert parameter.requires_grad == (parameter in optimised), name
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.any(), name
        else:
            assert parameter.grad is None, name
    for name, value in agent.policy.state_dict().items():
        learns = name in dict(agent.policy.named_parameters()) and not name.startswith(option.frozen)
        assert torch.equal(value, before[name]) != learns, name


class Waits(TorchDispatchMode):
    """Notes every operation that makes the processor wait for a GPU: to read a number, or to know a shape."""

    READS = ("_local_scalar_dense", "item", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masked = name in ("index", "index_put_") and any(i is not None and i.dtype == torch.bool for i in args[1])
        self.found += [name] if name in self.READS or masked else []
        return func(*args, **(kwargs or {}))


def test_an_update_waits_for_nothing(option: Option, agent: Agent) -> None:
    batch = batch_of(agent, option.pixels)
    with Waits() as waits:
        agent.update(batch)
        agent.update(batch)
    assert waits.found == []


@pytest.mark.parametrize(
    "wait",
    [lambda x: float(x.sum()), lambda x: bool((x > 0).any()), lambda x: x[x > 0], torch.nonzero],
)
def test_a_wait_is_found(wait: Callable[[Tensor], Any]) -> None:
    with Waits() as waits:
        wait(torch.arange(3.0))
    assert waits.found


def test_optimisers_are_fused(agent: Agent) -> None:
    assert all(group["fused"] for optimizer in agent.optimizers().values() for group in optimizer.param_groups)
    assert all(isinstance(p, nn.Parameter) for p in agent.parameters())
