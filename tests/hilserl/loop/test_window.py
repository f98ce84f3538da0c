"""What a session shows of itself: whole, newest, and never at the cost of a tick."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hilserl.loop.window as module
from data.schema import Source
from data.spec import CameraSpec
from hilserl.loop.slot import Slot
from hilserl.loop.snapshot import Snapshot
from hilserl.loop.window import EVENTS, RATE_HZ, TEXT, WIDTH_PX, Window, late_share
from hilserl.robot.cameras import CameraFault
from teleop.authority import Authority
from teleop.inputs import Button, OperatorState

SPECS = (CameraSpec("wrist", (0.0, 0.125, 1.0, 0.75), 84), CameraSpec("front", (0.0, 0.0, 1.0, 1.0), 84))


class Cameras:
    """Two cameras; `front` may be lost."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.frames = {"wrist": rng.integers(0, 255, (6, 8, 3), np.uint8), "front": np.zeros((1200, 1600, 3), np.uint8)}
        self.lost: set[str] = set()

    def newest(self, name: str) -> tuple[np.ndarray, float]:
        if name in self.lost:
            raise CameraFault(f"camera {name!r} gives no frame")
        return self.frames[name], 4.5


def shown(slot: Slot) -> tuple[Snapshot, list[np.ndarray]]:
    found = slot.get()
    assert found is not None
    return Snapshot.decode(found[1])


def test_a_reader_gets_the_state_and_the_pictures_as_they_are(tmp_path: Path) -> None:
    slot, cameras = Slot(tmp_path / "s"), Cameras()
    window = Window(slot, cameras, SPECS, Snapshot(threshold=0.8, hold=3, glyphs={"stop": "B"}))
    window.say("started")
    window.episode(7, 80)
    window.step(Source.POLICY, float("nan"), 0.1)
    window.step(Source.HUMAN, 0.25, 0.2)
    state = OperatorState(0.0, deadman=True, success_held=True, note="aligning\nlong", pressed=frozenset({Button.STOP}))
    window.look(Authority.HUMAN, state, running=True)
    s, pixels = shown(slot)
    assert (s.authority, s.words, s.episode, s.sources, s.p_success) == ("human", "started", 7, "ph", (None, 0.25))
    assert (s.deadman, s.success_held, s.connected, s.running, s.note) == (True, True, True, True, "aligning")
    assert (s.threshold, s.hold, s.glyphs) == (0.8, 3, {"stop": "B"})
    assert [(p.name, p.stamp_s, p.crop) for p in s.pictures] == [(c.name, 4.5, c.crop) for c in SPECS]
    np.testing.assert_array_equal(pixels[0], cameras.frames["wrist"])
    assert pixels[1].shape == (480, WIDTH_PX, 3)


def test_a_lost_camera_is_only_not_shown(tmp_path: Path) -> None:
    slot, cameras = Slot(tmp_path / "s"), Cameras()
    cameras.lost.add("front")
    Window(slot, cameras, SPECS).look(Authority.POLICY, OperatorState(0.0), running=True)
    s, pixels = shown(slot)
    assert [p.name for p in s.pictures] == ["wrist"] and len(pixels) == 1


def test_it_is_overwritten_at_once_when_the_authority_changes_else_at_a_bounded_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot, now_s = Slot(tmp_path / "s"), 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s)
    window, sequences = Window(slot), []
    for authority in [Authority.POLICY] * 100 + [Authority.STOPPED] * 100:
        window.look(authority, OperatorState(0.0), running=True)
        sequences.append(slot.sequence)
        now_s += 0.01
    assert 2 * RATE_HZ - 4 <= len(set(sequences)) <= 2 * RATE_HZ + 2  # in two seconds
    assert sequences[99] < sequences[100] and shown(slot)[0].authority == "stopped"
    window.end()
    assert shown(slot)[0].ended


def test_only_the_newest_events_are_kept(tmp_path: Path) -> None:
    slot = Slot(tmp_path / "s")
    window = Window(slot)
    for n in range(EVENTS + 5):
        window.say(f"event {n}")
    window.end()
    assert [words for _, words in shown(slot)[0].events] == [f"event {n}" for n in range(5, EVENTS + 5)]


def test_without_a_slot_nothing_is_looked_at() -> None:
    window = Window(cameras=None)
    window.look(Authority.POLICY, OperatorState(0.0), running=True)
    window.end()


@pytest.mark.parametrize(
    ("periods", "share"), [([], 0.0), ([0.1, 0.105], 0.0), ([0.1, 0.2, 0.1, 0.1], 0.25), ([0.12], 1.0)]
)
def test_a_tick_is_late_by_more_than_a_tenth_of_a_period(periods: list[float], share: float) -> None:
    assert late_share(list(np.cumsum([5.0, *periods])), 10.0) == share


def test_a_snapshot_survives_the_way_through_the_slot(tmp_path: Path) -> None:
    slot, s = Slot(tmp_path / "s"), replace(Snapshot(), words="ü", p_success=(0.5, None))
    slot.put(s.encode())
    decoded = shown(slot)[0]
    assert (decoded.words, decoded.p_success) == ("ü", (0.5, None))


def test_pictures_that_do_not_fit_are_left_out(tmp_path: Path) -> None:
    cameras = Cameras()
    slot = Slot(tmp_path / "s", TEXT + cameras.frames["wrist"].nbytes)
    Window(slot, cameras, SPECS).end()
    assert [p.name for p in shown(slot)[0].pictures] == ["wrist"]
