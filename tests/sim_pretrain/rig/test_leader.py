"""The emulated leader: limp without torque, soft with little, and as strong hands move it."""

from pathlib import Path

import numpy as np
import pytest

from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD
from sim_pretrain.rig.bus_process import PlantMemory
from sim_pretrain.rig.feetech_bus import ServoBus, pack
from sim_pretrain.rig.leader import EmulatedLeader
from sim_pretrain.rig.servo import GOAL_POSITION, PRESENT_LOAD, TORQUE_ENABLE, TORQUE_LIMIT


@pytest.fixture
def memory(tmp_path: Path) -> PlantMemory:
    return PlantMemory(tmp_path / "memory", create=True)


@pytest.fixture
def bus(memory: PlantMemory) -> ServoBus:
    return ServoBus(memory)


def advance(leader: EmulatedLeader, seconds: float) -> None:
    for _ in range(round(seconds / 0.004)):
        leader.advance(0.004)


def write(bus: ServoBus, address: int, *data: int) -> None:
    for id_ in range(1, 7):
        bus.feed(pack(id_, 3, bytes([address, *data])))


def load(bus: ServoBus) -> int:
    word = int.from_bytes(bus.servos[0].read(PRESENT_LOAD, 2), "little")
    return -(word & 0x3FF) if word & 0x400 else word


def test_limp_it_stays_where_a_hand_leaves_it(memory: PlantMemory, bus: ServoBus) -> None:
    leader = EmulatedLeader(memory)
    advance(leader, 0.2)
    assert not memory.positions.any()
    leader.move_hand({"shoulder_pan": 0.5, "gripper": 0.3}, 0.4)
    advance(leader, 0.2)
    assert memory.positions[0] == pytest.approx(0.25, abs=0.1)
    advance(leader, 0.6)
    np.testing.assert_allclose(memory.positions[[0, 5]], [0.5, 0.3], atol=0.02)
    leader.let_go()
    rested = memory.positions.copy()
    advance(leader, 0.5)
    np.testing.assert_array_equal(memory.positions, rested)


def test_held_against_its_goal_it_pushes_as_hard_as_it_may(memory: PlantMemory, bus: ServoBus) -> None:
    leader = EmulatedLeader(memory)
    write(bus, TORQUE_LIMIT, *(250).to_bytes(2, "little"))
    write(bus, TORQUE_ENABLE, 1)
    leader.move_hand({}, 0.0)
    advance(leader, 0.1)
    write(bus, GOAL_POSITION, *(2048 + 300).to_bytes(2, "little"))
    advance(leader, 0.5)
    assert memory.positions[0] == pytest.approx(0, abs=0.03) and load(bus) == 250
    leader.let_go()
    advance(leader, 1.0)
    assert memory.positions[0] == pytest.approx(300 * 2 * np.pi / 4096, abs=0.03)
    assert abs(load(bus)) <= 25


def test_joints_end_where_they_end(memory: PlantMemory) -> None:
    leader = EmulatedLeader(memory)
    leader.move_hand({"elbow_flex": 9.0}, 0.1)
    advance(leader, 2.0)
    assert (memory.positions <= JOINT_HIGH_RAD).all() and (memory.positions >= JOINT_LOW_RAD).all()


@pytest.mark.parametrize("by_rad", [{"elbow": 0.1}, {"elbow_flex": float("nan")}])
def test_a_hand_cannot_move_what_is_not_there(memory: PlantMemory, by_rad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shoulder_pan"):
        EmulatedLeader(memory).move_hand(by_rad, 1.0)
