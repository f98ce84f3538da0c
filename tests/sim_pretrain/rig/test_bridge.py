"""Where world and bus meet: latencies, torque and frame rate, in simulated time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sim_pretrain.rig.bridge import Shutter, WorldPlant
from sim_pretrain.rig.bus_process import PlantMemory
from sim_pretrain.rig.feetech_bus import ServoBus, pack
from sim_pretrain.rig.frame_file import FrameFile, FrameReader
from sim_pretrain.world.physics import World
from sim_pretrain.world.profile import WorldProfile


def torque_on(bus: ServoBus) -> None:
    for id_ in range(1, 7):
        bus.feed(pack(id_, 3, bytes([40, 1])))


@pytest.mark.parametrize("latency_s", [0.0, 0.06])
def test_limp_arm_sags_and_does_not_jump_when_energised(latency_s: float, tmp_path: Path) -> None:
    world = World(WorldProfile(action_latency_s=latency_s))
    memory = PlantMemory(tmp_path / "plant", create=True)
    plant = WorldPlant(world, memory)
    bus = ServoBus(PlantMemory(tmp_path / "plant"))
    start_rad = memory.positions.copy()
    for _ in range(150):
        plant.advance(0.004)
    sagged_rad = memory.positions.copy()
    assert np.abs(sagged_rad - start_rad).max() > 0.1
    torque_on(bus)
    path = []
    for _ in range(150):
        plant.advance(0.004)
        path.append(memory.positions.copy())
    assert np.abs(np.array(path) - sagged_rad).max() < 0.05  # the old goal would pull it back up
    bus.feed(pack(1, 3, bytes([42, *(2048 + 200).to_bytes(2, "little")])))
    for _ in range(int(latency_s / 0.004)):
        plant.advance(0.004)
    assert abs(memory.positions[0]) < 0.02
    for _ in range(150):
        plant.advance(0.004)
    assert memory.positions[0] == pytest.approx(200 * 2 * np.pi / 4096, abs=0.02)
    bus.feed(pack(0xFE, 3, bytes([40, 0])))
    held_rad = memory.positions.copy()
    for _ in range(150):
        plant.advance(0.004)
    assert np.abs(memory.positions.copy() - held_rad).max() > 0.05


def test_frames_come_at_the_rate_after_the_latency_and_not_while_frozen(tmp_path: Path) -> None:
    world = SimpleNamespace(
        time_s=0.0,
        profile=WorldProfile(camera_fps=25.0, camera_latency_s=0.05),
        render=lambda camera: np.full((2, 2, 3), round(world.time_s * 100), np.uint8),
    )
    with FrameFile(tmp_path / "a.frames", 2, 2) as file:
        shutter, reader = Shutter(world, "a", file), FrameReader(file.path)
        ages = []
        for step in range(1, 251):  # a second
            shutter.publish()
            shutter.render_if_due()
            if reader.number:
                ages.append(world.time_s - reader.read().image[0, 0, 0] / 100)
            world.time_s = 0.004 * step
        assert reader.number == pytest.approx(24, abs=1)
        assert 0.05 - 1e-9 <= min(ages) < 0.06 and 0.08 < max(ages) < 0.1
        before = reader.number
        shutter.frozen = True
        for step in range(251, 350):
            world.time_s = 0.004 * step
            shutter.publish()
            shutter.render_if_due()
        assert reader.number == before
