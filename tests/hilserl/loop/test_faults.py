"""Faults in the middle of a session: LeRobot's driver on the servo bus of a simulated arm, the whole actor above it.

Each ends in hold with a reason; the episode is marked and committed; and when all is well the same process goes on.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from lerobot.robots.so_follower import SO101FollowerConfig

from data.schema import Outcome
from data.store.episode_store import EpisodeStore
from hilserl.loop.env import ArmEnv
from hilserl.loop.session import SessionConfig
from hilserl.robot.arm import connect_arm
from sim_pretrain.rig.bridge import WorldPlant
from sim_pretrain.rig.bus_process import PlantMemory
from sim_pretrain.rig.feetech_bus import ServoBus
from sim_pretrain.rig.pty_port import PtyPort
from sim_pretrain.rig.servo import write_calibration
from sim_pretrain.world.sim_arm import SimClock

_spec = importlib.util.spec_from_file_location("actor_bench", Path(__file__).with_name("actor_bench.py"))
_bench = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_bench)


def servo(id_: int, **fields: int):
    """Return a fault of one servo: fields that it takes on."""
    return lambda bus, port: vars(bus.servos[id_ - 1]).update(fields)


FAULTS = {  # what breaks it, and what the person reads
    "silence": (lambda bus, port: bus.silence(), "no status packet"),
    "corrupt": (lambda bus, port: bus.corrupt(1000), "Incorrect status packet"),
    "dead motor": (lambda bus, port: bus.kill(3), "no status packet"),
    "unplug": (lambda bus, port: port.unplug(), "Input/output error"),
    "overload": (servo(6, alarm=0x20), "gripper: overload"),
    "over temperature": (servo(2, alarm=0x04), "shoulder_lift: it is too hot"),
    "hot": (servo(4, temperature_c=66), "wrist_flex 66 °C"),
}


def mend(bus: ServoBus, port: PtyPort) -> None:
    bus.heal()
    port.plug()
    for servo in bus.servos:
        servo.alarm, servo.temperature_c = 0, 34


class Table:
    """An arm on a servo bus over a simulated table; time passes when somebody sleeps, and mends what is broken."""

    def __init__(self, world, folder: Path) -> None:
        self.world = world
        self.plant = WorldPlant(world, PlantMemory(folder / "plant", create=True))
        self.bus = ServoBus(PlantMemory(folder / "plant"))
        self.mend_at_s = np.inf

    def clock(self, port: PtyPort) -> SimClock:
        table = self

        class Clock(SimClock):
            def sleep_until_s(self, time_s: float) -> None:
                while self.now_s() < time_s - 1e-9:
                    table.plant.advance(0.004)
                if table.world.time_s > table.mend_at_s:
                    mend(table.bus, port)

        return Clock(self.world)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_holds_marks_and_commits_and_the_session_goes_on(new_world, task, tmp_path, name):
    write_calibration(tmp_path / "arm.json")
    config = SO101FollowerConfig(port=str(tmp_path / "follower"), id="arm", calibration_dir=tmp_path)
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # the driver spins while it waits: the bus thread must get its turn
    world = new_world()
    table, (break_it, words) = Table(world, tmp_path), FAULTS[name]
    said, held = [], []
    with (
        PtyPort(table.bus, tmp_path / "follower") as port,
        EpisodeStore.create_or_open(tmp_path / "store", task) as store,
    ):
        clock = table.clock(port)
        with connect_arm(config, clock) as arm:
            hand = _bench.Hand()
            bench = _bench.Bench(ArmEnv(arm, BlackFrames(), clock, task), store, hand)
            step = bench.env.step

            def breaking(action, revise):
                if len(bench.executed) == 3 and not said_holding():
                    break_it(table.bus, port)
                return step(action, revise)

            def said_holding() -> bool:
                return any("holding until" in text for text in said)

            def say(text: str) -> None:
                said.append(text)
                if "holding until" in text:
                    table.mend_at_s = world.time_s + 0.8
                    held.append(world.joint_positions())
                    table.plant.advance(0.5)
                    held.append(world.joint_positions())

            bench.env.step = breaking
            session = SessionConfig(kind="online", episodes=1, max_steps=20)
            bench.actor.run(session, bench.done.append, say=say)
            assert store.verify() == [] and list(store.path.glob("journal-*")) == []
            cut, whole = (store.read(c) for c in store.commits())
    sys.setswitchinterval(interval_s)
    assert cut.meta.outcome is Outcome.ABORTED and len(cut) >= 3 and cut.truncated[-1]
    assert words in str(cut.meta.notes["fault"])
    assert whole.meta.outcome is Outcome.TIMEOUT and len(whole) == 20 and "fault" not in whole.meta.notes
    (reason,) = [text for text in said if "holding until the arm answers again" in text]
    assert len(reason) < 300
    np.testing.assert_allclose(held[1][:5], held[0][:5], atol=0.1)  # it holds: nothing falls, nothing runs on
    world.close()


class BlackFrames:
    """Cameras that see nothing."""

    def read(self, name: str) -> tuple[np.ndarray, float]:
        return np.zeros((12, 16, 3), np.uint8), 0.0
