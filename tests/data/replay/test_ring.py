"""The ring against a model made of plain lists: what is held, what is sampled, what leaves it and when."""

from __future__ import annotations

import runpy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import UserError
from data.replay.capacity import GIB, Column, Layout
from data.replay.ring import Drawn, Ring
from data.schema import Episode, Outcome, Source
from data.views import Role, roles

_made = runpy.run_path(str(Path(__file__).parents[2] / "data" / "made_episodes.py"))
LAYOUT = Layout.of({"frame": Column((2,), torch.int32)}, state_dim=2, action_dim=2)
DISCOUNT = 0.5  # powers of it are exact
Plan = tuple[int, Outcome, str, str, int]  # length, outcome, kind, who drove, seed


def labelled(number: int, plan: Plan) -> Episode:
    """Every frame and every action tell the number of their episode and their step."""
    length, outcome, kind, driver, seed = plan
    t = np.arange(length + 1)
    rng = np.random.default_rng(seed)
    label = np.stack((np.full_like(t, number), t), 1).astype(np.float32)
    human = {"policy": t[1:] < 0, "person": t[1:] > 0, "both": rng.random(length) < 0.4}[driver]
    return _made["blank"](
        length,
        outcome,
        kind,
        state=label,
        proposed=np.full((length, 2), np.nan, np.float32),
        executed=label[:-1],
        source=np.where(human, Source.HUMAN, Source.POLICY).astype(np.uint8),
        reward=rng.integers(0, 4, length).astype(np.float32),  # not only at the end: sums have to be right
    )


def ring_of(slots: int, **options) -> Ring:
    return Ring(LAYOUT, capacity_bytes=(slots + 1) * LAYOUT.slot_bytes - 1, **({"discount": DISCOUNT} | options))


def add(ring: Ring, episode: Episode) -> None:
    ring.add(episode, {"frame": torch.from_numpy(episode.state).int()})


@dataclass
class Model:
    """What the ring has to do, in lists: one list of episodes, one of the steps that are held."""

    slots: int
    stack: int
    n_step: int

    def __post_init__(self) -> None:
        self.episodes: list[Episode] = []
        self.held: list[tuple[int, int]] = []  # (episode, t) in order of arrival

    def is_protected(self, step: tuple[int, int]) -> bool:
        return bool(roles(self.episodes[step[0]])[step[1]] != Role.ONLINE)

    def is_online(self, step: tuple[int, int]) -> bool:
        return self.episodes[step[0]].meta.kind != "demo"

    def frames(self) -> set[tuple[int, int]]:
        """Every frame that a held step can ask for."""
        reach = {(e, t): range(t - self.stack + 1, t + self.n_step + 1) for e, t in self.held}
        return {(e, u) for (e, _), frames in reach.items() for u in frames if 0 <= u <= len(self.episodes[e])}

    def add(self, episode: Episode) -> bool:
        """Take one episode in, dropping the oldest online steps; whether there was room."""
        while len(self.frames()) + len(episode) + 1 > self.slots:
            droppable = [s for s in self.held if not self.is_protected(s)]
            if not droppable:
                return False
            self.held.remove(droppable[0])
        self.held += [(len(self.episodes), t) for t in range(len(episode))]
        self.episodes.append(episode)
        return True

    def row(self, number: int, t: int) -> tuple[list[int], list[int], float, float]:
        """Return the stack now, the stack later, the return and the bootstrap factor of one step."""
        episode = self.episodes[number]
        end = min(t + self.n_step, len(episode))
        rewards = episode.reward[t:end]
        bootstrap = 0.0 if episode.terminated[end - 1] else DISCOUNT ** (end - t)
        now, later = ([max(u - i, 0) for i in reversed(range(self.stack))] for u in (t, end))
        return now, later, float(sum(r * DISCOUNT**i for i, r in enumerate(rewards))), bootstrap

    def check(self, ring: Ring, drawn: Drawn) -> list[tuple[int, int]]:
        """Compare every row with the lists; return which steps were drawn."""
        steps = []
        now, later = ring["frame"][drawn.now].tolist(), ring["state"][drawn.later].int().tolist()
        for i, (number, t) in enumerate(row[-1] for row in now):
            stack, end, reward, bootstrap = self.row(number, t)
            assert now[i] == [[number, u] for u in stack]
            assert later[i] == [[number, u] for u in end]
            assert (float(drawn.reward[i]), float(drawn.bootstrap[i])) == (reward, bootstrap)
            slot = drawn.now[i, -1]
            assert ring["action"][slot].tolist() == [number, t]
            assert ring["human"][slot] == (self.episodes[number].source[t] == Source.HUMAN)
            steps.append((number, t))
        return steps


PLAN = st.tuples(
    st.integers(1, 9),
    st.sampled_from(Outcome),
    st.sampled_from(["online", "online", "baseline", "demo"]),
    st.sampled_from(["policy", "policy", "both", "person"]),
    st.integers(0, 99),
)


@settings(max_examples=150, deadline=None)
@given(
    plans=st.lists(PLAN, min_size=1, max_size=14),
    slots=st.integers(10, 60),
    stack=st.integers(1, 4),
    n_step=st.integers(1, 4),
    count=st.integers(1, 40),
)
def test_the_ring_does_what_the_lists_do(plans: list[Plan], slots: int, stack: int, n_step: int, count: int) -> None:
    model, ring = Model(slots, stack, n_step), ring_of(slots, stack=stack, n_step=n_step)
    for number, plan in enumerate(plans):
        episode = labelled(number, plan)
        if not model.add(episode):
            with pytest.raises(UserError, match="never dropped"):
                add(ring, episode)
            break
        add(ring, episode)
        assert bytes_held(ring) <= slots * LAYOUT.slot_bytes
        assert len(ring) == len(model.held)
        assert ring.demonstrations == sum(map(model.is_protected, model.held))
        assert model.check(ring, ring._around(ring._order)) == model.held  # all of them, in order of arrival
        assert set(ring._order) == {*ring._demonstrations, *ring._any_online}  # so every one can be drawn

        drawn = model.check(ring, ring.draw(count))
        online = [s for s in model.held if model.is_online(s)]
        half = count // 2 if ring.demonstrations else 0
        half = half if online else count
        assert len(drawn) == count
        assert all(model.is_protected(s) for s in drawn[:half])
        assert all(model.is_online(s) for s in drawn[half:])


def bytes_held(ring: Ring) -> int:
    """All memory of a ring that it holds between calls, as its attributes tell."""
    arrays = [v for v in vars(ring).values() if isinstance(v, np.ndarray)]
    return sum(a.nbytes for a in arrays) + sum(c.nbytes for c in ring._columns.values())


def test_every_held_step_is_drawn_sooner_or_later_and_no_other() -> None:
    ring, model = ring_of(50), Model(50, 1, 1)
    for number in range(12):
        episode = labelled(number, (6, Outcome.TIMEOUT, "online", "both" if number % 3 == 0 else "policy", number))
        assert model.add(episode)
        add(ring, episode)
    assert len(model.held) < 12 * 6  # some have left
    drawn = {step for _ in range(20) for step in model.check(ring, ring.draw(64))}
    assert drawn == set(model.held)


def test_a_time_out_bootstraps_from_the_true_last_frame_and_a_failure_does_not() -> None:
    ring = ring_of(40, n_step=3)
    for number, outcome in enumerate((Outcome.TIMEOUT, Outcome.FAILURE)):
        add(ring, labelled(number, (5, outcome, "online", "policy", 0)))
    drawn = ring._around(ring._order)
    later = ring["frame"][drawn.later[:, 0]].tolist()
    assert later == [[e, t] for e in range(2) for t in (3, 4, 5, 5, 5)]
    assert drawn.bootstrap.tolist() == [0.125, 0.125, 0.125, 0.25, 0.5, 0.125, 0.125, 0.0, 0.0, 0.0]


def test_interventions_stay_while_the_policy_steps_around_them_leave() -> None:
    ring, model = ring_of(30), Model(30, 1, 1)
    for number in range(40):
        episode = labelled(number, (8, Outcome.TIMEOUT, "online", "both" if number == 0 else "policy", 1))
        assert model.add(episode)
        add(ring, episode)
    kept = [t for e, t in model.held if e == 0]
    assert kept == np.flatnonzero(model.episodes[0].source == Source.HUMAN).tolist() and 0 < len(kept) < 8
    assert model.check(ring, ring._around(ring._order)) == model.held


def test_an_episode_longer_than_the_ring_is_refused() -> None:
    with pytest.raises(UserError, match=r"hold 5 frames(.|\n)*next episode has 6(.|\n)*capacity_gib"):
        add(ring_of(5), labelled(0, (5, Outcome.TIMEOUT, "online", "policy", 0)))


def test_a_full_ring_of_demonstrations_goes_on_as_it_is() -> None:
    ring, model = ring_of(13), Model(13, 1, 1)
    for number, kind in enumerate(["demo", "demo"]):
        episode = labelled(number, (5, Outcome.SUCCESS, kind, "person", 0))
        assert model.add(episode)
        add(ring, episode)
    with pytest.raises(UserError, match="1 are free, the next episode has 3, and the rest belong to 10 steps"):
        add(ring, labelled(2, (2, Outcome.TIMEOUT, "online", "policy", 0)))
    assert model.check(ring, ring._around(ring._order)) == model.held


def test_a_capacity_that_no_machine_has_is_refused() -> None:
    with pytest.raises(UserError, match="cpu has no room for a replay memory of 1048576"):
        Ring(LAYOUT, capacity_bytes=2**20 * GIB)


def test_an_empty_ring_says_so() -> None:
    with pytest.raises(ValueError, match="no step"):
        ring_of(9).draw(4)


def test_draws_follow_from_the_seed_and_go_on_from_a_saved_state() -> None:
    def rows(ring: Ring, times: int = 3) -> list[list[int]]:
        return [ring.draw(16).now[:, 0].tolist() for _ in range(times)]

    rings = [ring_of(30, seed=seed) for seed in (0, 0, 1)]
    for ring in rings:
        for number in range(5):
            add(ring, labelled(number, (7, Outcome.TIMEOUT, "online", "both", number)))
    first = rows(rings[0])
    assert rows(rings[1]) == first != rows(rings[2])
    saved = rings[0].rng_state()
    expected = rows(rings[0])
    rings[2].set_rng_state(saved)
    assert rows(rings[2]) == expected


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_capacity_costs_nothing_until_it_is_filled() -> None:
    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    before = resident_bytes()
    layout = Layout.of({"image": Column((128, 128, 3), torch.uint8)}, 2, 2)
    ring = Ring(layout, capacity_bytes=GIB)
    assert resident_bytes() - before < GIB / 50
    episode = labelled(0, (99, Outcome.TIMEOUT, "online", "policy", 0))
    for _ in range(3):
        ring.add(episode, {"image": torch.ones((100, 128, 128, 3), dtype=torch.uint8)})
    assert resident_bytes() - before < GIB / 20
