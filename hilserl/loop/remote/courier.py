"""The courier beside the actor: sends every committed episode to the learner, and brings its weights and status.

It works on the actor's own files, so the actor knows nothing of it: new commits in the store go out, what comes in is
written to the link folder. Two threads, one for each direction, meet the learner, work until something breaks, wait,
and begin again, for ever. Nothing is remembered about what was sent: each meeting asks what is missing.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Self

import grpc

from data.errors import UserError
from data.store.commit_log import Commit
from data.store.episode_codec import CorruptEpisode
from data.store.reader import AnnotatedReader, open_reader
from hilserl.loop.link import Link
from hilserl.loop.remote.messages import WeightsFile, episode_parts, from_status
from hilserl.loop.remote.terms import CHANNEL_OPTIONS, Terms
from hilserl.loop.remote.wire_pb2 import Greeting, Have, Status, Welcome
from hilserl.loop.remote.wire_pb2_grpc import LearnerStub

LOOK_S = 0.05  # between two looks for new episodes
BACKOFF_S = (0.5, 5.0)  # after a failure, doubling from the first to the second
MEET_S = 10.0  # deadlines; a peer that is gone shows within ten seconds, so these are for one that is stuck
NEWS_S = 600.0
PUSH_S, PUSH_BYTES_PER_S = 60.0, 50e3  # and for an episode, its bytes at this rate
FLUSH_S = 120.0  # for the last episodes, when a session is over
ATTEMPTS = 3  # at an episode that arrives damaged, or that the learner stumbles over, before the next one has its turn
Code = grpc.StatusCode
REFUSALS = (Code.UNAUTHENTICATED, Code.FAILED_PRECONDITION, Code.UNIMPLEMENTED)  # waiting does not help
ITS_OWN_FAULT = (Code.DATA_LOSS, Code.UNKNOWN, Code.INTERNAL, Code.INVALID_ARGUMENT)  # the episode's, not the link's
_log = logging.getLogger(__name__)


class Refused(UserError):
    """The learner will not talk to this actor."""


class Courier:
    """Keeps a run and a learner elsewhere alike while its block lasts. The run's store must exist by then."""

    def __init__(
        self, run: Path, address: str, terms: Terms, kinds: Collection[str], certificate: bytes | None = None
    ) -> None:
        """Prepare to bring episodes of these `kinds` to the learner at `address`.

        Args:
            run: the actor's run.
            address: of `terms.parse_address`.
            terms: what the learner has to have been started with, too.
            kinds: what a learner learns from.
            certificate: the learner's (PEM), to encrypt with TLS; or that of who signed it.
        """
        self._run, self._address, self._terms, self._kinds = run, address, terms, kinds
        if certificate:
            credentials = grpc.ssl_channel_credentials(certificate)
            self._channel = grpc.secure_channel(address, credentials, options=CHANNEL_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._learner = LearnerStub(self._channel)
        self._stopping = threading.Event()
        self._met = ""  # id of the learner that was met last
        self._settled = -1  # index of the last commit that this learner has, or will not take
        self._attempts = Counter[str]()  # at each episode that it stumbled over
        self._relayed: Status | None = None
        self._troubles: dict[str, str] = {}  # what keeps each direction from working, if anything does
        self._threads = [threading.Thread(target=self._keep, args=(w,), daemon=True) for w in (self._push, self._pull)]

    def introduce(self) -> None:
        """Compare what both sides were started with; a learner that does not answer yet is only warned of.

        Raises:
            Refused: token, version, task or policy differ; the message says how.
        """
        try:
            self._meet([])
        except grpc.RpcError as error:
            if error.code() in REFUSALS:
                raise Refused(f"the learner at {self._address} refuses this actor: {error.details()}") from error
            self._note_trouble("_pull", error)

    def unsent(self) -> int:
        """Return how many of the committed episodes are still to be sent."""
        return sum(c.kind in self._kinds for c in open_reader(self._run).tail(self._settled))

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything is sent, or for `timeout_s`; return whether it is."""
        until_s = time.monotonic() + timeout_s
        while (unsent := self.unsent()) and time.monotonic() < until_s:
            time.sleep(LOOK_S)
        return not unsent

    def close(self) -> None:
        """Stop; what is not sent stays in the run's store, and goes out when the next courier of this run starts."""
        self._stopping.set()
        self._channel.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self.unsent():
                _log.warning("sending the last episodes to the learner; Ctrl-C leaves them for the next start")
                self.flush(FLUSH_S)
        finally:
            self.close()
            if unsent := self.unsent():
                _log.warning("%d episodes are not known to be with the learner; the same command sends them", unsent)

    def _keep(self, work: Callable[[], None]) -> None:
        """Do `work` again and again, with a pause when it failed."""
        backoff_s, longest_s = BACKOFF_S
        while not self._stopping.is_set():
            began_s = time.monotonic()
            try:
                work()
            except Exception as error:  # whatever it is: the episodes are safe in the store, and later it may work
                if self._stopping.is_set():
                    return
                self._note_trouble(work.__name__, error)
                if time.monotonic() - began_s > longest_s:
                    backoff_s = BACKOFF_S[0]
                self._stopping.wait(backoff_s)
                backoff_s = min(2 * backoff_s, longest_s)

    def _meet(self, uuids: list[str]) -> Welcome:
        greeting = Greeting(spec_json=self._terms.spec.to_json(), policy=self._terms.policy, uuids=uuids)
        welcome = self._learner.Meet(greeting, metadata=self._terms.metadata(), timeout=MEET_S)
        if welcome.learner != self._met:
            self._met = welcome.learner
            self._attempts.clear()
        return welcome

    def _push(self) -> None:
        """Send what the learner has not got, oldest first, then whatever is committed, until it is another learner."""
        store = open_reader(self._run)
        uuids = [c.uuid for c in store.tail() if c.kind in self._kinds]
        welcome = self._meet(uuids)
        held = set(uuids) - set(welcome.missing)
        self._settled = -1
        while not self._stopping.is_set() and self._met == welcome.learner:
            for commit in store.tail(self._settled):
                if commit.kind in self._kinds and commit.uuid not in held:
                    self._send(store, commit, welcome.learner)
                self._settled = commit.index
            self._note_fine("_push")
            self._stopping.wait(LOOK_S)

    def _send(self, store: AnnotatedReader, commit: Commit, learner: str) -> None:
        """Return when the learner has this episode, or will never take it."""
        try:
            episode = store.read(commit)
        except CorruptEpisode as error:
            _log.warning("episode %d is damaged and cannot be sent: %s", commit.index, error)
            return
        size = sum(array.nbytes for array in episode.images.values())
        timeout_s = PUSH_S + size / PUSH_BYTES_PER_S
        try:
            self._learner.Push(episode_parts(episode, learner), metadata=self._terms.metadata(), timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() not in ITS_OWN_FAULT:
                raise
            self._attempts[commit.uuid] += ATTEMPTS if error.code() is Code.INVALID_ARGUMENT else 1
            if self._attempts[commit.uuid] < ATTEMPTS:
                raise
            _log.warning("the learner does not take episode %d, the others go on: %s", commit.index, error.details())

    def _pull(self) -> None:
        """Bring status and newer weights until it is another learner."""
        link = Link(self._run)
        learner = self._meet([]).learner
        sha256 = hashlib.sha256(link.newer_weights_file() or b"").hexdigest()
        while not self._stopping.is_set() and self._met == learner:
            incoming: WeightsFile | None = None
            have = Have(learner=learner, weights_sha256=sha256)
            for part in self._learner.News(have, metadata=self._terms.metadata(), timeout=NEWS_S):
                if part.HasField("status") and part.status != self._relayed:  # the same again is no sign of life
                    self._relayed = part.status
                    link.report(from_status(part.status))
                if part.HasField("weights"):
                    incoming = WeightsFile(part.weights)
                if incoming and (content := incoming.add(part.content)):
                    link.put_weights_file(content)
                    sha256 = incoming.sha256
            self._note_fine("_pull")

    def _note_trouble(self, direction: str, error: Exception) -> None:
        """Tell the operator, unless it is what they know already."""
        kind, words = type(error).__name__, str(error)
        if isinstance(error, grpc.RpcError):
            kind, words = error.code().name, error.details()
        if kind not in self._troubles.values():
            _log.warning("the learner at %s: %s (%s). Episodes are kept; trying on", self._address, words, kind)
        self._troubles[direction] = kind

    def _note_fine(self, direction: str) -> None:
        if self._troubles.pop(direction, None) and not self._troubles:
            _log.warning("the learner at %s answers", self._address)
