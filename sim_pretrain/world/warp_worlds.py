"""Many tables stepped together by mujoco-warp: what `World` is for one, without its cameras. Needs the extra `gpu`.

A table is set up by a `World` on the CPU and copied here. From then on its servos and encoders, with play, offsets and
delays, are `World`'s over arrays, and a whole control period is one upload, one launch of the physics and one download.

What is not as in `World`: the numbers are float32. On a GPU the order of contacts is not fixed, so equal seeds give
equal starts and nearly equal episodes. Between boxes MuJoCo's own contacts are asked for ("native" convex collision
finds others). And the disc that is the bowl's floor is a square box around it, because mujoco-warp finds only one
contact between a disc and a box, on which a cube rocks for ever.
"""

from __future__ import annotations

import copy
import math

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp

from data.errors import UserError
from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD, JOINTS
from sim_pretrain.world.batch_kinematics import ee_positions
from sim_pretrain.world.physics import World
from sim_pretrain.world.truths import Truths

STATE = ("qpos", "qvel", "qacc_warmstart", "mocap_pos", "mocap_quat")  # what a table is, of mujoco's data
TABLE = (  # ... and of its model: what `live.write_profile` changes and physics reads
    "actuator_biasprm", "actuator_forcerange", "actuator_gainprm", "body_inertia", "body_invweight0", "body_mass",
    "body_subtreemass", "dof_invweight0", "geom_aabb", "geom_friction", "geom_rbound", "geom_size",
)  # fmt: skip
CONTACTS, CONSTRAINTS = 32, 128  # room for each table; 9 contacts, which are 48 constraints, were the most seen


class WarpWorlds:
    """N tables, numbered from 0. Angles and goals are those of the encoders, as everywhere."""

    def __init__(self, world: World, count: int, *, period_s: float, goals: int, device: str) -> None:
        """Allocate tables that are copies of `world`.

        Args:
            world: a table of the right task; it is not kept.
            count: N.
            period_s: length of a control period.
            goals: how many goals K a control period has, at equal distances, the first at its beginning.
            device: "cuda" or "cpu", as Warp names them.

        Raises:
            UserError: the time between two goals is not a whole number of physics steps.
        """
        steps = period_s / goals / world.model.opt.timestep
        if abs(steps - round(steps)) > 1e-6:
            raise UserError(
                f"a goal every {1e3 * period_s / goals:.6g} ms is not a whole number of physics steps of "
                f"{1e3 * world.model.opt.timestep:.6g} ms; choose another rate_hz or inner_steps"
            )
        self._steps, self._goals, self._between_s = round(steps), goals, period_s / goals
        self._timestep_s = float(world.model.opt.timestep)
        self._device, self._graph = wp.get_device(device), None  # the graph: a physics step as a GPU has recorded it
        model = copy.copy(world.model)
        self._discs = model.geom_type == mujoco.mjtGeom.mjGEOM_CYLINDER
        model.geom_type[self._discs] = mujoco.mjtGeom.mjGEOM_BOX
        self._arm = np.array([model.joint(name).qposadr[0] for name in JOINTS])
        self._cube_q, self._cube_v = int(model.joint("cube").qposadr[0]), int(model.joint("cube").dofadr[0])
        self._cube, self._pads = model.geom("cube").id, [model.geom(f"{side}_pad").id for side in ("static", "moving")]
        with wp.ScopedDevice(self._device):
            self._model = mjw.put_model(model)
            self._model.opt.disableflags |= mjw.DisableBit.NATIVECCD | mjw.DisableBit.SENSOR
            self._data = mjw.make_data(model, nworld=count, nconmax=CONTACTS, njmax=CONSTRAINTS)
            self._table = {name: np.repeat(getattr(self._model, name).numpy(), count, 0) for name in TABLE}
            for name, rows in self._table.items():
                setattr(self._model, name, wp.array(rows, dtype=getattr(self._model, name).dtype))
            self._ctrl = wp.zeros((goals * self._steps, count, len(JOINTS)), dtype=float)
            self._noted = wp.zeros((goals, count, model.nq), dtype=float)
            if self._device.is_cuda:
                with wp.ScopedCapture() as capture:
                    mjw.step(self._model, self._data)
                self._graph = capture.graph
        self._state = {name: getattr(self._data, name).numpy().copy() for name in STATE}
        # What was sent and seen at the goals of the last periods, oldest first.
        nothing: np.ndarray = np.zeros((goals + 1, count, len(JOINTS)))
        self._sent, self._slack, self._seen = nothing, nothing.copy(), nothing.copy()
        self._offset_rad, self._play_rad = np.zeros((count, len(JOINTS))), np.zeros((count, 1))
        self._action_lag_s, self._seen_lag_s, self._cube_half_m = np.zeros(count), np.zeros(count), np.zeros(count)

    def put(self, index: int, world: World) -> None:
        """Make a table the one that `world` is now, at the beginning of an episode; `upload` makes it so."""
        for rows, source in ((self._state, world.data), (self._table, world.model)):
            for name, row in rows.items():
                row[index] = np.reshape(getattr(source, name), row.shape[1:])
        sizes, profile = self._table["geom_size"][index], world.profile
        sizes[self._discs] = sizes[self._discs][:, [0, 0, 1]]  # radius and half height become half sides
        self._offset_rad[index] = np.radians(profile.joint_offset_deg)
        self._play_rad[index] = np.radians(profile.backlash_deg)
        self._action_lag_s[index], self._seen_lag_s[index] = profile.action_latency_s, profile.observation_latency_s
        self._cube_half_m[index] = profile.cube_half_m
        self._remember(max(profile.action_latency_s, profile.observation_latency_s))
        self._sent[:, index], self._slack[:, index] = world.data.ctrl, 0.0
        self._seen[:, index] = world.data.qpos[self._arm]

    def _remember(self, lag_s: float) -> None:
        """Keep at least `lag_s` of the past."""
        more = math.ceil(lag_s / self._between_s) + self._goals + 1 - len(self._sent)
        if more > 0:
            pasts = self._sent, self._slack, self._seen
            self._sent, self._slack, self._seen = (np.pad(p, ((more, 0), (0, 0), (0, 0)), "edge") for p in pasts)

    def upload(self) -> None:
        """Bring what was `put` to the device."""
        for rows, there in ((self._state, self._data), (self._table, self._model)):
            for name, values in rows.items():
                getattr(there, name).assign(values)

    def joint_positions(self) -> np.ndarray:
        """Return [N, 6] joint angles as the encoders read them [rad], each profile's observation latency ago."""
        moment = np.maximum(len(self._seen) - 1 - self._seen_lag_s / self._between_s, 0.0)
        tables, first = np.arange(len(moment)), np.floor(moment).astype(int)
        second = np.minimum(first + 1, len(self._seen) - 1)
        before, after = self._seen[first, tables], self._seen[second, tables]
        return before + (moment - first)[:, None] * (after - before) + self._offset_rad

    def drive(self, goals_rad: np.ndarray) -> None:
        """Run one control period: send goals [K, N, 6] in encoder angles [rad], and step the physics."""
        count = self._goals
        for past in (self._sent, self._slack, self._seen):
            past[:-count] = past[count:]
        for k, asked in enumerate(goals_rad, len(self._sent) - count):
            goal = np.clip(asked - self._offset_rad, JOINT_LOW_RAD, JOINT_HIGH_RAD)
            self._sent[k] = np.clip(self._sent[k - 1], goal - self._play_rad / 2, goal + self._play_rad / 2)
            self._slack[k] = goal - self._sent[k]
        # A goal is heeded from the first physics step on that begins when its latency has passed.
        delay = np.ceil(self._action_lag_s / self._timestep_s - 1e-6)
        now = np.arange(count * self._steps)[:, None]
        self._ctrl.assign(self._at(self._sent, np.floor((now - delay) / self._steps)))
        self._advance()
        for name in ("qvel", "qacc_warmstart"):
            self._state[name][:] = getattr(self._data, name).numpy()
        noted = self._noted.numpy()
        self._state["qpos"][:] = noted[-1]
        ends = np.arange(1, count + 1)[:, None] - self._action_lag_s / self._between_s
        self._seen[-count:] = noted[:, :, self._arm] + self._at(self._slack, np.floor(ends - 1e-6))

    def _at(self, past: np.ndarray, sent: np.ndarray) -> np.ndarray:
        """Return rows [M, N, 6] of what was sent, by number [M, N]; 0 is the first goal of this control period."""
        index = np.maximum(len(past) - self._goals + sent.astype(int), 0)
        return past[index, np.arange(past.shape[1])]

    def _advance(self) -> None:
        """Step the physics for one control period, and note where the joints are when a goal is due."""
        with wp.ScopedDevice(self._device):
            for k in range(self._goals):
                for step in range(k * self._steps, (k + 1) * self._steps):
                    wp.copy(self._data.ctrl, self._ctrl[step])
                    if self._graph is not None:
                        wp.capture_launch(self._graph)
                    else:
                        mjw.step(self._model, self._data)
                wp.copy(self._noted[k], self._data.qpos)
            mjw.kinematics(self._model, self._data)  # a physics step leaves geometry and contacts of its beginning
            mjw.collision(self._model, self._data)

    def truths(self) -> Truths:
        """Return what a person standing there would see, after a control period."""
        q, speed = self._state["qpos"].astype(float), self._state["qvel"][:, self._cube_v : self._cube_v + 3]
        w, x, y, z = q[:, self._cube_q + 3 : self._cube_q + 7].T
        static_touch, moving_touch = self._touches()
        places, turns = (a.numpy().astype(float) for a in (self._data.geom_xpos, self._data.geom_xmat))
        return Truths(
            cube_m=q[:, self._cube_q : self._cube_q + 3],
            cube_yaw_rad=np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)),
            cube_tilt_rad=np.arccos(np.minimum(1.0, np.abs(turns[:, self._cube, 2]).max(1))),
            cube_speed_m_s=np.linalg.norm(speed, axis=1),
            cube_half_m=self._cube_half_m.copy(),
            ee_m=ee_positions(q[:, self._arm]),
            gripper_rad=q[:, self._arm[5]],
            static_pad_m=places[:, self._pads[0]],
            moving_pad_m=places[:, self._pads[1]],
            static_touch=static_touch,
            moving_touch=moving_touch,
            target_m=self._state["mocap_pos"][:, 0].astype(float) if self._state["mocap_pos"].size else None,
        )

    def _touches(self) -> list[np.ndarray]:
        """Return [N] for each pad, static and moving, whether it touches the cube."""
        found = min(int(self._data.nacon.numpy()[0]), self._data.naconmax)
        pairs, tables = (a.numpy()[:found] for a in (self._data.contact.geom, self._data.contact.worldid))
        on_cube, every = (pairs == self._cube).any(1), np.arange(self._data.nworld)
        return [np.isin(every, tables[on_cube & (pairs == pad).any(1)]) for pad in self._pads]
