"""The wire protocol: packets out of any stream, and what the servos answer."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD, JOINTS
from sim_pretrain.rig.feetech_bus import (
    BROADCAST,
    PING,
    READ,
    SYNC_READ,
    SYNC_WRITE,
    WRITE,
    Frame,
    FrameParser,
    ServoBus,
    pack,
)
from sim_pretrain.rig.servo import from_sign_magnitude, rig_calibration, sign_magnitude

frames = st.builds(Frame, st.integers(0, 0xFE), st.integers(0, 255), st.binary(max_size=40))
noise = st.binary(max_size=20)


def feed_in_chunks(parser: FrameParser, stream: bytes, cuts: list[int]) -> list[Frame]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [frame for a, b in pairwise(edges) for frame in parser.feed(stream[a:b])]


@given(st.lists(st.tuples(noise, frames), max_size=6), st.lists(st.integers(0, 500), max_size=10))
def test_packets_survive_any_chunking_and_noise_without_headers(
    parts: list[tuple[bytes, Frame]], cuts: list[int]
) -> None:
    stream = b"".join(dirt.replace(b"\xff", b"\x00") + pack(*frame) for dirt, frame in parts)
    assert feed_in_chunks(FrameParser(), stream, cuts) == [frame for _, frame in parts]


@given(st.binary(max_size=600), frames, st.lists(st.integers(0, 2000), max_size=10))
def test_parser_recovers_from_any_garbage(garbage: bytes, frame: Frame, cuts: list[int]) -> None:
    parser = FrameParser()
    feed_in_chunks(parser, garbage, cuts)
    assert parser.pending <= 258
    parser.feed(bytes(260))  # longer than any packet that the garbage may have announced
    assert parser.pending == 0
    assert parser.feed(pack(*frame)) == [frame]


@given(frames, st.integers(0, 5000), st.integers(1, 255))
def test_a_changed_byte_never_gives_that_packet(frame: Frame, position: int, change: int) -> None:
    packet = bytearray(pack(*frame))
    position = 2 + position % (len(packet) - 2)
    packet[position] ^= change
    assert frame not in FrameParser().feed(bytes(packet))


@given(st.integers(-3000, 3000), st.sampled_from([11, 15]))
def test_sign_magnitude_round_trip(value: int, bit: int) -> None:
    limit = (1 << bit) - 1
    assert from_sign_magnitude(sign_magnitude(value, bit), bit) == max(-limit, min(value, limit))


def ask(bus: ServoBus, *request: object) -> list[Frame]:
    return FrameParser().feed(bus.feed(pack(*request)))  # type: ignore[arg-type]


def test_ping_read_and_model_number(bus: ServoBus) -> None:
    assert ask(bus, 3, PING) == [Frame(3, 0, b"")]
    assert ask(bus, 3, READ, bytes([3, 2])) == [Frame(3, 0, (777).to_bytes(2, "little"))]
    assert ask(bus, 9, PING) == []
    assert [frame.id for frame in ask(bus, BROADCAST, PING)] == [1, 2, 3, 4, 5, 6]


def test_sync_read_answers_in_the_order_of_the_request(bus: ServoBus) -> None:
    replies = ask(bus, BROADCAST, SYNC_READ, bytes([56, 2, 5, 1, 3]))
    assert [frame.id for frame in replies] == [5, 1, 3]


def test_goals_are_obeyed_only_with_torque_and_within_the_limits(bus: ServoBus, plant) -> None:
    goal = (2048 + 100).to_bytes(2, "little")
    assert ask(bus, BROADCAST, SYNC_WRITE, bytes([42, 2, 1, *goal, 2, *goal])) == []
    assert plant.angles_rad[0] == 0.1
    ask(bus, 1, WRITE, bytes([40, 1]))
    assert plant.torque.tolist() == [True] + [False] * 5
    assert plant.angles_rad[0] == 0.1  # the goal became the present position
    ask(bus, BROADCAST, SYNC_WRITE, bytes([42, 2, 1, *goal, 2, *goal]))
    assert plant.angles_rad[:2] == pytest.approx([100 * 2 * np.pi / 4096, -0.2])
    ask(bus, 1, WRITE, bytes([42, *(7797).to_bytes(2, "little")]))
    assert JOINT_HIGH_RAD[0] - 0.002 < plant.angles_rad[0] <= JOINT_HIGH_RAD[0]


def test_broadcast_torque_off_is_obeyed_by_all_and_not_answered(bus: ServoBus, plant) -> None:
    for id_ in range(1, 7):
        ask(bus, id_, WRITE, bytes([40, 1]))
    assert plant.torque.all()
    assert bus.feed(bytes.fromhex("FFFFFE04032800D2")) == b""
    assert not plant.torque.any()


def test_present_position_is_actual_minus_homing_offset(bus: ServoBus, plant) -> None:
    offset = rig_calibration()["elbow_flex"].homing_offset
    plant.angles_rad[2] = 0.0
    assert ask(bus, 3, READ, bytes([56, 2]))[0].data == (2048).to_bytes(2, "little")
    ask(bus, 3, WRITE, bytes([31, *sign_magnitude(offset - 50, 11).to_bytes(2, "little")]))
    assert ask(bus, 3, READ, bytes([56, 2]))[0].data == (2098).to_bytes(2, "little")


def test_velocity_is_measured_in_ticks_per_second(plant) -> None:
    now_s = [0.0]
    bus = ServoBus(plant, clock=lambda: now_s[0])
    plant.angles_rad[0] = 0.0
    ask(bus, 1, READ, bytes([58, 2]))
    now_s[0] = 0.02
    ask(bus, 1, READ, bytes([58, 2]))
    plant.angles_rad[0], now_s[0] = -0.1, 0.12
    velocity = int.from_bytes(ask(bus, 1, READ, bytes([58, 2]))[0].data, "little")
    assert from_sign_magnitude(velocity, 15) == pytest.approx(-0.1 / 0.1 * 4096 / (2 * np.pi), abs=10)


def test_measured_registers_cannot_be_written(bus: ServoBus) -> None:
    before = ask(bus, 1, READ, bytes([56, 2]))
    ask(bus, 1, WRITE, bytes([56, 1, 2]))
    ask(bus, 1, WRITE, bytes([3, 1, 2]))
    assert ask(bus, 1, READ, bytes([56, 2])) == before
    assert ask(bus, 1, READ, bytes([3, 2]))[0].data == (777).to_bytes(2, "little")


def test_a_request_that_was_cut_off_does_not_swallow_the_next(plant) -> None:
    now_s = [0.0]
    bus = ServoBus(plant, clock=lambda: now_s[0])
    bus.feed(b"\xff\xff\x01\xf0\x02")
    now_s[0] = 1.0
    assert ask(bus, 1, PING) == [Frame(1, 0, b"")]


@given(st.binary(max_size=300))
def test_no_bytes_break_the_bus(data: bytes) -> None:
    from types import SimpleNamespace

    nothing = SimpleNamespace(
        positions_rad=lambda: np.zeros(6),
        set_goal_rad=lambda *_: None,
        set_torque=lambda *_: None,
        set_stiffness=lambda *_: None,
    )
    bus = ServoBus(nothing)
    for id_, code in ((1, READ), (2, WRITE), (BROADCAST, SYNC_READ), (BROADCAST, SYNC_WRITE), (3, 0x55)):
        bus.feed(pack(id_, code, data[:200]))
    bus.feed(data)


def test_calibration_agrees_with_the_arm_driver() -> None:
    for index, (name, entry) in enumerate(rig_calibration().items()):
        assert name == JOINTS[index] and entry.id == index + 1
        ends_rad = [(tick - 2048) * 2 * np.pi / 4096 for tick in (entry.range_min, entry.range_max)]
        if name == "gripper":  # 0..100 % is the joint range
            assert ends_rad == pytest.approx([JOINT_LOW_RAD[5], JOINT_HIGH_RAD[5]], abs=np.pi / 4096)
        else:  # degree zero, the middle of the range, is joint zero
            assert entry.range_min + entry.range_max == 2 * 2048
            assert JOINT_LOW_RAD[index] <= ends_rad[0] and ends_rad[1] <= JOINT_HIGH_RAD[index]
