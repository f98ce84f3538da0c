"""`hilserl learner --listen`: a real learner process without an arm, and an actor's courier."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from data.errors import UserError
from data.store.episode_store import EpisodeStore
from hilserl.agents.policy_file import load_policy
from hilserl.commands import learner as command
from hilserl.commands.arguments import SHIPPED, LearnerArgs, parse
from hilserl.loop.learner import KINDS
from hilserl.loop.link import Link
from hilserl.loop.remote.courier import Courier
from hilserl.loop.remote.terms import Terms, policy_fingerprint
from hilserl.tasks import lift_task

TOKEN = "0123456789abcdef"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    return path


@pytest.fixture
def learner(tmp_path: Path, token_file: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running learner and its address."""
    flags = [f"--output_dir={tmp_path / 'learner'}", "--listen=0", f"--token_file={token_file}"]
    learning = {"baseline_episodes": 1, "critic_updates": 2, "publish_every": 1, "replay.batch_size": 8}
    flags += [f"--learner.{name}={value}" for name, value in learning.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "hilserl.cli", "learner", *flags], stderr=subprocess.PIPE, text=True
    )
    try:
        said = []
        while "listening at" not in (line := process.stderr.readline()):
            said.append(line)
            assert line, "".join(said)
        yield process, line.split()[-1]
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_it_learns_from_what_is_sent_and_sends_back_what_it_learned(
    made: ModuleType, tmp_path: Path, learner: tuple[subprocess.Popen[str], str]
) -> None:
    process, address = learner
    task = lift_task()
    terms = Terms(task, policy_fingerprint(load_policy(SHIPPED, task).policy), TOKEN)
    with EpisodeStore.create_or_open(tmp_path / "actor" / "store", task) as store:
        for seed, kind in enumerate(("baseline", "online")):
            store.append(made.episode(task, seed, kind=kind))
    here, version = Link(tmp_path / "actor"), 0
    with Courier(tmp_path / "actor", address, terms, KINDS) as courier:
        courier.introduce()
        deadline_s = time.monotonic() + 100
        while version == 0 or (status := here.live_learner()) is None or status.debt:
            assert process.poll() is None and time.monotonic() < deadline_s
            version = (here.newer_weights() or (None, version))[1]
            time.sleep(0.05)
    assert (status.phase, status.episodes) == ("training", 2)
    process.send_signal(signal.SIGTERM)
    process.stderr.read()
    assert process.wait(60) == 0
    assert (tmp_path / "learner" / "checkpoints" / "latest").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--listen=0.0.0.0:0"], "without a token anybody there could train"),
        (["--listen=here"], "accepted are HOST:PORT"),
        (["--listen=0", "--tls_key=key.pem"], "both --tls_cert and --tls_key"),
        (["--listen=0", "--token_file=nowhere"], "openssl rand"),
    ],
)
def test_what_cannot_be_listened_with_is_said_before_anything_begins(
    tmp_path: Path, flags: list[str], words: str
) -> None:
    args = parse(LearnerArgs, [f"--output_dir={tmp_path / 'run'}", *flags])
    start = load_policy(SHIPPED, lift_task()).policy
    with pytest.raises(UserError, match=words), command.open_door(args, lift_task(), start):
        pytest.fail("it listens")
    assert not (tmp_path / "run" / "store").exists()


def test_it_takes_the_flags_of_an_arm_as_train_passes_them_on_but_needs_none(tmp_path: Path) -> None:
    run = f"--output_dir={tmp_path / 'run'}"
    assert parse(LearnerArgs, [run]).robot is None
    cameras = '{"wrist": {"type": "opencv", "index_or_path": 0, "width": 640, "height": 480, "fps": 30}}'
    arm = ["--robot.type=so101_follower", "--robot.port=/dev/null", f"--robot.cameras={cameras}", "--teleop.type=none"]
    args = parse(LearnerArgs, [*arm, run, "--learner.utd=2", "--resume=true"])
    assert (args.robot.port, args.robot.cameras["wrist"].width) == ("/dev/null", 640)
    assert args.learner.utd == 2 and args.resume
