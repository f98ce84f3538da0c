"""LeRobot's dataset format, in and out."""
