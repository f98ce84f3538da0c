"""The physical world in MuJoCo: arm, cube and cameras. It knows servos and pixels, not tasks or policies."""

from __future__ import annotations

from collections import deque

import numpy as np

from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD, JOINTS, ee_position
from sim_pretrain.world.exposure import Exposure
from sim_pretrain.world.live import require_writable, write_profile, write_table
from sim_pretrain.world.opengl import make_renderer, mujoco
from sim_pretrain.world.past import Past
from sim_pretrain.world.profile import WorldProfile
from sim_pretrain.world.scene import UNSEEN_GROUP, Prop, build_xml
from sim_pretrain.world.truth import Truth

PINCH_M = 0.0006  # how far the pads of an injected grasp sink into the cube
SLOW_FLAGS = ("mjRND_SHADOW", "mjRND_REFLECTION", "mjRND_SKYBOX", "mjRND_FOG", "mjRND_HAZE")


class World:
    """One table. Not thread-safe: the thread that makes it must use it (its renderer is bound to that thread)."""

    camera_names = ("wrist", "front")

    def __init__(self, profile: WorldProfile | None = None, seed: int = 0, prop: Prop | None = None) -> None:
        self.profile = profile or WorldProfile()
        xml, files = build_xml(self.profile, prop)
        self.model = mujoco.MjModel.from_xml_string(xml, files)
        self.data = mujoco.MjData(self.model)
        self._seed = seed
        self._arm_q = np.array([self.model.joint(name).qposadr[0] for name in JOINTS])
        self._cube_q = int(self.model.joint("cube").qposadr[0])
        self._cube_v = int(self.model.joint("cube").dofadr[0])
        self._cube_geom = self.model.geom("cube").id
        self._static_pad, self._moving_pad = (self.model.geom(f"{which}_pad").id for which in ("static", "moving"))
        self._has_target = prop is not None
        self._servos_on: np.ndarray = np.ones(6)
        self._slack_rad: np.ndarray = np.zeros(6)  # by how much the servos are ahead of their joints
        self._scratch = mujoco.MjData(self.model)  # a moment that has passed
        self._exposure = Exposure(self.profile)
        self._adopt(self.profile)
        self._pending: deque[tuple[float, np.ndarray]] = deque()  # goals on their way to the servos
        self._renderer: mujoco.Renderer | None = None
        self._view, self._near_view = mujoco.MjvOption(), mujoco.MjvOption()
        self._near_view.geomgroup[UNSEEN_GROUP] = False  # half the triangles, and none of them in the picture
        self._gaps = self._measure_gaps()
        self.set_joints(np.array([0.0, -1.0, 0.8, 1.4, np.pi / 2, 0.5]))

    def apply(self, profile: WorldProfile) -> None:
        """Become the world of another profile, in a fraction of a millisecond: nothing is compiled.

        Arm and cube stay where they are, so place them anew.

        Raises:
            UserError: the profile has another image size or rate.
        """
        require_writable(self.profile, profile)
        tables = [(p.table_rgb, p.table_rgb2) for p in (self.profile, profile)]
        write_profile(self.model, self._scratch, profile)
        if tables[0] != tables[1]:
            texture = write_table(self.model, profile)
            if self._renderer is not None:
                _upload(self.model, self._renderer, texture)
        self._adopt(profile)
        self.set_torque(self._servos_on)
        self._pending.clear()
        self._injected()

    def _adopt(self, profile: WorldProfile) -> None:
        """Read what this class does itself from a profile that is already in the model."""
        self.profile = profile
        self._gain = self.model.actuator_gainprm[:, 0].copy()
        self._bias = self.model.actuator_biasprm.copy()
        self._offset_rad = np.radians(profile.joint_offset_deg)
        self._play_rad = np.radians(profile.backlash_deg)
        self._slack_rad[:] = 0.0
        self._exposure.adopt(profile)
        self._past = Past(max(profile.camera_latency_s, profile.observation_latency_s))

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
            self._heed(goal)
        self._step_until(end_s)
        self._note()

    def _step_until(self, time_s: float) -> None:
        steps = int(np.ceil((time_s - self.data.time) / self.model.opt.timestep - 1e-6))
        if steps > 0:
            mujoco.mj_step(self.model, self.data, nstep=steps)

    def joint_positions(self) -> np.ndarray:
        """Return [6] joint angles as the encoders read them [rad], a profile's observation latency ago."""
        angles, slack = self.data.qpos, self._slack_rad
        if self.profile.observation_latency_s > 0.0:
            angles, slack = np.split(self._past.at(self.data.time - self.profile.observation_latency_s), [-6])
        return angles[self._arm_q] + self._offset_rad + slack

    def set_goals(self, goals_rad: np.ndarray) -> None:
        """Give every servo its goal [6] in encoder angles [rad]; it acts after the action latency."""
        goal = np.clip(np.asarray(goals_rad) - self._offset_rad, JOINT_LOW_RAD, JOINT_HIGH_RAD)
        if self.profile.action_latency_s == 0.0:
            self._heed(goal)
        else:
            self._pending.append((self.data.time + self.profile.action_latency_s, goal))

    def _heed(self, goal_rad: np.ndarray) -> None:
        """Servos turn towards a goal; each joint follows once the play behind its servo is used up.

        This is the play operator with the servo's goal for the servo's angle: a joint stays at the edge of the gap
        where it was left, whatever load is on it. A real gap is crossed under gravity, too.
        """
        self.data.ctrl[:] = np.clip(self.data.ctrl, goal_rad - self._play_rad / 2, goal_rad + self._play_rad / 2)
        self._slack_rad = goal_rad - self.data.ctrl

    def set_torque(self, on: np.ndarray) -> None:
        """Switch each of the six servos on or off; off is limp."""
        self._servos_on = on = np.asarray(on, float)
        self.model.actuator_gainprm[:, 0] = self._gain * on
        self.model.actuator_biasprm[:] = self._bias * on[:, None]

    def render(self, camera: str, age_s: float = 0.0) -> np.ndarray:
        """Return a camera's native frame of `age_s` ago, uint8 [H, W, 3] RGB, as the profile's camera finishes it.

        No older than the profile's latencies; at the start of an episode, no older than that.
        """
        if self._renderer is None:
            self._renderer = make_renderer(self.model, self.profile.native_width_px, self.profile.native_height_px)
        near = camera == "wrist" and self.profile.wrist_mount == "-y"
        self._renderer.update_scene(self._seen(age_s), camera, self._near_view if near else self._view)
        for flag in SLOW_FLAGS:
            self._renderer.scene.flags[getattr(mujoco.mjtRndFlag, flag)] = False
        # The noise is that of the camera and the moment: whoever else looks, and how often, changes nothing.
        draw = hash((self._seed, self.camera_names.index(camera), self.time_s))
        return self._exposure.develop(self._renderer.render(), draw)

    def _seen(self, age_s: float) -> mujoco.MjData:
        """Return a state to draw, with its geometry: the present one, or one that has passed."""
        seen = self.data
        if age_s > 0.0:
            seen = self._scratch
            seen.qpos[:] = self._past.at(self.data.time - age_s)[: self.model.nq]
            seen.mocap_pos[:], seen.mocap_quat[:] = self.data.mocap_pos, self.data.mocap_quat
        mujoco.mj_kinematics(self.model, seen)  # a physics step leaves the geometry of its beginning
        mujoco.mj_camlight(self.model, seen)
        return seen

    def _note(self) -> None:
        if self._past.span_s > 0.0:
            self._past.note(self.data.time, np.concatenate((self.data.qpos, self._slack_rad)))

    def _injected(self) -> None:
        """Bring everything up to date after a hand changed the state."""
        mujoco.mj_forward(self.model, self.data)
        self._past.forget()
        self._note()

    def reset(self, seed: int | None = None) -> None:
        """Forget everything that has happened; a seed is that of the camera noise from now on."""
        mujoco.mj_resetData(self.model, self.data)
        self._pending.clear()
        self._slack_rad[:] = 0.0
        self._injected()
        if seed is not None:
            self._seed = seed

    def place_cube(self, x_m: float, y_m: float, yaw_rad: float) -> None:
        """Put the cube on the table, at rest."""
        half = self.profile.cube_half_m
        self.data.qpos[self._cube_q : self._cube_q + 7] = (
            x_m, y_m, half, np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2),
        )  # fmt: skip
        self.data.qvel[self._cube_v : self._cube_v + 6] = 0.0
        self._injected()

    def set_joints(self, joints_rad: np.ndarray) -> None:
        """Inject a pose [6] in encoder angles at rest, goals included: a simulated arm's instant reset."""
        angles = np.asarray(joints_rad) - self._offset_rad
        self.data.qpos[self._arm_q] = angles
        self.data.qvel[:] = 0.0
        self.data.ctrl[:] = np.clip(angles, JOINT_LOW_RAD, JOINT_HIGH_RAD)
        self._pending.clear()
        self._slack_rad[:] = 0.0
        self._injected()

    def put_in_hand(self, joints_rad: np.ndarray) -> None:
        """Inject the pose `joints_rad` [6] with the cube pinched between the pads; the jaw follows the cube's size."""
        half, angles = float(self.model.geom_size[self._cube_geom, 0]), np.array(joints_rad, float)
        angles[5] = np.interp(2 * half - PINCH_M, *self._gaps) + self._offset_rad[5]
        self.set_joints(angles)
        pad = self._static_pad
        turn = self.data.geom_xmat[pad].reshape(3, 3)
        surface_m = self.data.geom_xpos[pad] + turn[:, 0] * self.model.geom_size[pad, 0]
        address = self._cube_q
        self.data.qpos[address : address + 3] = surface_m + turn[:, 0] * (half - PINCH_M / 2)
        mujoco.mju_mat2Quat(self.data.qpos[address + 3 : address + 7], self.data.geom_xmat[pad])
        self.data.ctrl[5] = JOINT_LOW_RAD[5]
        self._injected()

    def place_target(self, x_m: float, y_m: float, yaw_rad: float = 0.0) -> None:
        """Put the bowl or the paper somewhere."""
        self.data.mocap_pos[0, :2] = x_m, y_m
        self.data.mocap_quat[0] = np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2)
        self._injected()

    def truth(self) -> Truth:
        """Return what a person standing there would see."""
        data, cube = self.data, self._cube_geom
        mujoco.mj_kinematics(self.model, data)  # a physics step leaves geometry and contacts of its beginning
        mujoco.mj_collision(self.model, data)
        joints, pairs = data.qpos[self._arm_q], data.contact.geom
        touching = set(pairs[(pairs == cube).any(1)].ravel().tolist())
        turn = data.geom_xmat[cube].reshape(3, 3)
        w, x, y, z = data.qpos[self._cube_q + 3 : self._cube_q + 7]
        return Truth(
            cube_m=_vec3(data.qpos[self._cube_q : self._cube_q + 3]),
            cube_yaw_rad=float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))),
            cube_tilt_rad=float(np.arccos(min(1.0, np.abs(turn[2]).max()))),
            cube_speed_m_s=float(np.linalg.norm(data.qvel[self._cube_v : self._cube_v + 3])),
            cube_half_m=float(self.model.geom_size[cube, 0]),
            ee_m=_vec3(ee_position(joints)),
            gripper_rad=float(joints[5]),
            static_pad_m=_vec3(data.geom_xpos[self._static_pad]),
            moving_pad_m=_vec3(data.geom_xpos[self._moving_pad]),
            static_touch=self._static_pad in touching,
            moving_touch=self._moving_pad in touching,
            target_m=_vec3(data.mocap_pos[0]) if self._has_target else None,
        )

    def _measure_gaps(self) -> tuple[np.ndarray, np.ndarray]:
        """Return gaps between the pads [m], ascending, and the gripper angles [rad] that make them."""
        angles, gaps = np.linspace(JOINT_LOW_RAD[5], 0.8, 32), []
        static, moving = self._static_pad, self._moving_pad
        thick_m = self.model.geom_size[static, 0] + self.model.geom_size[moving, 0]
        for angle in angles:
            self.data.qpos[self._arm_q[5]] = angle
            mujoco.mj_kinematics(self.model, self.data)
            apart_m = self.data.geom_xpos[moving] - self.data.geom_xpos[static]
            gaps.append(float(apart_m @ self.data.geom_xmat[static].reshape(3, 3)[:, 0]) - thick_m)
        return np.array(gaps), angles

    def close(self) -> None:
        """Free the renderer; leaving it to the interpreter's exit prints errors."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _vec3(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z


def _upload(model: mujoco.MjModel, renderer: mujoco.Renderer, texture: int) -> None:
    """Bring a texture that was repainted to the renderer; both are private to it, and it has no other way."""
    renderer._gl_context.make_current()
    mujoco.mjr_uploadTexture(model, renderer._mjr_context, texture)
