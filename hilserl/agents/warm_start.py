"""What an agent takes over from the policy that it is given: everything, its eyes alone, or a base to correct."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from data.errors import UserError
from data.spec import TaskSpec
from hilserl.agents.actors import GAUSSIAN, HYBRID, RESIDUAL, kind_of, new_actor
from hilserl.agents.networks import Policy
from hilserl.agents.residual import ResidualActor

# Named: draccus finds no help text behind a type with quotes in it.
ActorStart = Literal["policy", "scratch", "residual"]
Start = Literal["policy", "scratch"]


@dataclass(frozen=True)
class StartConfig:
    """What the agent begins with.

    `actor` is the policy's, anchored to what it was; or scratch: random weights, critics included, and no anchor; or
    residual: frozen, with a bounded correction to learn, and no anchor.
    """

    actor: ActorStart = "policy"  # go on with it; forget it; or freeze and correct it
    encoder: Start = "policy"  # random weights need an encoder_lr
    critics: Start = "policy"  # those that come with the policy, where there are any
    residual_scale: tuple[float, ...] = (0.3,)  # largest correction of an action; one for all, or one for each

    def __post_init__(self) -> None:
        if self.encoder == "scratch" and self.actor != "scratch":
            raise UserError(
                f"start.actor is {self.actor!r}, which knows the policy's encoder, and start.encoder is 'scratch'; "
                "accepted is start.actor=scratch with it"
            )


def prepare(policy: Policy, task: TaskSpec, start: StartConfig, *, discrete_gripper: bool = False) -> Policy:
    """Give the policy the actor, and perhaps the encoder, that the agent begins with; return it.

    Args:
        policy: as loaded; it is changed.
        task: what it is for.
        start: what stays of it.
        discrete_gripper: its gripper is to close, keep or open; one that has such a gripper keeps it.

    Raises:
        UserError: what it has cannot become what is asked for.
    """
    if start.actor == "scratch":
        fresh = Policy(task.observation, len(task.action.names), policy.config)
        policy.actor = fresh.actor
        if start.encoder == "scratch":
            policy.encoder = fresh.encoder
    kind = kind_of(policy.actor)
    if kind == (RESIDUAL if discrete_gripper else HYBRID):
        raise UserError(
            f"the policy's actor is {kind}, and its gripper cannot become another. Accepted are the other "
            "--learner.sac.gripper, --learner.start.actor=scratch, or another --policy.path"
        )
    if start.actor == "residual":
        if kind != GAUSSIAN or discrete_gripper:
            raise UserError(
                f"start.actor=residual corrects a {GAUSSIAN} actor, and its gripper is continuous. This one is {kind}, "
                f"to be made {HYBRID if discrete_gripper else RESIDUAL}. Accepted here is --learner.start.actor=policy"
            )
        policy.actor = ResidualActor.over(policy, task.observation, start.residual_scale)
    if discrete_gripper and kind == GAUSSIAN:
        hybrid = new_actor(HYBRID, policy, task.observation)
        hybrid.load_state_dict(policy.actor.state_dict(), strict=False)  # its grasp critic is new
        policy.actor = hybrid
    return policy
