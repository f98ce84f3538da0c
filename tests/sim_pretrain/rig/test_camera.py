"""Frame files and the camera that reads them, alone and through LeRobot's own factory."""

from __future__ import annotations

import threading
from pathlib import Path

import draccus
import numpy as np
import pytest

from sim_pretrain.rig.camera import EmulatedCamera, EmulatedCameraConfig
from sim_pretrain.rig.frame_file import FrameFile, FrameReader


def plain(value: int, height: int = 12, width: int = 16) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


@pytest.fixture
def file(tmp_path: Path):
    with FrameFile(tmp_path / "wrist.frames", width_px=16, height_px=12) as file:
        yield file


@pytest.fixture
def camera(file: FrameFile):
    file.write(plain(1))
    with EmulatedCamera(EmulatedCameraConfig(path=str(file.path))) as camera:
        yield camera


def test_reads_the_newest_frame(file: FrameFile, camera: EmulatedCamera) -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    file.write(image)
    np.testing.assert_array_equal(camera.read_latest(), image)
    np.testing.assert_array_equal(camera.async_read(), image)
    assert (camera.width, camera.height) == (16, 12)


def test_async_read_gives_each_frame_once(file: FrameFile, camera: EmulatedCamera) -> None:
    camera.async_read()
    with pytest.raises(TimeoutError, match="hilserl rig"):
        camera.async_read(timeout_ms=20)
    file.write(plain(2))
    assert camera.async_read(timeout_ms=20)[0, 0, 0] == 2


def test_read_waits_for_the_next_frame(file: FrameFile, camera: EmulatedCamera) -> None:
    timer = threading.Timer(0.05, lambda: file.write(plain(9)))
    timer.start()
    assert camera.read()[0, 0, 0] == 9
    timer.join()


def test_stale_and_missing_frames_are_errors(tmp_path: Path) -> None:
    with FrameFile(tmp_path / "front.frames", 16, 12) as file:
        camera = EmulatedCamera(EmulatedCameraConfig(path=str(file.path)))
        camera.connect(warmup=False)
        with pytest.raises(RuntimeError, match="not captured"):
            camera.read_latest()
        file.write(plain(1))
        file._header["stamp_s"] -= 0.6
        with pytest.raises(TimeoutError, match="accepted are 500"):
            camera.read_latest()
        camera.read_latest(max_age_ms=60_000)
    camera.disconnect()
    with pytest.raises(ConnectionError, match="not connected"):
        camera.read_latest()
    with pytest.raises(ConnectionError, match="hilserl rig --directory="):
        camera.connect()
    assert not camera.is_connected


def test_frames_that_a_dead_rig_left_do_not_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim_pretrain.rig.camera._ALIVE_MS", 30)
    with FrameFile(tmp_path / "front.frames", 16, 12) as file:
        file.write(plain(1))
        file._header["stamp_s"] -= 60
        with pytest.raises(ConnectionError, match="no fresh frames"):
            EmulatedCamera(EmulatedCameraConfig(path=str(file.path))).connect()
    other = tmp_path / "other.frames"
    other.write_bytes(bytes(100))
    with pytest.raises(ConnectionError, match="not a frame file"):
        EmulatedCamera(EmulatedCameraConfig(path=str(other))).connect()


def test_size_is_compared_with_the_config(file: FrameFile) -> None:
    file.write(plain(1))
    with pytest.raises(RuntimeError, match="width=16 height=12"):
        EmulatedCamera(EmulatedCameraConfig(path=str(file.path), width=640, height=480)).connect()
    with pytest.raises(ValueError, match=r"\(12, 16, 3\)"):
        file.write(plain(1, height=10))


def test_no_reader_sees_half_a_frame(tmp_path: Path) -> None:
    with FrameFile(tmp_path / "big.frames", 320, 240) as file:
        file.write(plain(0, 240, 320))
        reader = FrameReader(file.path)
        done = threading.Event()

        def write() -> None:
            value = 0
            while not done.is_set():
                value = (value + 1) % 256
                file.write(plain(value, 240, 320))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            seen = [reader.read() for _ in range(300)]
        finally:
            done.set()
            writer.join()
    assert all(frame.image.min() == frame.image.max() for frame in seen)
    assert len({frame.number for frame in seen}) > 1


def test_a_writer_that_died_within_a_frame_is_noticed(file: FrameFile) -> None:
    file.write(plain(1))
    file._header["sequence"] += 1
    with pytest.raises(TimeoutError, match="died within a frame"):
        FrameReader(file.path).read()


def test_works_through_lerobots_factory_and_config(file: FrameFile, new_follower) -> None:
    from lerobot.cameras.configs import CameraConfig
    from lerobot.robots.so_follower import SO101FollowerConfig

    file.write(plain(7))
    entry = {"type": "emulated", "path": str(file.path), "fps": 30, "width": 16, "height": 12}
    decoded = draccus.decode(dict[str, CameraConfig], {"wrist": entry})
    flags = ["--port=x", f"--cameras={draccus.dump({'wrist': entry})}"]
    assert draccus.parse(SO101FollowerConfig, args=flags).cameras == decoded
    robot = new_follower(cameras=decoded)
    camera = robot.cameras["wrist"]
    assert type(camera) is EmulatedCamera
    camera.connect()
    assert camera.read_latest()[0, 0, 0] == 7
    camera.disconnect()
