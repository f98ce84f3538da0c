"""Puts an emulated servo bus on a pseudo-terminal, which a driver opens like a USB serial port."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import termios
import threading
import tty
from pathlib import Path

from sim_pretrain.rig.feetech_bus import ServoBus

_OUTPUT_SPEED = 5  # index in what `tcgetattr` returns


class PtyPort:
    """A thread that serves `bus` at `link`, a symbolic link to the terminal. Use in a `with` block.

    The servos run at 1 Mbaud; at any other rate they neither understand nor answer.
    """

    def __init__(self, bus: ServoBus, link: Path):
        """Plug in: open the terminal, point the link at it and start to answer."""
        self._bus, self._link = bus, link
        self._thread: threading.Thread | None = None
        self.plug()

    @property
    def plugged(self) -> bool:
        """Whether the port is there."""
        return self._thread is not None

    def plug(self) -> None:
        """Open a fresh terminal at the same link; nothing happens when one is open."""
        if self.plugged:
            return
        self._master, self._slave = pty.openpty()  # holding the slave: the first close by a driver is no hang-up
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._wake_read, self._wake_write = os.pipe()
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(os.ttyname(self._slave))
        self._thread = threading.Thread(target=self._serve, name="servo-bus", daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Pull the cable: the link goes, and a driver that has the port open gets an input/output error."""
        if self._thread is None:
            return
        os.write(self._wake_write, b"x")
        self._thread.join()
        self._thread = None
        with contextlib.suppress(OSError):  # a rig that took over has its own link there
            if os.readlink(self._link) == os.ttyname(self._slave):
                self._link.unlink()
        for descriptor in (self._slave, self._master, self._wake_read, self._wake_write):
            os.close(descriptor)

    def close(self) -> None:
        """Same as `unplug`."""
        self.unplug()

    def __enter__(self) -> PtyPort:
        """Return the open port."""
        return self

    def __exit__(self, *_: object) -> None:
        """Unplug."""
        self.close()

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._master, self._wake_read], [], [])
            if self._wake_read in ready:
                return
            data = os.read(self._master, 4096)
            if termios.tcgetattr(self._master)[_OUTPUT_SPEED] != termios.B1000000:
                continue
            if reply := self._bus.feed(data):
                with contextlib.suppress(BlockingIOError):  # nobody reads: the bytes are lost, as on a wire
                    os.write(self._master, reply)
