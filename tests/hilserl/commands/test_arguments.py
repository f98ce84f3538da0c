"""`--rig=DIR` stands for the flags of a running rig, in every command, as far as the command has them."""

import json

import pytest

from data.errors import UserError
from hilserl.commands.arguments import EvalArgs, parse
from hilserl.commands.jog import ServiceArgs

FLAGS = {
    "arm": ["--plugins=sim_pretrain.rig.camera", "--robot.type=so101_follower", "--robot.port=/p", "--clock=/c"],
    "person": ["--teleop.type=virtual_pad", "--teleop.events=/e"],
}


@pytest.fixture
def rig(tmp_path):
    (tmp_path / "rig.json").write_text(json.dumps({"flags": FLAGS}))
    return f"--rig={tmp_path}"


def test_a_rig_stands_for_its_flags(rig):
    args = parse(EvalArgs, [rig, "--output_dir=run"])
    assert (args.robot.port, str(args.clock), str(args.teleop.events)) == ("/p", "/c", "/e")
    assert parse(ServiceArgs, [rig]).robot.port == "/p", "a command without a device leaves it out"


def test_what_is_said_beside_it_counts(rig):
    args = parse(EvalArgs, ["--teleop.type=none", rig, "--output_dir=run", "--clock=/mine"])
    assert type(args.teleop).__name__ == "NobodyConfig" and str(args.clock) == "/mine"
    assert args.robot.port == "/p"


def test_no_rig_there(tmp_path):
    with pytest.raises(UserError, match="hilserl rig --directory="):
        parse(EvalArgs, [f"--rig={tmp_path}", "--output_dir=run"])
