"""Simulation: the MuJoCo world, the expert, pretraining, the emulated rig and the demo."""
