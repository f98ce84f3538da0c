"""How the settings of a run follow from its flags."""

from __future__ import annotations

from dataclasses import replace

import pytest

from data.errors import UserError
from hilserl.flags import parse_flags
from sim_pretrain.pretrain import PretrainArgs
from sim_pretrain.rl.config import RLConfig, ScratchConfig, StateNetworkConfig, learner_of


def test_a_flag_changes_what_it_names_and_nothing_beside_it() -> None:
    """The defaults of a session on the arm (an anchor, small exploration) must not come back with the first flag."""
    args = parse_flags(PretrainArgs, ["--rl.sac.cloning_start=0", "--rl.network.hidden=64"])
    assert args.rl.sac == replace(ScratchConfig(), cloning_start=0.0)
    assert args.rl.network == replace(StateNetworkConfig(), hidden=64)
    assert (args.rl.sac.anchor_start, args.rl.network.std_max) == (0.0, 1.0)


@pytest.mark.parametrize("method", ["rlpd", "drqv2"])
def test_returns_have_as_many_steps_as_asked_for(method: str) -> None:
    config = learner_of(RLConfig(method=method, n_step=5).settled())  # type: ignore[arg-type]
    assert config.replay.n_step == config.pixels.n_step == 5
    with pytest.raises(UserError, match="n_step is 0"):
        RLConfig(n_step=0)
