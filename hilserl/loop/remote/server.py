"""The learner's door: takes episodes in from couriers and gives out weights and status. It owns the learner's store.

The learner knows nothing of it. It tails the store, and writes weights and status into its link folder, as it does
when the actor sits beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import grpc

from data.errors import DiskRefused, UserError
from data.lint import require_fit
from data.spec import TaskSpec, difference
from data.store.episode_store import EpisodeStore
from hilserl.loop.link import Link
from hilserl.loop.remote.messages import Incomplete, read_episode, to_status, weights_parts
from hilserl.loop.remote.terms import PROTOCOL, SERVER_OPTIONS, Terms, require_token
from hilserl.loop.remote.wire_pb2 import EpisodePart, Greeting, Have, NewsPart, Receipt, Welcome
from hilserl.loop.remote.wire_pb2_grpc import LearnerServicer, add_LearnerServicer_to_server

HEARTBEAT_S = 0.5  # an actor hears something at least this often
LOOK_S = 0.01  # between two looks for newer weights
WORKERS = 32  # each actor keeps one busy, two while it sends an episode
GRACE_S = 10.0  # for what is being committed when the learner ends
SHOWN_CHARACTERS = 1500  # of an error; gRPC sends it as a header, and drops the call when headers get long
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def serving(run: Path, terms: Terms, address: str, certificate: tuple[bytes, bytes] | None = None) -> Iterator[str]:
    """Serve a run's learner at `address` while the block lasts; yields the address with the port that was given.

    Args:
        run: the learner's run; this becomes the only writer of its store.
        terms: what actors have to have been started with, too.
        address: of `terms.parse_address`; port 0 takes any that is free.
        certificate: (private key, certificate), PEM, to encrypt with TLS.

    Raises:
        UserError: the address is taken, or is open to others without a token, or somebody else writes to the store.
    """
    require_token(address, terms.token)
    with EpisodeStore.create_or_open(run / "store", terms.spec) as store:
        server = grpc.server(ThreadPoolExecutor(WORKERS, "actors"), options=SERVER_OPTIONS)
        add_LearnerServicer_to_server(_Server(store, Link(run), terms), server)
        try:
            if certificate:
                port = server.add_secure_port(address, grpc.ssl_server_credentials([certificate]))
            else:
                port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise UserError(
                f"cannot listen at {address}: its port is taken, it is none of this machine's, or the "
                "TLS files do not fit. Name another port, or end what has it"
            ) from error
        server.start()
        try:
            yield f"{address.rpartition(':')[0]}:{port}"
        finally:
            server.stop(GRACE_S).wait()


class _Server(LearnerServicer):
    def __init__(self, store: EpisodeStore, link: Link, terms: Terms) -> None:
        self._store, self._link, self._terms = store, link, terms
        self._id = uuid.uuid4().hex
        self._weights, self._sha256 = b"", ""  # the newest file and its hash
        self._looking = threading.Lock()

    def Meet(self, request: Greeting, context: grpc.ServicerContext) -> Welcome:
        self._admit(context)
        try:
            spec = TaskSpec.from_json(request.spec_json)
        except Exception as error:  # whatever a text from the network makes the decoder raise
            _refuse(context, grpc.StatusCode.FAILED_PRECONDITION, f"the actor's task spec cannot be read: {error}")
        if spec.fingerprint != self._terms.spec.fingerprint:
            ours, theirs = (json.loads(s.to_json()) for s in (self._terms.spec, spec))
            lines = difference(ours, theirs, "the learner", "the actor")
            words = "learner and actor have different task specs:\n" + "\n".join(lines) + "\nGive both the same --task"
            _refuse(context, grpc.StatusCode.FAILED_PRECONDITION, words)
        if request.policy != self._terms.policy:
            words = f"the learner started from policy {self._terms.policy}, the actor from {request.policy}. Copy the "
            _refuse(context, grpc.StatusCode.FAILED_PRECONDITION, words + "policy to both machines: --policy.path=...")
        held = {commit.uuid for commit in self._store.commits()}
        missing = [uuid for uuid in request.uuids if uuid not in held]
        if request.uuids:
            _log.info("%s: %d episodes, %d of them new here", context.peer(), len(request.uuids), len(missing))
        return Welcome(learner=self._id, missing=missing)

    def Push(self, request_iterator: Iterator[EpisodePart], context: grpc.ServicerContext) -> Receipt:
        self._admit(context)
        header = next(request_iterator, EpisodePart()).header
        self._require_me(header.learner, context)
        try:
            episode = read_episode(header, request_iterator, self._terms.spec)
            require_fit(episode, self._terms.spec)  # the learner would end over an episode that is not
            commit = self._store.append(episode)
        except Incomplete as error:
            _refuse(context, grpc.StatusCode.DATA_LOSS, str(error))
        except DiskRefused as error:
            _refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except (ValueError, UserError) as error:
            _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        _log.info("%s: episode %d (%s), %d steps", context.peer(), commit.index, commit.uuid, commit.steps)
        return Receipt()

    def News(self, request: Have, context: grpc.ServicerContext) -> Iterator[NewsPart]:
        self._admit(context)
        self._require_me(request.learner, context)
        until_s = time.monotonic() + HEARTBEAT_S
        while context.is_active():
            weights, sha256 = self._newest_weights()
            newer = sha256 not in ("", request.weights_sha256)
            if newer or time.monotonic() > until_s:
                for part in weights_parts(weights, sha256) if newer else [NewsPart()]:
                    if status := self._link.live_learner():
                        part.status.CopyFrom(to_status(status))
                    yield part
                return
            time.sleep(LOOK_S)

    def _newest_weights(self) -> tuple[bytes, str]:
        with self._looking:
            newer = self._link.newer_weights_file()
            if newer is not None:
                self._weights, self._sha256 = newer, hashlib.sha256(newer).hexdigest()
            return self._weights, self._sha256

    def _admit(self, context: grpc.ServicerContext) -> None:
        metadata = dict(context.invocation_metadata())
        if not self._terms.admits(metadata):
            _refuse(context, grpc.StatusCode.UNAUTHENTICATED, "wrong token. Give both sides the same --token_file")
        if (theirs := metadata.get("hilserl-protocol", "")) != PROTOCOL:
            words = f"the actor speaks protocol {theirs!r}, the learner {PROTOCOL!r}. Install one version on both"
            _refuse(context, grpc.StatusCode.FAILED_PRECONDITION, words)

    def _require_me(self, learner: str, context: grpc.ServicerContext) -> None:
        """Turn away a courier that met another learner at this address: what it knows of us is not true."""
        if learner != self._id:
            context.abort(grpc.StatusCode.ABORTED, "the learner was started again")


def _refuse(context: grpc.ServicerContext, code: grpc.StatusCode, words: str) -> NoReturn:
    _log.warning("refused %s: %s", context.peer(), words)
    context.abort(code, words if len(words) <= SHOWN_CHARACTERS else f"{words[:SHOWN_CHARACTERS]} ...")
    raise AssertionError("abort always raises")
