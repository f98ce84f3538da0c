"""The simulated table: its scene, its physics, its cameras, and how it may vary."""
