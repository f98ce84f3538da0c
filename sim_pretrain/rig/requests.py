"""What may be asked of a running rig: look, put the cube back, take the leader by the hand, press, break things."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilserl.robot.kinematics import JOINTS
from sim_pretrain.rig.bridge import Shutter
from sim_pretrain.rig.bus_process import BusProcess
from sim_pretrain.rig.leader import EmulatedLeader
from sim_pretrain.rig.people import Judge
from teleop.virtual_pad import pad_event

if TYPE_CHECKING:
    from sim_pretrain.task.tasks import SimTask
    from sim_pretrain.world.physics import World

_FAULTS = "silence, corrupt (count), dead_motor (id or motor), unplug, freeze_camera (camera), heal"


@dataclass(frozen=True)
class Table:
    """Everything on the table that a request can mean; `obey` answers it."""

    world: World
    task: SimTask
    judge: Judge
    buses: Mapping[str, BusProcess]  # follower and, where there is one, leader
    shutters: Mapping[str, Shutter]
    leader: EmulatedLeader | None
    pad: Path | None  # the virtual gamepad's events
    stop: Callable[[], None]

    def obey(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what `op` says and return the answer; ValueError says what is accepted."""
        match request.pop("op", None):
            case "truth":
                truth, task = self.world.truth(), self.task
                verdict = {"grasped": truth.grasped, "success": task.reached(truth), "lost": task.lost(truth)}
                return {**asdict(truth), **verdict, "time_s": self.world.time_s}
            case "place":
                pose = [float(request[key]) for key in ("x_m", "y_m", "yaw_rad")]
                if not all(map(math.isfinite, pose)):
                    raise ValueError(f"accepted are finite x_m, y_m, yaw_rad; found {pose}")
                self.world.place_cube(*pose)
            case "begin":
                self.judge.begin(str(request["tag"]), self.world.truth())
            case "end":
                return self.judge.end(str(request["tag"]), self.world.truth())
            case "leader":
                return self._leader().truth()
            case "hand":
                if request.pop("let_go", False):
                    self._leader().let_go()
                else:
                    seconds = float(request.pop("seconds", 0.0))
                    self._leader().move_hand({joint: float(angle) for joint, angle in request.items()}, seconds)
            case "pad":
                if self.pad is None:
                    raise ValueError("this rig has no gamepad; start it with --gamepad")
                with self.pad.open("a") as file:
                    file.write(json.dumps(pad_event(**request)) + "\n")
            case "fault":
                self._break(request)
            case "stop":
                self.stop()
            case other:
                ops = "truth, place, begin, end, leader, hand, pad, fault, stop"
                raise ValueError(f"op is {other!r}; accepted are {ops}")
        return {}

    def _leader(self) -> EmulatedLeader:
        if self.leader is None:
            raise ValueError("this rig has no leader; start it with --leader")
        return self.leader

    def _break(self, request: dict[str, Any]) -> None:
        name = request.get("bus", "follower")
        if name not in self.buses:
            raise ValueError(f"bus is {name!r}; accepted are {sorted(self.buses)}")
        bus = self.buses[name]
        match request.get("kind"):
            case "silence":
                bus.silence()
            case "corrupt":
                bus.corrupt(int(request.get("count", 1)))
            case "dead_motor":
                motor = request.get("motor")
                bus.kill(JOINTS.index(motor) + 1 if motor else int(request["id"]))
            case "unplug":
                bus.unplug()
            case "freeze_camera":
                camera = str(request.get("camera"))
                if camera not in self.shutters:
                    raise ValueError(f"camera is {camera!r}; accepted are {sorted(self.shutters)}")
                self.shutters[camera].frozen = True
            case "heal":
                for bus in self.buses.values():
                    bus.heal()
                for shutter in self.shutters.values():
                    shutter.frozen = False
            case other:
                raise ValueError(f"kind is {other!r}; accepted are {_FAULTS}")
