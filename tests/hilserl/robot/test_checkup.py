"""What `hilserl doctor` finds without moving anything: each thing that is wrong is told with what to do about it."""

import json
import time

import numpy as np
import pytest

from data.errors import UserError
from hilserl.robot.checkup import (
    Finding,
    Level,
    adapter,
    attempt,
    calibration,
    disk,
    exposed,
    motors,
    names,
    pictures,
    port,
    servos,
)
from hilserl.robot.watch import HOT_C, WARM_C
from hilserl.tasks import lift_task

GREY = np.full((12, 16, 3), 120, np.uint8)


def bad(findings) -> list[Finding]:
    return [finding for finding in findings if finding.level is not Level.OK]


def test_an_arm_in_order(bench):
    goals = list(bench.plant.goals_seen)
    assert bad([port(bench.path), calibration(bench.config), *motors(bench.path)]) == []
    assert not bench.plant.torque.any() and bench.plant.goals_seen == goals, "nothing was moved or energised"


def test_an_arm_that_is_open_is_asked_without_opening_its_port_again(bench):
    with bench.connect() as arm:
        assert bad([adapter(bench.path), *servos(arm.ask)]) == []
        bench.bus.servos[4].supply_v = 9.3
        (found,) = bad(servos(arm.ask))
        assert found.level is Level.FAIL and "9.3" in found.words
        bench.bus.kill(2)
        (found,) = bad(attempt("motors", lambda: servos(arm.ask)))
        assert found.level is Level.FAIL and "reading Present_" in found.words


def test_an_arm_that_holds_keeps_holding(bench):
    with bench.connect():
        pass
    assert bad([calibration(bench.config), *motors(bench.path)]) == []
    assert bench.plant.torque.all()


@pytest.mark.parametrize(
    "name, value, words, level",
    [
        ("supply_v", 9.3, "9.3 V", Level.FAIL),
        ("temperature_c", WARM_C, "55 °C", Level.LOOK),
        ("temperature_c", HOT_C, "65 °C", Level.FAIL),
    ],
)
def test_supply_and_temperature(bench, name, value, words, level):
    for servo in bench.bus.servos:
        setattr(servo, name, value)
    (found,) = bad(motors(bench.path))
    assert words in found.words and found.level is level


def test_a_dead_motor_is_a_finding_and_no_traceback(bench):
    bench.bus.kill(3)
    (found,) = bad(attempt("motors", lambda: motors(bench.path)))
    assert found.level is Level.FAIL and "both cables" in found.words


def test_the_calibration_of_another_arm(bench):
    path = bench.folder / "arm.json"
    content = json.loads(path.read_text())
    content["elbow_flex"]["homing_offset"] += 100
    path.write_text(json.dumps(content))
    (found,) = bad(attempt("calibration", lambda: [calibration(bench.config)]))
    assert "elbow_flex" in found.words and "lerobot-calibrate" in found.words


def test_a_port_that_is_in_use_or_not_there(bench, tmp_path):
    with bench.connect():
        (found,) = bad(attempt("port", lambda: [port(bench.path)]))
        assert "in use" in found.words
    (found,) = bad(attempt("port", lambda: [port(str(tmp_path / "none"))]))
    assert "lerobot-find-port" in found.words


@pytest.mark.parametrize(
    "frame, fps, words",
    [(GREY, 20, "more light"), (GREY // 4, 30, "dark"), (GREY * 2 + 10, 30, "overexposed")],
)
def test_a_camera_that_is_slow_or_badly_exposed(frame, fps, words):
    assert exposed("wrist", GREY, 29.0, 30.0).level is Level.OK
    found = exposed("wrist", frame, fps, 30.0)
    assert found.level is Level.LOOK and words in found.words


class Cameras:
    """Open cameras with so many frames a second, some of which show the same."""

    def __init__(self, fps: dict[str, float], same: bool = False):
        self.names, self._fps = tuple(fps), fps
        self._frames = {name: np.roll(GREY, 0 if same else i, 1) + same for i, name in enumerate(fps)}
        self._frames = {name: f + (0 if same else 20 * i) for i, (name, f) in enumerate(self._frames.items())}

    def newest(self, name):
        period_s = 1 / self._fps[name]
        return self._frames[name], time.monotonic() // period_s * period_s


def test_open_cameras_are_looked_at_all_at_once():
    found = list(pictures(Cameras({"wrist": 60.0, "front": 20.0}), {"wrist": 60.0, "front": 60.0}, (), 0.4))
    assert [f.level for f in found] == [Level.OK, Level.LOOK] and "60 fps were asked for" in found[1].words
    (same,) = [
        f for f in pictures(Cameras({"a": 60.0, "b": 60.0}, True), {"a": 0, "b": 0}, (), 0.05) if f.level is Level.FAIL
    ]
    assert "b and a show the same picture" in same.words


def test_a_disk_that_is_too_small(tmp_path):
    task = lift_task()
    assert disk(tmp_path / "new" / "run", 1e-3, task.observation, task.rate_hz).level is Level.OK
    assert disk(tmp_path, 1e9, task.observation, task.rate_hz).level is Level.FAIL


def test_names_that_lead_elsewhere(tmp_path, monkeypatch):
    assert bad(names()) == []
    (tmp_path / "teleop").mkdir()
    (tmp_path / "teleop" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "teleop", raising=False)
    (found,) = bad(names())
    assert found.level is Level.FAIL and str(tmp_path) in found.words and "uninstall" in found.words


def test_an_error_for_people_is_a_finding_and_a_bug_is_not():
    def raises(error: Exception):
        raise error
        yield

    assert [f.words for f in attempt("x", lambda: raises(UserError("broken; mend it")))] == ["broken; mend it"]
    with pytest.raises(KeyError):
        list(attempt("x", lambda: raises(KeyError("bug"))))
