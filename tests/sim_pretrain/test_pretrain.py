"""The command: what it makes drops into everything else, it goes on after a kill, and it refuses to mix two runs."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from data.errors import UserError
from hilserl.agents.policy_file import load_policy
from hilserl.runs import load_checkpoint
from hilserl.tasks import read_task
from sim_pretrain.pretrain import main
from sim_pretrain.task.tasks import TASKS

TINY = [
    "--workers=1", "--threads=1", "--evaluate=2", "--distill.teacher_episodes=2", "--distill.rounds=1",
    "--distill.round_episodes=1", "--distill.cloning_updates=20", "--distill.round_updates=10",
    "--distill.critic_episodes=1", "--distill.critic_updates=3", "--distill.evaluate=1",
    "--distill.cloning.batch_size=16",
]  # fmt: skip

RL = [
    "--method=rlpd", "--randomize=false", "--rl.demos=1", "--rl.evaluation_episodes=1", "--rl.evaluate_every=20",
    "--rl.steps=20", "--threads=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("pretrain") / "lift"
    threads = torch.get_num_threads()
    assert main([*TINY, f"--output_dir={path}"]) == 0
    torch.set_num_threads(threads)
    return path


def test_it_leaves_a_policy_with_its_provenance_and_films(made):
    loaded = load_policy(made, TASKS["lift"].spec)
    assert loaded.golden and loaded.critic
    provenance = loaded.info["provenance"]
    assert "output_dir" not in provenance["command"] and "--evaluate=2" in provenance["command"]
    assert provenance["flags"]["randomize"] is True and provenance["flags"]["task"] == "lift"
    assert loaded.info["evaluation"]["n"] == 2
    assert len(list((made / "films").glob("*.mp4"))) == 2  # of three: there were no more episodes


def test_a_second_run_in_the_same_place_is_refused(made):
    with pytest.raises(UserError, match="--resume"):
        main([*TINY, f"--output_dir={made}"])


def test_a_resume_with_other_flags_is_refused_with_what_differs(made):
    with pytest.raises(UserError, match=r"distill\.rounds: this command has 2, the run has 1"):
        main([*TINY, f"--output_dir={made}", "--resume", "--distill.rounds=2"])
    with pytest.raises(UserError, match=r"spec\.name"):
        main([*TINY, f"--output_dir={made}", "--resume", "--task=bowl"])


def test_nothing_to_resume_is_said(tmp_path):
    with pytest.raises(UserError, match="no run to resume"):
        main([*TINY, f"--output_dir={tmp_path / 'none'}", "--resume"])


def test_an_unknown_task_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="lift, bowl, paper"):
        main([*TINY, "--task=stack", f"--output_dir={tmp_path / 'x'}"])
    assert not (tmp_path / "x").exists()


def test_killed_and_resumed_it_ends_with_the_same_numbers(made, tmp_path):
    path = tmp_path / "run"
    command = [sys.executable, "-m", "hilserl.cli", "pretrain", *TINY, f"--output_dir={path}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 120
    while not (path / "checkpoints" / "latest").exists() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    threads = torch.get_num_threads()
    assert main([*TINY, f"--output_dir={path}", "--resume"]) == 0
    torch.set_num_threads(threads)
    ours, theirs = load_checkpoint(path)[0], load_checkpoint(made)[0]
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=0)


def test_preview_draws_the_tables_and_makes_no_run(tmp_path):
    assert main(["--preview", f"--output_dir={tmp_path}"]) == 0
    assert (tmp_path / "preview.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "pretrain.json").exists()


def test_reinforcement_learning_starts_from_the_same_command_and_a_resume_may_be_longer(tmp_path, capsys):
    flags = [*RL, f"--output_dir={tmp_path / 'rl'}"]
    assert main(flags) == 0
    assert "finished after" in capsys.readouterr().out
    assert json.loads((tmp_path / "rl" / "rl.json").read_text())["config"]["method"] == "rlpd"
    assert main([*flags, "--rl.steps=40", "--resume"]) == 0
    with pytest.raises(UserError, match=r"rl\.utd"):
        main([*flags, "--rl.steps=40", "--rl.utd=2", "--resume"])


def test_its_help_can_be_printed(capsys):
    with pytest.raises(SystemExit) as ended:  # a per cent sign in a comment breaks argparse
        main(["--help"])
    assert ended.value.code == 0 and "--distill.rounds" in capsys.readouterr().out


@pytest.mark.parametrize("asked", [[], ["--method=drqv2"], ["--method=sac", "--rl.pixels"], ["--method=sb3-sac"]])
def test_many_worlds_are_for_methods_that_learn_from_state(asked, tmp_path):
    with pytest.raises(UserError, match=r"--method=rlpd and --method=sac, from state.*leave out --backend=gpu"):
        main([*asked, "--backend=gpu", f"--output_dir={tmp_path / 'x'}"])
    assert not (tmp_path / "x").exists()


def test_without_the_extra_of_the_gpu_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "warp", None)
    with pytest.raises(UserError, match=r"uv run --extra gpu hilserl pretrain --backend=gpu.*without --backend=gpu"):
        main(["--method=sac", "--backend=gpu", f"--output_dir={tmp_path / 'x'}"])
    assert not (tmp_path / "x").exists()


def test_what_failed_before_it_began_can_be_tried_again(tmp_path, monkeypatch):
    """The first try of a new user is wrong; the corrected command must not be refused for it."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    flags = [*RL, f"--output_dir={tmp_path / 'rl'}"]
    for wrong in ("--rl.reward=v99", "--rl.stages={space: 1}", "--rl.tensorboard=true"):
        with pytest.raises(UserError, match=r"v99|space|tensorboard"):
            main([*flags, wrong])
    assert main(flags) == 0


def test_a_policy_of_small_images_comes_with_the_task_that_the_arm_needs_for_it(tmp_path, capsys):
    flags = [f for f in RL if not f.startswith("--method")]
    assert main([*flags, "--method=drqv2", "--rl.capacity_gib=0.05", f"--output_dir={tmp_path / 'rl'}"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == f"On the arm: --policy.path={tmp_path / 'rl' / 'policy'} --task={tmp_path / 'rl' / 'task.json'}"
    spec = read_task(str(tmp_path / "rl" / "task.json"))
    assert spec.observation.cameras[0].size_px == 64
    assert load_policy(tmp_path / "rl" / "policy", spec).policy.cameras == ("wrist",)
    with pytest.raises(UserError, match="size_px: "):
        load_policy(tmp_path / "rl" / "policy", read_task("lift"))
