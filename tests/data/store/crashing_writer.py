"""A process to be killed: each line on stdin makes it fork a child that commits and journals in a loop.

stdin: "<folder of the store> <first seed> <1 to commit on another thread>".
stdout, from the child: "pid <pid>", then "began|step|committed <seed> [steps]" after each call has returned;
then, from the parent, "dead" once the child was killed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from concurrent.futures import Future
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import made_episodes as made

from data.schema import Episode
from data.store.committer import Committer
from data.store.episode_store import EpisodeStore

STEPS = 5


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def write_for_ever(path: str, seed: int, threaded: bool) -> None:
    spec = made.task()
    with EpisodeStore.create_or_open(path, spec) as store, Committer(store) as committer:
        pending: deque[Future] = deque()
        while True:
            if len(pending) == 2:
                pending.popleft().result()
            first, steps = made.steps(spec, seed, STEPS)
            journal = store.journal(first, made.meta(spec, seed))
            say("began", seed)
            for count, step in enumerate(steps, 1):
                journal.add(step)
                say("step", seed, count)
            episode = Episode.from_steps(first, steps, made.meta(spec, seed))
            if threaded:

                def acknowledge(future: Future, seed: int = seed) -> None:
                    say("committed", seed, future.result().steps)

                pending.append(committer.submit(episode))
                pending[-1].add_done_callback(acknowledge)
            else:
                say("committed", seed, store.append(episode).steps)
            seed += 1


for line in sys.stdin:
    path, seed, threaded = line.split()
    if (pid := os.fork()) == 0:
        try:
            say("pid", os.getpid())
            write_for_ever(path, int(seed), threaded == "1")
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, f"the child ended by itself: {status}"
    say("dead")
