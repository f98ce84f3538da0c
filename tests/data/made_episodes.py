"""Specs and episodes for tests. All of an episode follows from its seed, so it can be made again."""

from __future__ import annotations

from typing import Any

import numpy as np

from data.schema import Episode, EpisodeMeta, Observation, Outcome, Source, Transition
from data.spec import CameraSpec, ObservationSpec, StateField, TaskSpec


def task(cameras: int = 2, size_px: int = 8, state_dim: int = 3) -> TaskSpec:
    names = tuple(f"camera{i}" for i in range(cameras))
    return TaskSpec(
        name="test",
        observation=ObservationSpec(
            cameras=tuple(CameraSpec(n, (0.0, 0.0, 1.0, 1.0), size_px) for n in names),
            policy_cameras=names[:1],
            state=(StateField("joints", state_dim, "rad", -3.0, 3.0),),
        ),
    )


def steps(
    spec: TaskSpec, seed: int, count: int, ends: bool = True, marked: bool = False
) -> tuple[Observation, list[Transition]]:
    """A first observation and `count` random transitions; the last one succeeds when `ends`."""
    rng = np.random.default_rng(seed)

    def observation(t: int) -> Observation:
        images = {c.name: rng.integers(0, 256, (c.size_px, c.size_px, 3), np.uint8) for c in spec.observation.cameras}
        state = rng.normal(size=spec.observation.state_dim).astype(np.float32)
        return Observation(images, state, stamp_s=t / spec.rate_hz)

    def transition(t: int) -> Transition:
        last = ends and t == count - 1
        proposed, executed = rng.uniform(-1, 1, (2, len(spec.action.names))).astype(np.float32)
        return Transition(
            proposed=proposed,
            executed=executed,
            source=Source(int(rng.integers(4))),
            next_observation=observation(t + 1),
            reward=float(last),
            terminated=last,
            truncated=False,
            p_success=float("nan") if t % 3 == 0 else float(rng.uniform()),
            policy_version=int(rng.integers(-1, 2**40)),
            marked_success=bool(rng.integers(2)),
        )

    return observation(0), [transition(t) for t in range(count)]


def meta(spec: TaskSpec, seed: int, **fields) -> EpisodeMeta:
    values = {
        "outcome": Outcome.SUCCESS,
        "kind": "online",
        "uuid": f"episode-{seed}",
        "notes": {"seed": seed},
    }
    return EpisodeMeta(spec_fingerprint=spec.fingerprint, **(values | fields))


def episode(spec: TaskSpec, seed: int, count: int = 4, **fields) -> Episode:
    first, transitions = steps(spec, seed, count)
    return Episode.from_steps(first, transitions, meta(spec, seed, **fields))


def blank(steps: int, outcome: Outcome = Outcome.SUCCESS, kind: str = "online", **fields: Any) -> Episode:
    """`steps` steps without images, in which nothing happens but the end that belongs to the outcome, and `fields`."""
    last, ended = np.arange(steps) == steps - 1, outcome in (Outcome.SUCCESS, Outcome.FAILURE)
    nothing = {
        "images": {},
        "state": np.zeros((steps + 1, 2), np.float32),
        "stamp_s": np.arange(steps + 1) / 10,
        "marked_success": np.zeros(steps + 1, bool),
        "proposed": np.zeros((steps, 4), np.float32),
        "executed": np.zeros((steps, 4), np.float32),
        "source": np.full(steps, Source.POLICY, np.uint8),
        "reward": (last & (outcome is Outcome.SUCCESS)).astype(np.float32),
        "terminated": last & ended,
        "truncated": last & (not ended),
        "p_success": np.full(steps, np.nan, np.float32),
        "policy_version": np.zeros(steps, np.int64),
        "meta": EpisodeMeta(outcome, kind, "test"),
    }
    return Episode(**(nothing | fields))


def assert_same(found: Episode, expected: Episode) -> None:
    """Equal in every array, bit for bit and in dtype, and in every field of the meta."""
    assert found.meta == expected.meta
    assert found.images.keys() == expected.images.keys()
    pairs = {c: (found.images[c], expected.images[c]) for c in expected.images}
    pairs |= {n: (getattr(found, n), v) for n, v in vars(expected).items() if isinstance(v, np.ndarray)}
    assert len(pairs) == len(expected.images) + 11
    for name, (a, b) in pairs.items():
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        assert a.tobytes() == b.tobytes(), name
