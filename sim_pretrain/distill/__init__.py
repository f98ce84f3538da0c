"""From a teacher that sees everything to a policy that sees the wrist camera."""
