"""Who labels the steps: the scripted expert, or a policy that was trained on privileged state."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.schema import Observation
from hilserl.agents.policy_file import load_policy
from sim_pretrain.task.env import SimEnv, oracle_spec, privileged_state
from sim_pretrain.task.expert import Expert, expert_of
from sim_pretrain.world.truth import Truth


def make_teacher(env: SimEnv, teacher: str) -> Expert:
    """Return a function from the truth to an action float32 [4].

    Args:
        env: where it teaches; a policy's state is that of the environment's present observation.
        teacher: "expert" for the script, or the path of an oracle policy (`hilserl pretrain --method=rlpd`).

    Raises:
        UserError: there is no policy at the path, or it was made for another task.
    """
    if teacher == "expert":
        return expert_of(env.task)
    policy = load_policy(Path(teacher), oracle_spec(env.task.spec)).policy.eval()

    def act(truth: Truth) -> np.ndarray:
        state = np.concatenate((env.observation.state, privileged_state(truth))).astype(np.float32)
        return policy.act(Observation({}, state, 0.0))

    return act
