"""Courier and server on loopback: everything arrives once and in order, whatever comes and goes."""

from __future__ import annotations

import errno
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from shutil import rmtree, which
from typing import Any

import grpc
import numpy as np
import pytest
import torch

from data.errors import UserError
from data.store.episode_store import EpisodeStore
from data.store.reader import open_reader
from data.store.store_folder import StoreLocked
from hilserl.loop import link as link_module
from hilserl.loop.link import STALE_S, LearnerStatus, Link
from hilserl.loop.remote import courier as courier_module
from hilserl.loop.remote import messages
from hilserl.loop.remote import terms as terms_module
from hilserl.loop.remote.courier import Refused
from hilserl.loop.remote.messages import episode_parts
from hilserl.loop.remote.wire_pb2 import EpisodePart, Greeting, Have
from hilserl.loop.remote.wire_pb2_grpc import LearnerStub

STATUS = LearnerStatus("training", updates=7, debt=3, episodes=2, version=5)


def uuids(*seeds: int) -> list[str]:
    return [f"episode-{seed}" for seed in seeds]


# episodes


def test_what_is_committed_before_and_after_arrives_once_in_order_and_bit_for_bit(made, learner, actor, until) -> None:
    before = actor.commit(3, 1)
    with learner.open(), actor.courier(learner):
        until(lambda: learner.uuids() == uuids(3, 1))
        after = actor.commit(2, 0)
        until(lambda: len(learner.uuids()) == 4)
    for found, expected in zip(learner.episodes(), [*before, *after], strict=True):
        made.assert_same(found, expected)


def test_only_what_a_learner_learns_from_is_sent(learner, actor, until) -> None:
    actor.commit(0, kind="eval")
    actor.commit(1, kind="classifier")
    actor.commit(2, 3, kind="demo")
    annotations = open_reader(actor.run).annotations
    annotations.exclude("episode-2", why="cable in view")
    actor.commit(4, kind="baseline")
    with learner.open(), actor.courier(learner) as courier:
        until(lambda: courier.unsent() == 0)
    assert learner.uuids() == uuids(3, 4)


def test_a_learner_that_was_away_is_caught_up_with_nothing_twice(learner, actor, until) -> None:
    actor.commit(0, 1)
    with learner.open(), actor.courier(learner):
        until(lambda: learner.uuids() == uuids(0, 1))
    with actor.courier(learner):
        actor.commit(2, 3)
        for _ in range(2):
            with learner.open():
                until(lambda: learner.uuids() == uuids(0, 1, 2, 3))


def test_a_learner_that_starts_with_an_empty_folder_is_told_everything_again(learner, actor, until) -> None:
    """Also while the actor holds, and so commits nothing that would make it look."""
    actor.commit(0, 1, 2)
    with learner.open():
        courier = actor.courier(learner).__enter__()
        until(lambda: courier.unsent() == 0)
    rmtree(learner.run)
    with learner.open():
        until(lambda: learner.uuids() == uuids(0, 1, 2))
        courier.close()


def test_a_courier_may_start_before_the_learner(learner, actor, until) -> None:
    with learner.open():
        pass  # its port is known now
    with actor.courier(learner) as courier:
        courier.introduce()
        actor.commit(0)
        with learner.open():
            until(lambda: learner.uuids() == uuids(0))


def test_several_actors_at_once(learner, new_actor, until) -> None:
    actors = [new_actor(f"actor-{i}") for i in range(3)]
    with learner.open():
        couriers = [a.courier(learner).__enter__() for a in actors]
        for i in range(4):
            for n, actor in enumerate(actors):
                actor.commit(10 * n + i)
        until(lambda: len(learner.uuids()) == 12)
        for courier in couriers:
            courier.close()
    for n in range(3):  # each one's order is kept
        assert [u for u in learner.uuids() if int(u[8:]) // 10 == n] == uuids(*range(10 * n, 10 * n + 4))


def test_an_episode_that_training_must_not_see_is_refused_and_the_next_ones_arrive(
    made, learner, actor, until, caplog
) -> None:
    actor.commit(0)
    unfit = made.episode(actor.terms.spec, 1)
    unfit.state[0, 0] = np.nan
    with EpisodeStore.create_or_open(actor.run / "store", actor.terms.spec) as store:
        store.append(unfit)
    actor.commit(2)
    with learner.open(), actor.courier(learner) as courier:
        until(lambda: courier.unsent() == 0)
    assert learner.uuids() == uuids(0, 2)
    assert "the learner does not take episode 1" in caplog.text and "holds NaN" in caplog.text


def test_an_episode_that_is_damaged_here_does_not_block_the_next_ones(learner, actor, until, caplog) -> None:
    actor.commit(0, 1)
    frames = next((actor.run / "store" / "episodes" / "ep_000000" / "images" / "camera0").glob("0.*"))
    frames.write_bytes(frames.read_bytes()[:-3])
    with learner.open(), actor.courier(learner) as courier:
        until(lambda: courier.unsent() == 0)
    assert learner.uuids() == uuids(1)
    assert "episode 0 is damaged" in caplog.text


def test_an_episode_that_never_arrives_whole_does_not_block_the_next_ones(
    learner, actor, until, monkeypatch, caplog
) -> None:
    def parts(episode: Any, to: str) -> Iterator[EpisodePart]:
        whole = list(episode_parts(episode, to))
        return iter(whole[:-1] if episode.meta.uuid == "episode-0" else whole)

    monkeypatch.setattr(courier_module, "episode_parts", parts)
    actor.commit(0, 1)
    with learner.open(), actor.courier(learner) as courier:
        until(lambda: courier.unsent() == 0)
    assert learner.uuids() == uuids(1)
    assert caplog.text.count("refused") == courier_module.ATTEMPTS and "DATA_LOSS" in caplog.text


def test_when_the_learners_disk_is_full_episodes_wait(learner, actor, until, monkeypatch, caplog) -> None:
    commit, full = EpisodeStore._commit, [True]

    def refuse(store: EpisodeStore, episode: Any) -> Any:
        if full and store.path.is_relative_to(learner.run):
            raise OSError(errno.ENOSPC, "No space left on device")
        return commit(store, episode)

    monkeypatch.setattr(EpisodeStore, "_commit", refuse)
    actor.commit(0, 1)
    with learner.open(), actor.courier(learner) as courier:
        until(lambda: caplog.text.count("refused") > courier_module.ATTEMPTS)
        assert learner.uuids() == [] and courier.unsent() == 2
        assert sum("RESOURCE_EXHAUSTED" in r.message for r in caplog.records) == 1  # the operator is told once
        full.clear()
        until(lambda: learner.uuids() == uuids(0, 1))


# weights and status


def test_weights_and_status_arrive_as_if_the_learner_were_here(learner, actor, until, monkeypatch) -> None:
    monkeypatch.setattr(messages, "PART_BYTES", 1000)
    Link(learner.run).publish_weights({"a": torch.full((500,), 1.0)}, 100)
    here = Link(actor.run)
    with learner.open(), actor.courier(learner):
        until(lambda: (found := here.newer_weights()) is not None and found[1] == 100)
        assert here.live_learner() is None  # it has not reported in this life
        Link(learner.run).report(STATUS)
        until(lambda: here.live_learner() is not None)
        assert replace(here.live_learner(), unix_s=0.0, monotonic_s=0.0) == STATUS
        for version in (200, 300, 5):  # the newest is the last one, not the largest
            Link(learner.run).publish_weights({"a": torch.full((500,), float(version))}, version)
            found: list[Any] = []
            until(lambda found=found: (new := here.newer_weights()) is not None and not found.append(new))
            assert found[0][1] == version and (found[0][0]["a"] == version).all()


def test_what_a_learner_said_in_an_earlier_life_is_not_passed_on(learner, actor, until) -> None:
    Link(learner.run).report(STATUS)
    actor.commit(0)
    with learner.open(), actor.courier(learner) as courier:
        until(lambda: courier.unsent() == 0)
        assert Link(actor.run).learner() is None


def test_a_learner_that_hangs_is_silent_although_its_door_answers(learner, actor, until, monkeypatch) -> None:
    class Clock:
        now_s = 5.0
        monotonic = staticmethod(lambda: Clock.now_s)
        time = staticmethod(lambda: -1e9 * Clock.now_s)  # the time of day is nonsense

    monkeypatch.setattr(link_module, "time", Clock)
    here, there = Link(actor.run), Link(learner.run)
    with learner.open(), actor.courier(learner):
        for _ in range(3):
            Clock.now_s += STALE_S - 1
            there.report(STATUS)
            until(lambda: here.live_learner() is not None and here.silent_s() == 0)
        Clock.now_s += STALE_S + 1
        actor.commit(0)
        until(lambda: learner.uuids() == uuids(0))  # the door answers
        assert here.learner_is_silent()
        there.report(STATUS)
        until(lambda: not here.learner_is_silent())


def test_weights_that_are_here_already_are_not_brought_again(learner, actor, until) -> None:
    Link(learner.run).publish_weights({"a": torch.ones(5)}, 100)
    here = Link(actor.run)
    for _ in range(2):
        with learner.open(), actor.courier(learner):
            Link(learner.run).report(STATUS)
            until(lambda: here.learner() is not None)
    assert here.newer_weights() is not None and here.newer_weights() is None


# who is let in


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"token": "another-token-that-is-long"}, "wrong token"),
        ({"token": ""}, "wrong token"),
        ({"policy": "other"}, "started from policy policy, the actor from other"),
        ({"spec": None}, "rate_hz: the learner has 10.0, the actor has 20.0"),
    ],
)
def test_an_actor_that_was_started_with_something_else_is_refused(
    learner, actor, caplog, change: dict[str, Any], words: str
) -> None:
    actor.commit(0)
    if "spec" in change:
        change = {"spec": replace(actor.terms.spec, rate_hz=20.0)}
    actor.terms = replace(actor.terms, **change)
    with learner.open(), pytest.raises(Refused, match=words):
        actor.courier(learner).introduce()
    assert learner.uuids() == []
    assert words in caplog.text  # the learner's log says it, too


def test_another_protocol_is_refused(learner, actor, monkeypatch) -> None:
    with learner.open():
        monkeypatch.setattr(terms_module, "PROTOCOL", "2")
        with pytest.raises(Refused, match="speaks protocol '2', the learner '1'"):
            actor.courier(learner).introduce()


def test_a_learner_that_comes_back_with_another_token_lets_nothing_in(learner, actor, until, caplog) -> None:
    with learner.open():
        courier = actor.courier(learner)
        courier.introduce()
    courier.introduce()  # nobody there: a warning
    learner.terms = replace(learner.terms, token="another-token-that-is-long")
    with learner.open():
        courier.__enter__()
        actor.commit(0)
        until(lambda: "(UNAUTHENTICATED)" in caplog.text)
        assert learner.uuids() == [] and courier.unsent() == 1
        courier.close()


@pytest.fixture
def stub(learner) -> Iterator[tuple[LearnerStub, dict[str, Any]]]:
    """A client of our own that may say anything, and what every call of it needs."""
    with learner.open(), grpc.insecure_channel(learner.address) as channel:
        yield LearnerStub(channel), {"metadata": learner.terms.metadata(), "timeout": 30}


def code_of(call: Callable[[], object]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code()  # type: ignore[attr-defined]


def test_no_call_works_without_the_token(stub, made, terms) -> None:
    there, options = stub
    options = {**options, "metadata": replace(terms, token="").metadata()}
    for call in (
        lambda: there.Meet(Greeting(), **options),
        lambda: there.Push(episode_parts(made.episode(terms.spec, 0), ""), **options),
        lambda: list(there.News(Have(), **options)),
    ):
        assert code_of(call) is grpc.StatusCode.UNAUTHENTICATED


def test_nonsense_is_answered_and_the_learner_goes_on(stub, made, terms, learner) -> None:
    there, options = stub
    for text in ("", "null", "{}", "[1]", '{"name": 3}', "[" * 100_000):
        assert code_of(lambda text=text: there.Meet(Greeting(spec_json=text), **options)) in (
            grpc.StatusCode.FAILED_PRECONDITION,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        )
    greeting = Greeting(spec_json=terms.spec.to_json(), policy=terms.policy)
    me = there.Meet(greeting, **options).learner
    episode = made.episode(terms.spec, 0)
    header, *parts = episode_parts(episode, me)
    assert code_of(lambda: there.Push(iter(()), **options)) is grpc.StatusCode.ABORTED
    assert code_of(lambda: list(there.News(Have(learner="old"), **options))) is grpc.StatusCode.ABORTED
    assert code_of(lambda: there.Push(iter([header, *parts[:-1]]), **options)) is grpc.StatusCode.DATA_LOSS
    header.header.meta_json = "{half"
    assert code_of(lambda: there.Push(iter([header, *parts]), **options)) is grpc.StatusCode.INVALID_ARGUMENT
    assert learner.uuids() == []
    for _ in range(2):  # the same episode twice is one
        there.Push(episode_parts(episode, me), **options)
    assert learner.uuids() == uuids(0)


def test_an_actor_that_vanishes_in_the_middle_of_an_episode_leaves_nothing(stub, made, terms, learner) -> None:
    there, options = stub
    greeting = Greeting(spec_json=terms.spec.to_json(), policy=terms.policy)
    header, *parts = episode_parts(made.episode(terms.spec, 0), there.Meet(greeting, **options).learner)
    sending, gone = threading.Event(), threading.Event()

    def until_killed() -> Iterator[EpisodePart]:
        yield header
        sending.set()
        gone.wait(30)

    call = there.Push.future(until_killed(), **options)
    sending.wait(30)
    call.cancel()
    gone.set()
    assert learner.uuids() == []
    there.Push(iter([header, *parts]), **options)
    assert learner.uuids() == uuids(0)


# the door


def test_beyond_this_machine_only_with_a_token(learner) -> None:
    learner.address, learner.terms = "0.0.0.0:0", replace(learner.terms, token="")
    with pytest.raises(UserError, match="without a token"), learner.open():
        pass
    assert not learner.run.exists()


def test_a_port_that_is_taken_and_a_store_that_is_written_to_are_said(learner, new_actor) -> None:
    with learner.open():
        with pytest.raises(StoreLocked), learner.open():
            pass
        learner.run = learner.run / "other"
        with pytest.raises(UserError, match="Name another port"), learner.open():
            pass


@pytest.mark.skipif(which("openssl") is None, reason="makes the certificate")
def test_tls(learner, actor, tmp_path: Path, until, caplog) -> None:
    names = ["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=learner", "-addext", "subjectAltName=IP:127.0.0.1"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run(["openssl", "req", "-x509", *key, "-days", "9", *names], cwd=tmp_path, check=True)
    key_pem, certificate = (tmp_path / "key.pem").read_bytes(), (tmp_path / "cert.pem").read_bytes()
    actor.commit(0)
    with learner.open(certificate=(key_pem, certificate)):
        courier = actor.courier(learner).__enter__()  # not encrypted: not let in, and it goes on trying
        until(lambda: "(UNAVAILABLE)" in caplog.text)
        assert courier.unsent() == 1
        courier.close()
        with actor.courier(learner, certificate=certificate):
            until(lambda: learner.uuids() == uuids(0))


# the end of a session


def test_a_session_that_ends_well_waits_for_its_last_episodes(learner, actor, monkeypatch, caplog) -> None:
    with learner.open(), actor.courier(learner):
        actor.commit(*range(5))
    assert learner.uuids() == uuids(*range(5))
    with pytest.raises(KeyboardInterrupt), actor.courier(learner):
        actor.commit(5)
        raise KeyboardInterrupt
    assert "6 episodes are not known to be with the learner" in caplog.text  # it met none
    monkeypatch.setattr(courier_module, "FLUSH_S", 0.1)
    with actor.courier(learner):
        pass
    with learner.open(), actor.courier(learner) as courier:
        courier.flush(30)
    assert learner.uuids() == uuids(*range(6))


def test_whatever_goes_wrong_here_the_courier_goes_on(learner, actor, until, monkeypatch, caplog) -> None:
    put, failures = Link.put_weights_file, iter([OSError(errno.ENOSPC, "No space left on device")] * 2)

    def fail(link: Link, content: bytes) -> None:
        if error := next(failures, None):
            raise error
        put(link, content)

    monkeypatch.setattr(Link, "put_weights_file", fail)
    Link(learner.run).publish_weights({"a": torch.ones(5)}, 100)
    here = Link(actor.run)
    with learner.open(), actor.courier(learner):
        until(lambda: here.newer_weights() is not None)
    assert "No space left on device" in caplog.text
