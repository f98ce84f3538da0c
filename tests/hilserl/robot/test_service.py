"""`hilserl jog` and `hilserl park` on LeRobot's driver and the emulated bus, as a person would type."""

import os
import threading

import numpy as np
import pytest

from hilserl.commands import jog, park, wiring
from hilserl.robot.collision import ArmShape
from hilserl.robot.motion import PARK_RAD

SPEED_TICK = 0.0016


@pytest.fixture
def typing(monkeypatch):
    """A keyboard: `typing(text, after_s)`; what is typed at once is there from the start."""
    monkeypatch.setattr(wiring, "HANG_S", 120.0)  # a busy machine would make the guard end the tests
    reading, writing = os.pipe()
    timers = []
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)

        def type_in(text: str, after_s: float = 0.0) -> None:
            if not after_s:
                os.write(writing, text.encode())
                return
            timers.append(threading.Timer(after_s, os.write, (writing, text.encode())))
            timers[-1].start()

        yield type_in
        for timer in timers:
            timer.join()
        os.close(writing)


def flags(bench, *more: str) -> list[str]:
    where = [f"--robot.port={bench.path}", f"--robot.calibration_dir={bench.folder}"]
    return ["--robot.type=so101_follower", "--robot.id=arm", *where, "--yes=true", *more]


def test_jog_moves_one_joint_slowly_and_says_where_it_is(bench, typing, capsys):
    bench.plant.q[3] = 1.648  # inside the calibrated range, and beyond the margin that every command keeps
    before = bench.plant.q.copy()
    bench.plant.goals_seen.clear()
    typing("wrist_flex -5\n")
    typing("quit\n", after_s=3.0)
    assert jog.main(flags(bench)) == 0
    after = bench.plant.positions_rad()
    np.testing.assert_allclose(after - before, [0, 0, 0, after[3] - before[3], 0, 0], atol=0.01)
    assert after[3] == pytest.approx(1.648 - np.radians(5), abs=0.02)
    goals = np.array([goal for joint, goal in bench.plant.goals_seen if joint == 3])
    assert np.abs(np.diff(goals)).max() <= jog.SPEED_RAD_S * 0.02 + 2 * SPEED_TICK
    out = capsys.readouterr().out
    assert "SERVICE MODE" in out and "wrist_flex 94.4 OUTSIDE" in out and "moved\n" in out and " mm apart" in out
    assert bench.plant.torque.all()


def test_jog_refuses_what_is_too_far_or_makes_no_sense(bench, typing, capsys):
    before = bench.plant.q.copy()
    typing("elbow_flex 16\nelbow 5\nelbow_flex\nelbow_flex nan\n\nquit\n")
    assert jog.main(flags(bench)) == 0
    np.testing.assert_allclose(bench.plant.positions_rad(), before, atol=0.01)
    assert capsys.readouterr().out.count("nothing moved") == 4


def test_enter_stops_a_jog(bench, typing, capsys):
    before = bench.plant.q[0]
    typing("shoulder_pan 15\n")
    typing("\n", after_s=1.5)
    typing("quit\n", after_s=2.5)
    assert jog.main(flags(bench)) == 0
    assert "stopped: stopped on request" in capsys.readouterr().out
    assert bench.plant.positions_rad()[0] - before < np.radians(14)


def test_park_folds_and_takes_the_force_out(bench, typing, capsys):
    bench.plant.q[:4] = PARK_RAD + np.array([0.2, 0.2, -0.2, 0.1])
    bench.plant.goal[:] = bench.plant.q
    assert park.main(flags(bench, "--stay=true")) == 0
    assert bench.plant.torque.all() and capsys.readouterr().out == "parked\n"
    np.testing.assert_allclose(bench.plant.positions_rad()[:4], PARK_RAD, atol=0.06)
    assert ArmShape().clearance_m(bench.plant.positions_rad()) > 0.01
    assert park.main(flags(bench)) == 0
    assert not bench.plant.torque.any() and "limp" in capsys.readouterr().out


def test_enter_stops_a_park_and_the_arm_holds(bench, typing, capsys):
    typing("\n", after_s=1.5)
    assert park.main(flags(bench)) == 1
    assert "not parked: stopped on request" in capsys.readouterr().out
    assert bench.plant.torque.all()


@pytest.mark.parametrize("command", [jog, park])
def test_nothing_moves_before_yes(bench, monkeypatch, command, capsys):
    monkeypatch.setattr("builtins.input", lambda _: "")
    bench.plant.goals_seen.clear()
    assert command.main([flag for flag in flags(bench) if flag != "--yes=true"]) == 1
    assert bench.plant.goals_seen == [] and "nothing was moved" in capsys.readouterr().out
