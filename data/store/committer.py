"""Commits episodes on its own thread, so that the control thread never waits for the disk."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from data.schema import Episode
from data.store.commit_log import Commit
from data.store.episode_store import EpisodeStore


class Committer:
    """Hands episodes to `store.append` one after the other; a context manager. Close it before the store."""

    def __init__(self, store: EpisodeStore) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="committer")
        self._failure: BaseException | None = None
        self._lock = threading.Lock()

    def submit(self, episode: Episode) -> Future[Commit]:
        """Queue one episode and return at once; until it is committed, its journal keeps it safe.

        Raises:
            Exception: what went wrong with an earlier episode, once. `episode` is then not queued:
                submit it again.
        """
        self._raise_failure()
        future = self._pool.submit(self._store.append, episode)
        future.add_done_callback(self._note)
        return future

    def close(self) -> None:
        """Wait until every queued episode is committed; raise what went wrong, if nobody was told yet."""
        self._pool.shutdown(wait=True)
        self._raise_failure()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _note(self, future: Future[Commit]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            with self._lock:
                self._failure = self._failure or error

    def _raise_failure(self) -> None:
        with self._lock:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
