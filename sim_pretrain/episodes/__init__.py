"""Episodes in the simulation: played, collected on all cores, evaluated, filmed."""
