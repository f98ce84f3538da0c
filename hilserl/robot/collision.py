"""How far an SO-101 is from the table and from itself, in MuJoCo: no physics, no pictures."""

from __future__ import annotations

import numpy as np

from hilserl.robot.kinematics import JOINTS, LINKS
from hilserl.robot.shape import PADS, TOUCH, neighbours

FAR_M = 0.15  # distances are not measured beyond this


class ArmShape:
    """The arm over a flat table in its base plane; what lies on the table is not known."""

    def __init__(self) -> None:
        """Compile the model: some 10 ms, and the import of MuJoCo."""
        import mujoco  # slow to import, and only a planned motion needs it

        self._model = mujoco.MjModel.from_xml_string(_xml())
        self._data = mujoco.MjData(self._model)
        self._place, self._collide = mujoco.mj_kinematics, mujoco.mj_collision
        self._joint_q = [int(self._model.joint(name).qposadr[0]) for name in JOINTS]
        self._body = self._model.geom_bodyid

    def clearance_m(self, joints_rad: np.ndarray) -> float:
        """Return the smallest distance [m] of a pose [6] from table and self; negative: it is in them.

        At most FAR_M. Links that are next to each other are not compared.
        """
        return min((distance_m for distance_m, _ in self._near(joints_rad)), default=FAR_M)

    def nearest(self, joints_rad: np.ndarray) -> str:
        """Return in words what is nearest to what in a pose [6]: "the gripper and the table"."""
        _, bodies = min(self._near(joints_rad), default=(FAR_M, ()))
        names = (self._model.body(body).name.replace("_", " ") for body in bodies)
        return " and ".join("the table" if name == "world" else f"the {name}" for name in names)

    def _near(self, joints_rad: np.ndarray) -> list[tuple[float, tuple[int, ...]]]:
        self._data.qpos[self._joint_q] = joints_rad
        self._place(self._model, self._data)
        self._collide(self._model, self._data)
        contact = self._data.contact
        bodies = self._body[contact.geom[:, ::-1]].tolist()
        return [(float(d), tuple(b)) for d, b in zip(contact.dist, bodies, strict=True)]


def _xml() -> str:
    return f"""
<mujoco model="so101_shape">
  <compiler angle="radian"/>
  <default>
    <geom margin="{FAR_M / 2}"/>
    <default class="touch"/><default class="pad"><geom type="box"/></default>
  </default>
  <worldbody>
    <geom name="table" type="plane" size="1 1 0.01"/>
    <body name="base">{TOUCH["base"]}{_links(0)}</body>
  </worldbody>
  <contact>{"".join(f'<exclude body1="{a}" body2="{b}"/>' for a, b in (("world", "base"), *neighbours()))}</contact>
</mujoco>"""


def _links(index: int) -> str:
    if index == len(LINKS):
        return ""
    link = LINKS[index]
    position, quaternion = (" ".join(f"{v:.9g}" for v in values) for values in (link.position_m, link.quaternion))
    return f"""<body name="{link.body}" pos="{position}" quat="{quaternion}"><joint name="{link.joint}"/>
      <inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>
      {TOUCH.get(link.body, "")}{PADS.get(link.body, "")}{_links(index + 1)}</body>"""
