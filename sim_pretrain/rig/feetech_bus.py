"""The Feetech protocol-0 servo bus, as a pure function of the bytes on the wire.

    request   FF FF id length instruction parameters... checksum
    status    FF FF id length error       data...       checksum

`length` counts what follows it; the checksum is the inverted low byte of the sum of all after the header.
`pty_port.py` puts a bus on a serial port.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from sim_pretrain.rig.servo import Plant, Servo

PING, READ, WRITE, SYNC_READ, SYNC_WRITE = 0x01, 0x02, 0x03, 0x82, 0x83
BROADCAST = 0xFE
_HEADER = b"\xff\xff"
_LONGEST_DATA = 253  # what fits into a status
_SILENCE_S = 0.05  # a request that pauses for this long inside was cut off


class Frame(NamedTuple):
    """A packet with a right checksum; `code` is the instruction of a request or the error of a status."""

    id: int
    code: int
    data: bytes


def pack(id_: int, code: int, data: bytes = b"") -> bytes:
    """Return the bytes of a packet."""
    body = bytes([id_, len(data) + 2, code]) + data
    return _HEADER + body + bytes([~sum(body) & 0xFF])


class FrameParser:
    """Finds packets in a stream that may be cut anywhere and may hold garbage."""

    def __init__(self) -> None:
        """Start with nothing received."""
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of an unfinished packet, at most 258."""
        return len(self._buffer)

    def reset(self) -> None:
        """Forget an unfinished packet."""
        self._buffer.clear()

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes of the stream and return the packets that they complete, in order."""
        self._buffer += data
        frames: list[Frame] = []
        while True:
            self._drop(self._garbage())
            if len(self._buffer) < 4:
                return frames
            size = self._buffer[3] + 4
            if len(self._buffer) < size:
                return frames
            body = self._buffer[2 : size - 1]
            if ~sum(body) & 0xFF == self._buffer[size - 1]:
                frames.append(Frame(body[0], body[2], bytes(body[3:])))
                self._drop(size)
            else:
                self._drop(1)  # the header may have been noise: look for another inside

    def _garbage(self) -> int:
        """Number of leading bytes that cannot begin a packet."""
        buffer = self._buffer
        for start in range(len(buffer)):
            rest = buffer[start : start + 4]
            if rest[:2] != _HEADER[: len(rest)]:
                continue
            if len(rest) > 2 and rest[2] == 0xFF:  # no id; the second FF may be the first of a header
                continue
            if len(rest) > 3 and rest[3] < 2:
                continue
            return start
        return len(buffer)

    def _drop(self, count: int) -> None:
        del self._buffer[:count]


class ServoBus:
    """Six STS3215 servos on one wire: request bytes in, status bytes out. Safe to call from two threads.

    Faults: while silenced nothing is answered or obeyed; corrupted statuses carry a wrong checksum; a dead
    motor neither answers nor obeys, and keeps the torque and the goal that it had.
    """

    def __init__(self, plant: Plant, clock: Callable[[], float] = time.monotonic):
        """Power the servos on over a plant; `clock` returns seconds."""
        self.servos = [Servo(index, plant, clock) for index in range(6)]
        self._parser = FrameParser()
        self._clock = clock
        self._last_byte_s = clock()
        self._lock = threading.Lock()
        self._silent, self._corrupt = False, 0
        self._dead: frozenset[int] = frozenset()

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the host and return what the servos put on the wire, perhaps nothing."""
        with self._lock:
            now_s = self._clock()
            if now_s - self._last_byte_s > _SILENCE_S:
                self._parser.reset()
            self._last_byte_s = now_s
            return b"".join(map(self._answer, self._parser.feed(data)))

    def silence(self) -> None:
        """Stop answering and obeying until healed."""
        with self._lock:
            self._silent = True

    def corrupt(self, count: int) -> None:
        """Send the next `count` statuses with a wrong checksum."""
        with self._lock:
            self._corrupt = count

    def kill(self, id_: int) -> None:
        """Take one motor off the bus until healed.

        Raises:
            ValueError: no servo has this id.
        """
        ids = [servo.id for servo in self.servos]
        if id_ not in ids:
            raise ValueError(f"there is no motor with id {id_}; this arm has {ids}")
        with self._lock:
            self._dead |= {id_}

    def heal(self) -> None:
        """End all faults of this bus."""
        with self._lock:
            self._silent, self._corrupt, self._dead = False, 0, frozenset()

    def _answer(self, frame: Frame) -> bytes:
        if self._silent:
            return b""
        data = frame.data
        if frame.code == SYNC_READ and len(data) >= 2:
            return self._read(data[2:], data[0], data[1])
        if frame.code == SYNC_WRITE and len(data) >= 2:
            size = data[1] + 1  # an id and its values
            for start in range(2, len(data) - size + 1, size):
                for servo in self._alive(data[start : start + 1]):
                    servo.write(data[0], data[start + 1 : start + size])
            return b""
        ids = [servo.id for servo in self.servos] if frame.id == BROADCAST else [frame.id]
        if frame.code == PING:
            return b"".join(self._status(servo) for servo in self._alive(ids))
        if frame.code == READ and len(data) == 2 and frame.id != BROADCAST:
            return self._read(ids, data[0], data[1])
        if frame.code == WRITE and data:
            reply = b""
            for servo in self._alive(ids):
                reply += self._status(servo)  # before the write: setting an id is acknowledged under the old one
                servo.write(data[0], data[1:])
            return b"" if frame.id == BROADCAST else reply
        return b""

    def _read(self, ids: Iterable[int], address: int, length: int) -> bytes:
        if length > _LONGEST_DATA:
            return b""
        return b"".join(self._status(servo, servo.read(address, length)) for servo in self._alive(ids))

    def _alive(self, ids: Iterable[int]) -> list[Servo]:
        return [servo for id_ in ids for servo in self.servos if servo.id == id_ and id_ not in self._dead]

    def _status(self, servo: Servo, data: bytes = b"") -> bytes:
        packet = pack(servo.id, servo.alarm, data)
        if self._corrupt:
            self._corrupt -= 1
            packet = packet[:-1] + bytes([packet[-1] ^ 0xFF])
        return packet
