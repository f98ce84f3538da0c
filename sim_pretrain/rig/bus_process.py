"""The servo bus in a process of its own, apart from the interpreter lock of the renderer.

No faster than a thread beside the renderer: in four interleaved runs of each on two shared cores, the
difference in rate (2,200 against 2,200 to 2,600 transactions per second) was smaller than the spread. The two
processes share `PlantMemory`; faults are lines on standard input.
"""

from __future__ import annotations

import json
import mmap
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from sim_pretrain.rig.feetech_bus import ServoBus
from sim_pretrain.rig.pty_port import PtyPort

_ARRAYS = [("positions_rad", "<f8", 6), ("goals_rad", "<f8", 6), ("torque", "<u8", 6), ("stiffness", "<u8", (6, 2))]
_LAYOUT = np.dtype(_ARRAYS)


class PlantMemory:
    """Joint angles, goals and torque in a shared file; fulfils `Plant` for the bus.

    Each number is eight aligned bytes and is written at once. The bus writes a goal before the torque that
    acts on it, so the other side reads torque first.
    """

    def __init__(self, path: Path, create: bool = False):
        """Map the file, and with `create` make it: all zero."""
        with path.open("w+b" if create else "r+b") as file:
            if create:
                file.truncate(_LAYOUT.itemsize)
            memory = np.frombuffer(mmap.mmap(file.fileno(), _LAYOUT.itemsize), _LAYOUT)[0]
        self.positions, self.goals = memory["positions_rad"], memory["goals_rad"]  # float64 [6]
        self.torque = memory["torque"]  # uint64 [6], 0 or 1
        self.stiffness = memory["stiffness"]  # uint64 [6, 2], gain and torque limit

    def positions_rad(self) -> np.ndarray:
        """Return the joint angles, [6] rad."""
        return self.positions

    def set_goal_rad(self, index: int, goal_rad: float) -> None:
        """Note the goal of one joint, rad."""
        self.goals[index] = goal_rad

    def set_torque(self, index: int, on: bool) -> None:
        """Note whether one servo is energised."""
        self.torque[index] = on

    def set_stiffness(self, index: int, p_coefficient: int, torque_limit: int) -> None:
        """Note gain and torque limit of one servo. The follower does not use them: its profile has a servo gain."""
        self.stiffness[index] = p_coefficient, torque_limit


class BusProcess:
    """The rig's end: starts the process, breaks it and mends it. Use in a `with` block.

    The methods are those of `ServoBus` and `PtyPort`.
    """

    def __init__(self, memory: Path, link: Path):
        """Start a bus on the plant in `memory`, and return when its port is at `link`."""
        command = [sys.executable, "-m", "sim_pretrain.rig.bus_process", str(memory), str(link)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._receive()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def silence(self) -> None:
        """Stop answering and obeying."""
        self._ask("silence")

    def corrupt(self, count: int) -> None:
        """Send the next `count` answers with a wrong checksum."""
        self._ask("corrupt", count)

    def kill(self, id_: int) -> None:
        """Take one motor off the bus; ValueError when there is none with this id."""
        self._ask("kill", id_)

    def unplug(self) -> None:
        """Pull the cable."""
        self._ask("unplug")

    def heal(self) -> None:
        """End all faults, and plug in."""
        self._ask("heal")

    def close(self) -> None:
        """Unplug and end the process."""
        self._process.communicate()

    def __enter__(self) -> BusProcess:
        """Return the running bus."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _ask(self, method: str, *arguments: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([method, *arguments]) + "\n")
        self._process.stdin.flush()
        self._receive()

    def _receive(self) -> None:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the servo bus process ended; its error is above. Start again: hilserl rig")
        if error := json.loads(answer):
            raise ValueError(error)


def _obey(bus: ServoBus, port: PtyPort, method: str, *arguments: int) -> None:
    if method == "unplug":
        port.unplug()
    elif method == "heal":
        bus.heal()
        port.plug()
    else:
        getattr(bus, method)(*arguments)


def main(memory: str, link: str) -> None:
    """Serve until standard input ends, which it also does when the rig dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the rig, which then closes this one
    bus = ServoBus(PlantMemory(Path(memory)))
    with PtyPort(bus, Path(link)) as port:
        print(json.dumps(None), flush=True)
        for line in sys.stdin:
            error = None
            try:
                _obey(bus, port, *json.loads(line))
            except (ValueError, OSError) as problem:
                error = str(problem)
            print(json.dumps(error), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
