"""The slot: whole values, however the two processes meet; nobody waits."""

import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UserError
from hilserl.loop.slot import Slot, live_folder


def test_there_is_nothing_before_the_first_value(tmp_path: Path) -> None:
    assert Slot(tmp_path / "s", 64).get() is None


@given(st.lists(st.lists(st.binary(max_size=20), max_size=3), min_size=1, max_size=5))
def test_the_newest_value_is_read_whole(tmp_path_factory: pytest.TempPathFactory, values: list[list[bytes]]) -> None:
    path = tmp_path_factory.mktemp("slot") / "s"
    writer, reader, seen = Slot(path, 64), Slot(path, 64), set()
    for parts in values:
        writer.put(*parts)
        found = reader.get()
        assert found is not None and found[1] == b"".join(parts)
        seen.add(found[0])
    assert len(seen) == len(values)


def test_arrays_follow_each_other_as_they_are(tmp_path: Path) -> None:
    images = [np.arange(24, dtype=np.uint8).reshape(2, 4, 3), np.arange(12, dtype=np.uint8).reshape(2, 2, 3)[:, ::-1]]
    slot = Slot(tmp_path / "s", 64)
    slot.put(b"head", *images)
    found = slot.get()
    assert found is not None and found[1] == b"head" + b"".join(i.tobytes() for i in images)


def test_what_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    slot = Slot(tmp_path / "s", 8)
    slot.put(b"old")
    before = slot.get()
    with pytest.raises(ValueError, match="8 bytes was given 9"):
        slot.put(b"too", b" large")
    assert slot.get() == before


def test_a_writer_that_was_killed_in_the_middle_is_no_value_and_the_next_one_mends_it(tmp_path: Path) -> None:
    slot = Slot(tmp_path / "s", 8)
    slot.put(b"old")
    slot._header["sequence"] += 1
    reader = Slot(tmp_path / "s", 8)
    assert reader.get() is None
    Slot(tmp_path / "s", 8).put(b"new")
    found = reader.get()
    assert found is not None and found[1] == b"new"


WRITER = """
import sys, numpy as np
from pathlib import Path
from hilserl.loop.slot import Slot
slot, n = Slot(Path(sys.argv[1]), 1 << 16), 0
print("writes", flush=True)
while True:
    n = (n + 1) % 256
    slot.put(np.full(1 << 16, n, np.uint8))
"""


def test_no_value_is_torn_between_two_processes(tmp_path: Path) -> None:
    slot, seen = Slot(tmp_path / "s", 1 << 16), set()
    command = [sys.executable, "-c", WRITER, str(tmp_path / "s")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout and writer.stdout.readline()
        while len(seen) < 100 and writer.poll() is None:
            if (found := slot.get()) is not None:
                assert len(set(found[1])) == 1
                seen.add(found[0])
        writer.kill()
    assert len(seen) == 100


def test_the_folder_of_a_run_is_its_own_and_private(tmp_path: Path) -> None:
    one, same, other = (live_folder(tmp_path / n) for n in ("a", "./a", "b"))
    try:
        assert one == same != other
        assert stat.S_IMODE(one.stat().st_mode) == 0o700
    finally:
        one.rmdir()
        other.rmdir()


def test_without_room_it_is_said_and_nothing_is_mapped(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no room for .*--ui\.enabled=false"):
        Slot(tmp_path / "s", 1 << 60)
