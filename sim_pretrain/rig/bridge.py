"""Where the simulated world meets the rig's servo bus and cameras."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from sim_pretrain.rig.bus_process import PlantMemory
from sim_pretrain.rig.frame_file import FrameFile

if TYPE_CHECKING:
    from sim_pretrain.world.physics import World


class WorldPlant:
    """Carries goals and torque from the bus to a world, and joint angles back.

    What the bus writes reaches the world in its order, after the action latency.
    """

    def __init__(self, world: World, memory: PlantMemory):
        """Switch the servos of `world` off, as they are when power comes on."""
        self._world, self._memory = world, memory
        memory.positions[:] = memory.goals[:] = world.joint_positions()
        self._goals_rad, self._torque = memory.goals.copy(), memory.torque.copy()
        self._switching: deque[tuple[float, np.ndarray]] = deque()  # torque on its way to the servos
        world.set_torque(self._torque)

    def advance(self, dt_s: float) -> None:
        """Hand over what the bus wrote, step the world and show the bus the new angles."""
        torque = self._memory.torque.copy()  # before the goals, see `PlantMemory`
        goals_rad = self._memory.goals.copy()
        if not np.array_equal(goals_rad, self._goals_rad):
            self._world.set_goals(goals_rad)
            self._goals_rad = goals_rad
        if not np.array_equal(torque, self._torque):
            self._switching.append((self._world.time_s + self._world.profile.action_latency_s, torque))
            self._torque = torque
        while self._switching and self._switching[0][0] <= self._world.time_s:
            self._world.set_torque(self._switching.popleft()[1])
        self._world.advance(dt_s)
        self._memory.positions[:] = self._world.joint_positions()


class Shutter:
    """Takes a camera's frames at its rate and publishes them after its latency, both in simulated time."""

    def __init__(self, world: World, camera: str, file: FrameFile):
        """Film `camera` into `file`."""
        self._world, self._camera, self._file = world, camera, file
        self._due_s = world.time_s
        self._developing: deque[tuple[float, np.ndarray]] = deque()
        self.frozen = False
        self.published = 0

    def render_if_due(self) -> bool:
        """Take a frame if it is time, and return whether; a frame that was missed is not taken later."""
        now_s, profile = self._world.time_s, self._world.profile
        if now_s < self._due_s:
            return False
        self._developing.append((now_s + profile.camera_latency_s, self._world.render(self._camera)))
        self._due_s = max(self._due_s + 1 / profile.camera_fps, now_s)
        return True

    def publish(self) -> None:
        """Write out the frames whose time has come."""
        while self._developing and self._developing[0][0] <= self._world.time_s:
            frame = self._developing.popleft()[1]
            if not self.frozen:
                self._file.write(frame)
                self.published += 1
