"""Networks and algorithms. Nothing here knows a robot, a file or a process."""
