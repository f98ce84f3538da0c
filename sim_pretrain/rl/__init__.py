"""Reinforcement learning in the simulation, and the baselines it is held against."""
