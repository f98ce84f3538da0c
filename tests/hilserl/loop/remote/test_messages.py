"""Episodes and weights as messages: there and back bit for bit, and whatever else comes in is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numcodecs.zstd import Zstd

from data.schema import Episode
from data.spec import SpecMismatch, TaskSpec
from data.store.episode_codec import meta_to_json
from hilserl.loop.remote import messages
from hilserl.loop.remote.messages import Incomplete, WeightsFile, episode_parts, read_episode, weights_parts
from hilserl.loop.remote.wire_pb2 import EpisodePart, NewsPart, Weights

SMALL = 300  # bytes to a part, so that a tiny episode has several


@pytest.fixture(scope="session")
def spec(made: ModuleType) -> TaskSpec:
    return made.task()


@pytest.fixture(scope="module", autouse=True)
def small_parts() -> object:
    with pytest.MonkeyPatch.context() as patch:
        yield patch.setattr(messages, "PART_BYTES", SMALL)


def sent(episode: Episode) -> list[EpisodePart]:
    """The messages as they come out of the network."""
    return [EpisodePart.FromString(part.SerializeToString()) for part in episode_parts(episode, "somebody")]


def received(parts: list[EpisodePart], spec: TaskSpec) -> Episode:
    return read_episode(parts[0].header, iter(parts[1:]), spec)


@given(seed=st.integers(0, 99), steps=st.integers(1, 9), cameras=st.integers(1, 3))
def test_an_episode_arrives_bit_for_bit(made: ModuleType, seed: int, steps: int, cameras: int) -> None:
    spec = made.task(cameras)
    episode = made.episode(spec, seed, steps, detector_version="d", session="s", started_unix_s=1.5)
    made.assert_same(received(sent(episode), spec), episode)


def test_what_is_sent_is_about_what_the_arrays_hold(made: ModuleType, spec: TaskSpec) -> None:
    episode = made.episode(spec, 0, 9)
    calm = replace(episode, images={c: np.zeros_like(i) for c, i in episode.images.items()})
    assert sum(p.ByteSize() for p in sent(calm)) < calm.images["camera0"].nbytes  # two cameras, compressed


def test_native_frames_stay(made: ModuleType, spec: TaskSpec) -> None:
    episode = replace(made.episode(spec, 0), native={"camera0": np.zeros((5, 9, 9, 3), np.uint8)})
    assert received(sent(episode), spec).native == {}


@given(data=st.data())
def test_whatever_happens_to_the_parts_no_other_episode_comes_out(made: ModuleType, data: st.DataObject) -> None:
    spec = made.task()
    episode = made.episode(spec, 1)
    parts = sent(episode)
    where = data.draw(st.integers(1, len(parts) - 1), "part")
    how = data.draw(st.sampled_from(["lost", "twice", "moved", "cut", "changed", "all lost after"]), "what happens")
    if how == "lost":
        del parts[where]
    elif how == "twice":
        parts.insert(where, parts[where])
    elif how == "moved":
        parts.append(parts.pop(where))
    elif how == "all lost after":
        del parts[where:]
    else:
        content = bytearray(parts[where].zstd)
        place = data.draw(st.integers(0, len(content) - 1), "byte")
        content[place] ^= data.draw(st.integers(1, 255), "by")
        parts[where] = EpisodePart(zstd=bytes(content[:place] if how == "cut" else content))
    try:
        made.assert_same(received(parts, spec), episode)  # a bit of zstd's own header may not matter
    except Incomplete as error:
        assert "episode-1" in str(error)


def test_a_part_that_swells_is_refused(made: ModuleType, spec: TaskSpec) -> None:
    parts = sent(made.episode(spec, 0))
    parts[1].zstd = bytes(Zstd(level=1).encode(bytes(50_000_000)))
    with pytest.raises(Incomplete, match="damaged"):
        received(parts, spec)


@pytest.mark.parametrize("steps", [0, 4_000_000_000])
def test_an_impossible_length_is_refused_before_anything_is_read(made: ModuleType, spec: TaskSpec, steps: int) -> None:
    header = sent(made.episode(spec, 0))[0].header
    header.steps = steps
    with pytest.raises(ValueError, match=f"has {steps} steps; accepted are 1 or more"):
        read_episode(header, iter(()), spec)


def test_another_length_than_what_follows_is_refused(made: ModuleType, spec: TaskSpec) -> None:
    for steps in (3, 5):
        parts = sent(made.episode(spec, 0, 4))
        parts[0].header.steps = steps
        with pytest.raises(Incomplete):
            received(parts, spec)


def test_an_episode_of_another_spec_is_refused(made: ModuleType, spec: TaskSpec) -> None:
    with pytest.raises(SpecMismatch):
        received(sent(made.episode(made.task(cameras=1), 0)), spec)


@pytest.mark.parametrize(
    "change",
    [
        {"uuid": "../../etc"},
        {"uuid": 5},
        {"kind": None},
        {"outcome": "splendid"},
        {"notes": "none"},
        {"started_unix_s": "noon"},
        {"extra": 1},
    ],
)
def test_a_meta_of_another_kind_is_refused(made: ModuleType, spec: TaskSpec, change: dict[str, object]) -> None:
    parts = sent(made.episode(spec, 0))
    parts[0].header.meta_json = json.dumps(meta_to_json(made.meta(spec, 0)) | change)
    with pytest.raises(ValueError):
        received(parts, spec)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{half"])
def test_a_meta_that_is_none_is_refused(made: ModuleType, spec: TaskSpec, text: str) -> None:
    parts = sent(made.episode(spec, 0))
    parts[0].header.meta_json = text
    with pytest.raises(ValueError, match="no meta of an episode"):
        received(parts, spec)


# weights


def put_together(parts: list[NewsPart]) -> bytes | None:
    file, found = WeightsFile(parts[0].weights), None
    for part in parts:
        found = file.add(part.content)
    return found


@given(content=st.binary(min_size=1, max_size=4 * SMALL))
def test_weights_arrive_whole_with_the_last_part(content: bytes) -> None:
    parts = list(weights_parts(content, hashlib.sha256(content).hexdigest()))
    assert len(parts) == -(-len(content) // SMALL)
    assert put_together(parts) == content
    assert len(parts) == 1 or put_together(parts[:-1]) is None


def test_changed_weights_are_refused() -> None:
    content = bytes(range(256)) * 4
    parts = list(weights_parts(content, hashlib.sha256(content).hexdigest()))
    parts[1].content = b"x" + parts[1].content[1:]
    with pytest.raises(Incomplete, match="hash"):
        put_together(parts)


def test_weights_beyond_their_announced_size_are_refused() -> None:
    file = WeightsFile(Weights(sha256=hashlib.sha256(b"ab").hexdigest(), size=2))
    with pytest.raises(Incomplete, match="hash"):
        file.add(b"abc")
    with pytest.raises(Incomplete, match="accepted are up to"):
        WeightsFile(Weights(size=1 << 40))
