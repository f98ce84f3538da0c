"""The physical world in MuJoCo: arm, cube and cameras. It knows servos and pixels, not tasks or policies."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "0")  # one software-rendering thread; more bring nothing at these sizes

import mujoco
import numpy as np

from data.errors import UserError
from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD, JOINTS, ee_position
from sim_pretrain.scene import WorldProfile, build_xml

LIFT_HEIGHT_M = 0.08  # success: the cube's centre is above this while both pads hold it
REACH_LOW_M, REACH_HIGH_M = (0.13, -0.13), (0.33, 0.13)  # a cube outside this rectangle is lost

SLOW_FLAGS = ("mjRND_SHADOW", "mjRND_REFLECTION", "mjRND_SKYBOX", "mjRND_FOG", "mjRND_HAZE")


@dataclass(frozen=True)
class Truth:
    """What only a simulator, or a person's eyes, can know."""

    cube_m: tuple[float, float, float]
    cube_yaw_rad: float
    ee_m: tuple[float, float, float]  # grasp centre, from the true joint angles
    gripper_rad: float
    grasped: bool  # both pads touch the cube
    success: bool  # grasped and higher than LIFT_HEIGHT_M
    lost: bool  # out of reach or off the table


class World:
    """One table. Not thread-safe: the thread that makes it must use it (its renderer is bound to that thread)."""

    camera_names = ("wrist", "front")

    def __init__(self, profile: WorldProfile | None = None, seed: int = 0) -> None:
        self.profile = profile or WorldProfile()
        xml, files = build_xml(self.profile)
        self.model = mujoco.MjModel.from_xml_string(xml, files)
        self.data = mujoco.MjData(self.model)
        self._rng = np.random.default_rng(seed)
        self._arm_q = np.array([self.model.joint(name).qposadr[0] for name in JOINTS])
        self._cube_q = int(self.model.joint("cube").qposadr[0])
        self._cube_v = int(self.model.joint("cube").dofadr[0])
        self._cube_geom = self.model.geom("cube").id
        self._pads = frozenset(self.model.geom(name).id for name in ("static_pad", "moving_pad"))
        self._gain = self.model.actuator_gainprm[:, 0].copy()
        self._bias = self.model.actuator_biasprm.copy()
        self._offset_rad = np.radians(self.profile.joint_offset_deg)
        self._pending: deque[tuple[float, np.ndarray]] = deque()  # goals on their way to the servos
        self._renderer: mujoco.Renderer | None = None
        self.set_joints(np.array([0.0, -1.0, 0.8, 1.4, np.pi / 2, 0.5]))

    @property
    def time_s(self) -> float:
        """Simulated time."""
        return float(self.data.time)

    def advance(self, dt_s: float) -> None:
        """Step physics until `dt_s` more simulated seconds have passed."""
        end_s = self.data.time + dt_s - 1e-9
        while self._pending and self._pending[0][0] <= end_s:
            due_s, goal = self._pending.popleft()
            self._step_until(due_s)
            self.data.ctrl[:] = goal
        self._step_until(end_s)

    def _step_until(self, time_s: float) -> None:
        steps = int(np.ceil((time_s - self.data.time) / self.model.opt.timestep - 1e-6))
        if steps > 0:
            mujoco.mj_step(self.model, self.data, nstep=steps)

    def joint_positions(self) -> np.ndarray:
        """Return [6] joint angles as the encoders read them [rad]."""
        return self.data.qpos[self._arm_q] + self._offset_rad

    def set_goals(self, goals_rad: np.ndarray) -> None:
        """Give every servo its goal [6] in encoder angles [rad]; it acts after the action latency."""
        goal = np.clip(np.asarray(goals_rad) - self._offset_rad, JOINT_LOW_RAD, JOINT_HIGH_RAD)
        if self.profile.action_latency_s == 0.0:
            self.data.ctrl[:] = goal
        else:
            self._pending.append((self.data.time + self.profile.action_latency_s, goal))

    def set_torque(self, on: np.ndarray) -> None:
        """Switch each of the six servos on or off; off is limp."""
        on = np.asarray(on, float)
        self.model.actuator_gainprm[:, 0] = self._gain * on
        self.model.actuator_biasprm[:] = self._bias * on[:, None]

    def render(self, camera: str) -> np.ndarray:
        """Return the native frame of a camera, uint8 [H, W, 3] RGB, with the profile's brightness and noise."""
        if self._renderer is None:
            self._renderer = _make_renderer(self.model, self.profile)
        self._renderer.update_scene(self.data, camera)
        for flag in SLOW_FLAGS:
            self._renderer.scene.flags[getattr(mujoco.mjtRndFlag, flag)] = False
        frame = self._renderer.render()
        if self.profile.brightness != 1.0 or self.profile.image_noise:
            noisy = frame * np.float32(self.profile.brightness)
            if self.profile.image_noise:
                noisy += self._rng.standard_normal(frame.shape, np.float32) * np.float32(self.profile.image_noise)
            frame = np.clip(noisy, 0, 255).astype(np.uint8)
        return frame

    def place_cube(self, x_m: float, y_m: float, yaw_rad: float) -> None:
        """Put the cube on the table, at rest."""
        half = self.profile.cube_half_m
        self.data.qpos[self._cube_q : self._cube_q + 7] = (
            x_m, y_m, half, np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2),
        )  # fmt: skip
        self.data.qvel[self._cube_v : self._cube_v + 6] = 0.0
        mujoco.mj_forward(self.model, self.data)

    def set_joints(self, joints_rad: np.ndarray) -> None:
        """Inject a pose [6] in encoder angles at rest, goals included: a simulated arm's instant reset."""
        angles = np.asarray(joints_rad) - self._offset_rad
        self.data.qpos[self._arm_q] = angles
        self.data.qvel[:] = 0.0
        self.data.ctrl[:] = np.clip(angles, JOINT_LOW_RAD, JOINT_HIGH_RAD)
        self._pending.clear()
        mujoco.mj_forward(self.model, self.data)

    def truth(self) -> Truth:
        """Return what a person standing there would see."""
        cube = self.data.qpos[self._cube_q : self._cube_q + 3]
        w, x, y, z = self.data.qpos[self._cube_q + 3 : self._cube_q + 7]
        true_joints = self.data.qpos[self._arm_q]
        touching = {g for c in self.data.contact for g in c.geom if self._cube_geom in c.geom and c.dist < 1e-3}
        grasped = self._pads <= touching
        inside = all(lo <= c <= hi for lo, c, hi in zip(REACH_LOW_M, cube[:2], REACH_HIGH_M, strict=True))
        return Truth(
            cube_m=(float(cube[0]), float(cube[1]), float(cube[2])),
            cube_yaw_rad=float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))),
            ee_m=tuple(float(v) for v in ee_position(true_joints)),  # type: ignore[arg-type]
            gripper_rad=float(true_joints[5]),
            grasped=grasped,
            success=bool(grasped and cube[2] > LIFT_HEIGHT_M),
            lost=bool(not grasped and not (inside and cube[2] > 0.0)),
        )

    def close(self) -> None:
        """Free the renderer; leaving it to the interpreter's exit prints errors."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _make_renderer(model: mujoco.MjModel, profile: WorldProfile) -> mujoco.Renderer:
    try:
        return mujoco.Renderer(model, profile.native_height_px, profile.native_width_px)
    except Exception as error:
        raise UserError(
            f"MuJoCo found no OpenGL to render cameras with (MUJOCO_GL={os.environ['MUJOCO_GL']}: {error}). "
            "On Debian or Ubuntu: apt-get install libegl1 libgl1-mesa-dri"
        ) from error
