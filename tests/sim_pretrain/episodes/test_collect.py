"""What a simulation process says when it cannot go on, and what is said of one that is gone."""

from multiprocessing import Pipe
from pathlib import Path

import pytest

from data.errors import UserError
from sim_pretrain.episodes.collect import Collector, Driver, _serve
from sim_pretrain.task.env import EnvConfig


def collector_of(*pipes) -> Collector:
    """A collector whose workers have been started already."""
    made = Collector(EnvConfig(blind=True), len(pipes))
    made._pipes = list(pipes)
    return made


def episodes_of(collector: Collector) -> list:
    return list(collector.run(Driver(), [7]))


def test_a_worker_that_the_person_can_put_right_says_how(tmp_path: Path):
    ours, theirs = Pipe()
    _serve(theirs, EnvConfig(blind=True), teacher=str(tmp_path / "nowhere"))
    theirs.close()
    with pytest.raises(UserError, match="nowhere"):
        episodes_of(collector_of(ours))


def test_a_worker_that_fails_says_where():
    ours, theirs = Pipe()
    ours.send(("policy", None))
    ours.send(("run", "no driver", 7))
    _serve(theirs, EnvConfig(oracle=True), teacher="expert")
    theirs.close()
    with pytest.raises(RuntimeError, match=r"seed 7(.|\n)*AttributeError"):
        episodes_of(collector_of(ours))


def test_a_worker_that_was_killed_is_missed():
    ours, theirs = Pipe()
    theirs.close()
    with pytest.raises(UserError, match="--workers=1"):
        episodes_of(collector_of(ours))
