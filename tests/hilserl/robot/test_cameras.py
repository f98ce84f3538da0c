"""Cameras: always closed, never silently old, black or wrong."""

import time
from dataclasses import dataclass

import lerobot.cameras
import numpy as np
import pytest
from lerobot.cameras import Camera, CameraConfig, make_cameras_from_configs

import hilserl.robot.cameras as cameras_module
from hilserl.robot.cameras import CameraFault, CameraReader, open_cameras
from sim_pretrain.rig.camera import EmulatedCameraConfig
from sim_pretrain.rig.frame_file import FrameFile


@dataclass(kw_only=True)
class FaultyCameraConfig(CameraConfig):
    kind: str = "noise"


class FaultyCamera(Camera):
    """A camera whose fault is its `kind`."""

    alive = 0  # open cameras, over all instances

    def __init__(self, config):
        super().__init__(config)
        self.kind, self._open = config.kind, False

    @property
    def is_connected(self):
        return self._open

    @staticmethod
    def find_cameras():
        return []

    def connect(self, warmup=True):
        if self.kind in ("absent", "gone"):
            raise ConnectionError("Failed to open")
        self._open = True
        self.opened_s = time.monotonic()
        FaultyCamera.alive += 1

    def read(self):
        return self.read_latest()

    def async_read(self, timeout_ms=200):
        return self.read_latest()

    def read_latest(self, max_age_ms=500):
        if not self._open:
            raise ConnectionError("not connected")
        frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
        match self.kind:
            case "gone":
                raise RuntimeError("read thread is not running")
            case "stale":
                raise TimeoutError("latest frame is too old: 900 ms")
            case "black":
                return frame // 100
            case "grey":
                return frame[..., 0]
            case "float":
                return frame / 255
            case "waking":
                return frame if time.monotonic() - self.opened_s > 0.1 else frame * 0
        return frame

    def disconnect(self):
        self._open = False
        FaultyCamera.alive -= 1
        if self.kind == "sticky":
            raise RuntimeError("will not close")


@pytest.fixture(autouse=True)
def none_left_open(monkeypatch):
    def make(configs):
        return {name: FaultyCamera(config) for name, config in configs.items()}

    monkeypatch.setattr(lerobot.cameras, "make_cameras_from_configs", make)
    FaultyCamera.alive = 0
    yield
    assert FaultyCamera.alive == 0


def configs(**kinds):
    return {name: FaultyCameraConfig(fps=30, width=64, height=48, kind=kind) for name, kind in kinds.items()}


def test_reads_frames_with_stamps():
    with open_cameras(configs(wrist="noise", front="noise")) as reader:
        assert reader.names == ("wrist", "front")
        before = time.monotonic()
        frame, stamp_s = reader.read("wrist")
        assert frame.dtype == np.uint8 and frame.shape == (48, 64, 3)
        assert before - 1e-6 <= stamp_s <= time.monotonic()


def test_the_cameras_own_stamp_is_used():
    class Stamped(FaultyCamera):
        latest_timestamp = time.perf_counter() - 0.25

    camera = Stamped(configs(wrist="noise")["wrist"])
    camera.connect()
    _, stamp_s = CameraReader({"wrist": camera}).read("wrist")
    camera.disconnect()
    assert time.monotonic() - stamp_s >= 0.25


@pytest.mark.parametrize(
    "kind, words",
    [
        ("absent", "does not open"),
        ("stale", "900 ms"),
        ("black", "constant picture"),
        ("grey", "accepted is uint8"),
        ("float", "float64"),
    ],
)
def test_faults_name_the_camera_and_the_next_command(kind, words):
    with (
        pytest.raises(CameraFault, match=rf"'front'[\s\S]*{words}[\s\S]*lerobot-find-cameras"),
        open_cameras(configs(wrist="noise", front=kind), patience_s=0.1),
    ):
        pass


def test_a_dark_start_is_waited_out():
    with open_cameras(configs(wrist="waking"), patience_s=5.0) as reader:
        reader.read("wrist")


def test_stale_in_the_middle():
    with open_cameras(configs(wrist="noise")) as reader:
        reader._cameras["wrist"].kind = "stale"
        with pytest.raises(CameraFault, match=r"'wrist'.*900 ms"):
            reader.read("wrist")


def test_black_in_the_middle_until_there_is_light_again(monkeypatch):
    monkeypatch.setattr(cameras_module, "_LOOK_S", 0.0)
    with open_cameras(configs(wrist="noise")) as reader:
        reader._cameras["wrist"].kind = "black"
        for _ in range(2):
            with pytest.raises(CameraFault, match=r"'wrist' shows a constant picture"):
                reader.read("wrist")
        reader._cameras["wrist"].kind = "noise"
        reader.read("wrist")


def test_a_camera_that_was_unplugged_is_opened_again():
    with open_cameras(configs(wrist="noise", front="noise")) as reader:
        camera = reader._cameras["wrist"]
        camera.kind = "gone"
        with pytest.raises(CameraFault, match="read thread is not running"):
            reader.read("wrist")
        assert camera.is_connected  # the first failure does not wait for anything
        with pytest.raises(CameraFault, match="does not open"):
            reader.read("wrist")
        reader.read("front")
        camera.kind = "noise"
        reader.read("wrist")
        assert camera.is_connected and FaultyCamera.alive == 2


def test_a_camera_that_was_silent_for_a_moment_is_not_opened_again():
    with open_cameras(configs(wrist="noise")) as reader:
        camera = reader._cameras["wrist"]
        opened_s, camera.kind = camera.opened_s, "stale"
        with pytest.raises(CameraFault):
            reader.read("wrist")
        camera.kind = "noise"
        reader.read("wrist")
        assert camera.opened_s == opened_s


def test_unknown_camera():
    with open_cameras(configs(wrist="noise")) as reader, pytest.raises(CameraFault, match=r"'top'.*wrist"):
        reader.read("top")


def test_all_are_closed_after_an_error_and_after_one_that_will_not():
    with pytest.raises(KeyError), open_cameras(configs(wrist="noise", front="sticky", top="noise")):
        raise KeyError("bug")


def test_with_the_cameras_of_the_rig(tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot.cameras, "make_cameras_from_configs", make_cameras_from_configs)
    config = EmulatedCameraConfig(path=str(tmp_path / "wrist.frames"), fps=30, width=64, height=48)
    with pytest.raises(CameraFault, match=r"'wrist'[\s\S]*hilserl rig"), open_cameras({"wrist": config}):
        pass
    picture = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    with FrameFile(tmp_path / "wrist.frames", 64, 48) as file:
        file.write(picture)
        with open_cameras({"wrist": config}, max_age_s=60.0) as reader:
            np.testing.assert_array_equal(reader.read("wrist")[0], picture)
        with (
            pytest.raises(CameraFault, match="no frame younger"),
            open_cameras({"wrist": config}, max_age_s=0.0),
        ):
            pass


def test_no_cameras_are_fine():
    with open_cameras({}) as reader:
        assert reader.names == ()
