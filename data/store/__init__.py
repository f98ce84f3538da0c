"""The durable store of episodes, and everything that is done to it."""
