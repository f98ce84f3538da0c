"""What of the SO-101 can touch: coarse boxes and capsules on the links of `kinematics`, as MJCF.

`sim_pretrain/world/scene.py` builds the simulated arm from the same shapes.
"""

from __future__ import annotations

from hilserl.robot.kinematics import LINKS

TOUCH = {  # by body; all but the pads
    "base": '<geom class="touch" type="box" pos="0.01 0 0.035" size="0.045 0.035 0.035"/>',
    "upper_arm": '<geom class="touch" type="capsule" fromto="-0.02 0 0.018 -0.11 0 0.018" size="0.018"/>',
    "lower_arm": '<geom class="touch" type="capsule" fromto="-0.02 0 0.018 -0.12 0 0.018" size="0.016"/>',
    "wrist": '<geom class="touch" type="box" pos="0 -0.03 0.02" size="0.02 0.025 0.02"/>',
    "gripper": '<geom class="touch" type="box" pos="0 0 -0.025" size="0.022 0.02 0.024"/>'
    '<geom class="touch" type="box" pos="-0.0165 0 -0.074" size="0.005 0.010 0.028"/>',
    "moving_jaw": '<geom class="touch" type="box" pos="-0.0035 -0.05 0.019" size="0.005 0.022 0.010"/>',
}

PADS = {  # 3 mm thick
    "gripper": '<geom name="static_pad" class="pad" pos="-0.0095 0 -0.098" size="0.0015 0.006 0.008"/>',
    "moving_jaw": '<geom name="moving_pad" class="pad" pos="-0.0100 -0.0745 0.019" euler="0 0 -0.14" '
    'size="0.0015 0.008 0.006"/>',
}


def neighbours() -> list[tuple[str, str]]:
    """Return the pairs of bodies that touch by construction: each link with its next two."""
    chain = ["base", *(link.body for link in LINKS)]
    return [(a, b) for i, a in enumerate(chain) for b in chain[i + 1 : i + 3]]
