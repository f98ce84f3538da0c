"""Two moments on a table, made up: the cube lies there, or both fingers hold it above the goal of `lift`."""

from dataclasses import replace

from sim_pretrain.world.truth import Truth

LYING = Truth(
    cube_m=(0.23, 0.0, 0.015), cube_yaw_rad=0.0, cube_tilt_rad=0.0, cube_speed_m_s=0.0, cube_half_m=0.015,
    ee_m=(0.2, 0.0, 0.1), gripper_rad=0.5, static_pad_m=(0.2, 0.02, 0.1), moving_pad_m=(0.2, -0.02, 0.1),
    static_touch=False, moving_touch=False, target_m=None,
)  # fmt: skip
HELD = replace(LYING, cube_m=(0.23, 0.0, 0.10), static_touch=True, moving_touch=True)
