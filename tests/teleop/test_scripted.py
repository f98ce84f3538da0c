"""The scripted operator before a fake rig: what it sees, and which buttons it presses."""

import contextlib
import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from teleop.inputs import Button, OperatorState, Prompt
from teleop.scripted import ScriptedConfig, ScriptedOperator

RESTING = {
    "cube_m": [0.23, 0.0, 0.015], "cube_yaw_rad": 0.0, "ee_m": [0.25, 0.03, 0.10], "gripper_rad": 0.6,
    "grasped": False, "success": False, "lost": False,
}  # fmt: skip


class FakeRig:
    """Answers on `people.sock` with whatever `truth` is now, and keeps every request."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.truth = folder, dict(RESTING)
        self.requests: list[dict] = []
        self.time_s = 0.0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "people.sock"))
        self._listener.listen()
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            for line in client.makefile("rb"):
                request = json.loads(line)
                self.requests.append(request)
                self.time_s += 0.1
                answer = {**self.truth, "time_s": self.time_s} if request["op"] == "truth" else {}
                client.sendall(json.dumps({"ok": True, **answer}).encode() + b"\n")
        except OSError:
            pass

    def asked(self, op: str) -> list[dict]:
        return [r for r in self.requests if r["op"] == op]

    def die(self) -> None:
        (self.folder / "people.sock").unlink()  # a blocked accept keeps a closed socket listening
        self._listener.close()
        for client in self._clients:
            client.shutdown(socket.SHUT_RDWR)
            client.close()


@pytest.fixture
def rig() -> Iterator[FakeRig]:
    folder = Path(tempfile.mkdtemp(prefix="rig"))  # tmp_path is too long for a socket
    fake = FakeRig(folder)
    yield fake
    with contextlib.suppress(OSError):
        fake.die()
    shutil.rmtree(folder)


@pytest.fixture
def new_operator(rig) -> Iterator[Callable[..., ScriptedOperator]]:
    operators = []

    def make(**fields: object) -> ScriptedOperator:
        operators.append(ScriptedConfig(rig=rig.folder, looks=1, **fields).connect())
        return operators[-1]

    yield make
    for operator in operators:
        operator.close()


def begin(operator: ScriptedOperator, episode: int = 0) -> OperatorState:
    operator.tell(Prompt.PLACE_OBJECT, episode=episode, kind="online")
    while Button.START not in (state := operator.read()).pressed:
        pass
    operator.tell(Prompt.EPISODE_STARTED, uuid=f"e{episode}")
    return state


def test_without_a_rig_it_says_how_to_start_one(tmp_path):
    with pytest.raises(UserError, match="hilserl rig"):
        ScriptedConfig(rig=tmp_path).connect()


def test_it_places_the_object_and_presses_start_once(rig, new_operator):
    operator = new_operator()
    assert operator.read().pressed == frozenset()
    operator.tell(Prompt.PLACE_OBJECT, episode=3, kind="online")
    (placed,) = rig.asked("place")
    config = ScriptedConfig()
    assert config.spawn_low_m[0] <= placed["x_m"] <= config.spawn_high_m[0]
    assert config.spawn_low_m[1] <= placed["y_m"] <= config.spawn_high_m[1]
    assert abs(placed["yaw_rad"]) <= config.spawn_yaw_rad
    pressed = [operator.read().pressed for _ in range(8)]
    assert pressed[0] == frozenset()  # the hands are still over the table
    assert sum(p == {Button.START} for p in pressed) == 1


def test_it_marks_the_episode_for_the_judge(rig, new_operator):
    operator = new_operator()
    begin(operator, 4)
    operator.tell(Prompt.EPISODE_ENDED, uuid="e4", outcome="timeout")
    assert [r["tag"] for r in rig.asked("begin") + rig.asked("end")] == ["e4", "e4"]


def test_it_takes_over_after_its_patience_and_hands_back(rig, new_operator):
    operator = new_operator(patience=(6, 6), drives_for=(4, 4), seed=1)
    begin(operator)
    held = [operator.read().deadman for _ in range(30)]
    assert held.index(True) == 6  # the first look only sets the mark, six without progress follow
    runs = "".join("x" if h else "." for h in held).strip(".").split(".")
    assert len([r for r in runs if r]) >= 2  # it hands back, and is patient again
    assert all(3 <= len(r) <= 4 for r in runs if r)


def test_it_lets_a_policy_that_makes_progress_alone(rig, new_operator):
    operator = new_operator(patience=(6, 10))
    begin(operator)
    for k in range(30):
        rig.truth["ee_m"] = [0.25, 0.03, 0.35 - 0.008 * k]
        assert not operator.read().deadman


def test_it_takes_over_when_the_cube_was_pushed(rig, new_operator):
    operator = new_operator()
    begin(operator)
    assert not operator.read().deadman
    rig.truth["cube_m"] = [0.245, 0.0, 0.015]
    assert operator.read().deadman


def test_it_drives_towards_the_cube_within_the_action_space(rig, new_operator):
    operator = new_operator(patience=(1, 1), bias=0.0, gain_spread=0.0)
    begin(operator)
    state = [operator.read() for _ in range(3)][-1]
    assert state.deadman and state.move.dtype == np.float32 and np.abs(state.move).max() <= 1.0
    assert state.move[0] < 0 and state.move[1] < 0 and state.gripper == 1.0


@pytest.mark.parametrize("plays", ["watch", "help", "show"])
def test_a_lost_cube_is_a_failure(rig, new_operator, plays):
    operator = new_operator(plays=plays)
    begin(operator)
    rig.truth["lost"] = True
    state = operator.read()
    assert state.pressed == {Button.FAILURE} and not state.deadman


@pytest.mark.parametrize("presses", [False, True])
def test_it_presses_success_only_when_it_is_asked_to(rig, new_operator, presses):
    operator = new_operator(plays="watch", presses_success=presses)
    begin(operator)
    assert not operator.read().success_held
    rig.truth |= {"grasped": True, "success": True, "cube_m": [0.23, 0.0, 0.1], "ee_m": [0.23, 0.0, 0.1]}
    state = operator.read()
    assert state.success_held and (Button.SUCCESS in state.pressed) is presses


def test_outside_an_episode_it_only_watches(rig, new_operator):
    operator = new_operator(presses_success=True, plays="show")
    rig.truth |= {"lost": True}
    assert operator.read().pressed == frozenset()
    begin(operator)
    operator.tell(Prompt.EPISODE_ENDED, uuid="e0", outcome="failure")
    assert not any(s.pressed or s.deadman for s in (operator.read() for _ in range(20)))


def test_a_watcher_never_drives_and_a_show_always_does(rig, new_operator):
    for plays, expected in (("watch", {False}), ("show", {True})):
        operator = new_operator(plays=plays)
        begin(operator)
        assert {operator.read().deadman for _ in range(30)} == expected


def test_when_the_rig_is_gone_it_is_not_connected(rig, new_operator):
    operator = new_operator()
    begin(operator)
    assert operator.read().connected
    rig.die()
    operator.tell(Prompt.EPISODE_ENDED, uuid="e0", outcome="timeout")  # must not raise
    operator.tell(Prompt.PLACE_OBJECT, episode=1)
    state = operator.read()
    assert not state.connected and not state.deadman


def test_a_rig_that_was_busy_is_asked_again(rig, new_operator):
    operator = new_operator()
    begin(operator)
    for client in rig._clients:
        client.shutdown(socket.SHUT_RDWR)
    assert not operator.read().connected
    assert operator.read().connected


def test_equal_seeds_and_equal_sights_give_equal_hands(rig, new_operator):
    def hands(seed: int, episode: int) -> list[tuple]:
        operator = new_operator(seed=seed, patience=(2, 4))
        begin(operator, episode)
        states = [operator.read() for _ in range(25)]
        return [(s.deadman, s.move.tolist(), s.gripper) for s in states]

    assert hands(0, 1) == hands(0, 1)
    assert hands(0, 1) != hands(0, 2) and hands(0, 1) != hands(1, 1)
    places = [(r["x_m"], r["y_m"], r["yaw_rad"]) for r in rig.asked("place")]
    assert places[0] == places[1] and len(set(places)) == 3
