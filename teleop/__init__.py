"""The person: input devices, who is in control, and the scripted stand-in."""
