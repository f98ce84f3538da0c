"""The kinds of actor that a policy can have; a checkpoint names its own."""

from __future__ import annotations

from data.errors import UserError
from data.spec import ObservationSpec
from hilserl.agents.gripper import HybridActor
from hilserl.agents.networks import Actor, Policy
from hilserl.agents.residual import ResidualActor

GAUSSIAN, HYBRID, RESIDUAL = "gaussian", "hybrid", "residual"
ACTORS = {GAUSSIAN: Actor, HYBRID: HybridActor, RESIDUAL: ResidualActor}


def kind_of(actor: Actor) -> str:
    """Return the name of an actor's kind."""
    return next(kind for kind, cls in ACTORS.items() if type(actor) is cls)


def new_actor(kind: str, policy: Policy, spec: ObservationSpec) -> Actor:
    """Return an actor of this kind, with random weights, in the shape of the policy's own.

    Raises:
        UserError: there is no such kind, or the state has not what it needs.
    """
    if kind not in ACTORS:
        raise UserError(f"the policy's actor is {kind!r}; this version knows {', '.join(ACTORS)}")
    return ACTORS[kind](policy.features, spec, policy.actor.mean.out_features, policy.config)
