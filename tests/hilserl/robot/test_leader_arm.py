"""The leader on LeRobot's unmodified driver: an emulated bus, joints with friction, and a hand."""

import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import draccus
import numpy as np
import pytest

from data.errors import UserError
from hilserl.robot.leader_arm import LeaderConfig
from sim_pretrain.rig.bus_process import PlantMemory
from sim_pretrain.rig.feetech_bus import ServoBus
from sim_pretrain.rig.leader import EmulatedLeader
from sim_pretrain.rig.pty_port import PtyPort
from sim_pretrain.rig.servo import P_COEFFICIENT, PRESENT_LOAD, TORQUE_LIMIT, write_calibration
from teleop.buttons import WithButtons
from teleop.inputs import Button, Follower, OperatorConfig, OperatorState, Prompt
from teleop.takeover import LeaderFeel

_path = Path(__file__).parents[2] / "teleop" / "operator_contract.py"
_spec = importlib.util.spec_from_file_location("operator_contract", _path)
_contract = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_contract)

LIMITS_RAD = _contract.LIMITS_RAD
ARM = replace(_contract.ARM, joints_rad=np.array([0.3, -0.2, 0.2, 0.5, 0.0, 0.6]))


class Buttons:
    """Buttons that a test presses."""

    def __init__(self) -> None:
        self.state, self.told, self.closed = OperatorState(0.0), [], False

    def read(self) -> OperatorState:
        state, self.state = self.state, replace(self.state, pressed=frozenset())
        return state

    def press(self, *buttons: Button, **fields: object) -> None:
        self.state = replace(self.state, pressed=frozenset(buttons), **fields)

    def tell(self, prompt: Prompt, **details: object) -> None:
        self.told.append(prompt)

    def follow(self, follower: Follower) -> None: ...

    def close(self) -> None:
        self.closed = True


class Table(PlantMemory):
    """A leader that lives whenever somebody looks: no thread of its own has to get its turn."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, create=True)
        self.hand, self._at_s, self._lock = EmulatedLeader(self), time.monotonic(), threading.Lock()

    def positions_rad(self) -> np.ndarray:
        with self._lock:
            while self._at_s < time.monotonic():
                self.hand.advance(0.004)
                self._at_s += 0.004
            return self.positions.copy()


class Bench:
    """A leader on a bus."""

    def __init__(self, folder: Path) -> None:
        self.table = Table(folder / "leader.memory")
        self.bus, self.hand, self.torque = ServoBus(self.table), self.table.hand, self.table.torque
        self.port = PtyPort(self.bus, folder / "leader")
        self.buttons = Buttons()
        write_calibration(folder / "my_leader.json")
        self.config = LeaderConfig(
            port=str(folder / "leader"),
            id="my_leader",
            calibration_dir=folder,
            feel=LeaderFeel(hand_back_s=0.3),
        )

    def connect(self) -> WithButtons:
        return WithButtons(self.config.connect(), self.buttons)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # the driver spins while it waits: the bus thread must get its turn
    bench = Bench(tmp_path)
    yield bench
    bench.port.close()
    sys.setswitchinterval(interval_s)


@pytest.fixture
def leader(bench: Bench) -> Iterator[WithButtons]:
    leader = bench.connect()
    yield leader
    leader.close()


def until(condition: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, f"waited in vain until {what}"
        time.sleep(0.005)


def following(leader: WithButtons) -> None:
    """Show the leader the arm, until it follows."""
    leader.follow(ARM)
    until(lambda: "follows" in leader.read().note, "it follows")


def take(bench: Bench, leader: WithButtons) -> None:
    """Grab the following leader, and let the session agree."""
    holds = False

    def felt() -> bool:
        nonlocal holds
        follows = "follows" in leader.read().note
        if not holds and follows:
            bench.hand.move_hand({"shoulder_pan": 0.4}, 0.2)
            holds = True
        elif holds and "aligns" in leader.read().note:  # late answers on a busy machine: it was lost for a moment
            bench.hand.let_go()
            holds = False
        return leader.read().deadman

    until(felt, "the grab is felt")
    leader.follow(replace(ARM, human=True))


def test_contract(bench: Bench) -> None:
    _contract.check_operator(bench.config.connect)
    _contract.check_operator(bench.connect)


def test_flags_name_it() -> None:
    config = draccus.decode(OperatorConfig, {"type": "so101_leader", "port": "/dev/ttyACM1", "id": "my_leader"})
    assert isinstance(config, LeaderConfig) and not config.has_buttons


def test_it_stays_limp_until_it_is_shown_the_arm_then_aligns_softly(bench: Bench, leader: WithButtons) -> None:
    assert not bench.torque.any() and "degrees" in leader.read().note
    bench.buttons.press(Button.START)
    leader.follow(ARM)
    assert not leader.read().pressed, "nothing starts before it is aligned"
    until(lambda: "follows" in leader.read().note, "it is aligned")
    assert bench.torque.all()
    for servo in bench.bus.servos:
        assert servo.registers[P_COEFFICIENT] == bench.config.feel.p_coefficient
        assert int.from_bytes(servo.read(TORQUE_LIMIT, 2), "little") == 300
    assert np.abs(bench.table.positions_rad() - ARM.joints_rad)[:5].max() < 0.1
    bench.buttons.press(Button.START)
    assert leader.read().pressed == {Button.START}
    before = bench.table.positions_rad()
    leader.follow(replace(ARM, joints_rad=ARM.joints_rad + 0.6))
    held = []

    def came_along() -> bool:
        held.append(leader.read().deadman)
        return np.abs(bench.table.positions_rad() - ARM.joints_rad - 0.6)[:5].max() < 0.03

    until(came_along, "it came along")
    assert not any(held), "an arm that hurries ahead is no hand that holds back"
    assert (bench.table.positions_rad() > before).all()


def test_a_grab_takes_over_a_push_is_no_jump_and_motion_is_relative(bench: Bench, leader: WithButtons) -> None:
    following(leader)
    take(bench, leader)
    assert leader.read().deadman
    until(lambda: not bench.torque.any(), "it is limp")
    until(lambda: not bench.hand._left_s, "the hand rests")
    time.sleep(0.1)
    here = bench.table.positions_rad()
    moved = leader.read()
    assert "lead" in moved.note and moved.deadman and moved.gripper == 1.0
    target_m = ARM.target_m + ARM.action.step_m * 20 * moved.move  # an arm that has caught up
    for _ in range(200):
        leader.follow(replace(ARM, human=True, target_m=target_m))
        move = leader.read().move
        target_m = target_m + ARM.action.step_m * move
    assert not move.any()
    bench.hand.move_hand({"elbow_flex": -0.3, "gripper": -0.4}, 0.1)
    until(lambda: not bench.hand._left_s, "the hand rests")
    until(lambda: leader.read().move.any(), "it moves the arm")
    until(lambda: leader.read().gripper < 0.2, "the trigger closes the gripper")
    assert np.abs(here - bench.table.positions_rad())[2] > 0.2


def test_at_rest_it_gets_its_force_back_aligns_and_only_then_hands_back(bench: Bench, leader: WithButtons) -> None:
    following(leader)
    take(bench, leader)
    until(lambda: not bench.torque.any(), "it is limp")
    bench.hand.let_go()
    arm, seen = replace(ARM, human=True), []

    def handed_back() -> bool:
        leader.follow(arm)
        state = leader.read()
        seen.append((state.deadman, bool(bench.torque.all()), bool(state.move.any())))
        return not state.deadman

    until(handed_back, "it hands back")
    assert seen[-1][1], "it is energised when it hands back"
    assert (True, True, False) in seen, "with its force back it first aligned, and the arm held"
    assert np.abs(bench.table.positions_rad() - ARM.joints_rad)[:5].max() < 0.1


def test_a_button_takes_over_and_hands_back(bench: Bench, leader: WithButtons) -> None:
    following(leader)
    bench.buttons.press(deadman=True)
    assert leader.read().deadman
    leader.follow(replace(ARM, human=True))
    until(lambda: not bench.torque.any(), "it is limp")
    time.sleep(2 * bench.config.feel.hand_back_s)
    assert leader.read().deadman, "rest does not hand back while the button is down"
    bench.buttons.press(deadman=False)
    until(lambda: not leader.read().deadman, "it hands back")
    assert bench.torque.all()


def test_without_consent_it_does_not_let_go(bench: Bench, leader: WithButtons) -> None:
    """In an untouched evaluation nobody takes over, and a stopped arm is not led."""
    following(leader)
    bench.hand.move_hand({"shoulder_pan": 0.4}, 0.1)
    until(lambda: leader.read().deadman, "the grab is felt")
    time.sleep(0.2)
    assert bench.torque.all() and not leader.read().move.any()
    load = int.from_bytes(bench.bus.servos[0].read(PRESENT_LOAD, 2), "little") & 0x3FF
    assert load == 300, "it pushes softly against the hand"
    bench.hand.let_go()
    until(lambda: not leader.read().deadman, "letting go is felt")


@pytest.mark.parametrize("moment", ["following", "leading"])
@pytest.mark.parametrize("kind", ["silence", "unplug", "dead motor"])
def test_a_lost_leader_is_gone_and_back_only_aligned(bench: Bench, leader: WithButtons, kind: str, moment: str) -> None:
    following(leader)
    if moment == "leading":
        take(bench, leader)
    {"silence": bench.bus.silence, "unplug": bench.port.unplug, "dead motor": lambda: bench.bus.kill(4)}[kind]()
    until(lambda: not leader.read().connected, "it is reported")
    bench.buttons.press(Button.STOP, deadman=True)
    state = leader.read()
    assert not state.connected and not state.deadman and not state.move.any()
    assert state.pressed == {Button.STOP}, "stopping needs no leader"
    assert state.note
    bench.buttons.press(deadman=False)
    bench.hand.let_go()
    bench.bus.heal()
    bench.port.plug()
    leader.follow(ARM)
    until(lambda: leader.read().connected, "it is back")
    assert not leader.read().deadman
    following(leader)


def test_closing_leaves_it_limp_as_it_was_found_and_the_port_free(bench: Bench) -> None:
    leader = bench.connect()
    following(leader)
    bench.port.unplug()
    until(lambda: not leader.read().connected, "it is lost")
    bench.port.plug()
    following(leader)
    leader.close()
    assert not bench.torque.any() and bench.buttons.closed
    assert {(servo.registers[P_COEFFICIENT], servo.read(TORQUE_LIMIT, 2)) for servo in bench.bus.servos} == {
        (32, (1000).to_bytes(2, "little"))
    }
    bench.config.connect().close()


def test_ranges_that_differ_are_refused_before_anything_moves(bench: Bench, leader: WithButtons) -> None:
    limits = LIMITS_RAD.copy()
    limits[:, 4] /= 2
    with pytest.raises(UserError, match=r"joint 5: leader 3\d\d°, arm 155°.*lerobot-calibrate"):
        leader.follow(replace(ARM, limits_rad=limits))
    assert not bench.torque.any()


def test_a_calibration_that_is_not_its_own_is_refused(bench: Bench) -> None:
    bench.bus.servos[2].write(31, (200).to_bytes(2, "little"))
    with pytest.raises(UserError, match=r"elbow_flex[\s\S]*--teleop.type=so101_leader"):
        bench.config.connect()
    with pytest.raises(UserError, match=r"--teleop.type=so101_leader .*--teleop.id=other"):
        replace(bench.config, id="other").connect()
