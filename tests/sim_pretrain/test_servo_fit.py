"""The servos of an arm are found from what `doctor --move` records of it: here of a simulated arm with others."""

import json

import numpy as np
import pytest

from hilserl.cli import main
from hilserl.loop.env import ArmEnv, start_joints
from hilserl.loop.handshake import Handshake, NoFrames
from hilserl.tasks import lift_task
from sim_pretrain.servo_fit import fit
from sim_pretrain.world.physics import World
from sim_pretrain.world.profile import WorldProfile
from sim_pretrain.world.sim_arm import SimArm, SimClock

ARM = {"servo_gain": 40.0, "servo_damping": 2.2, "action_latency_s": 0.03}


@pytest.fixture(scope="module")
def traces():
    task, world = lift_task(), World(WorldProfile(**ARM))
    world.set_joints(start_joints(task, np.array([0.23, 0.0, 0.1])))
    world.place_cube(0.3, 0.3, 0.0)
    return list(Handshake(ArmEnv(SimArm(world), NoFrames(), SimClock(world), task), lambda: False).traces())


def test_gain_damping_and_latency_are_found(traces):
    fitted, off_rad, before_rad = fit(traces, WorldProfile())
    assert fitted.servo_gain == pytest.approx(ARM["servo_gain"], rel=0.05)
    assert fitted.servo_damping == pytest.approx(ARM["servo_damping"], rel=0.1)
    assert fitted.action_latency_s == pytest.approx(ARM["action_latency_s"], abs=0.008)
    assert off_rad < before_rad / 5


def test_the_command_writes_a_profile_and_keeps_what_the_camera_fit_found(traces, tmp_path, capsys):
    content = {"dead_band_rad": {}, "traces": [trace.to_json() for trace in traces]}
    (tmp_path / "servos.json").write_text(json.dumps(content))
    (tmp_path / "camera.json").write_text(json.dumps({"wrist_fovy_deg": 77.0}))
    flags = [
        f"--traces={tmp_path}/servos.json",
        f"--output_dir={tmp_path}/fit",
        f"--profile_json={tmp_path}/camera.json",
    ]
    assert main(["setup", "servo-fit", *flags]) == 0
    profile = json.loads((tmp_path / "fit" / "profile.json").read_text())
    assert profile["wrist_fovy_deg"] == 77.0
    assert set(profile) == {"wrist_fovy_deg", *ARM}
    assert (tmp_path / "fit" / "servos.png").stat().st_size > 10_000

    traces[0].measured_rad[:, 0] += np.linspace(0, 0.3, len(traces[0].time_s))  # somebody pushed it
    content = {"traces": [trace.to_json() for trace in traces]}
    (tmp_path / "servos.json").write_text(json.dumps(content))
    assert main(["setup", "servo-fit", f"--traces={tmp_path}/servos.json", f"--output_dir={tmp_path}/no"]) == 1
    assert "doctor --move" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    assert main(["setup", "servo-fit", f"--traces={tmp_path}/camera.json"]) == 1
    assert "doctor --move" in capsys.readouterr().err
