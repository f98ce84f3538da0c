"""Simulation: the MuJoCo world, its tasks, pretraining, the emulated rig and the demo.

`world` (the table) ← `task` (what is to be done on it) ← `episodes` ← `distill`, `rl` ← `transfer`; beside them `rig`
(the emulated arm) and `camera_fit`. What lies here are the commands `pretrain` and `demo`.
"""
