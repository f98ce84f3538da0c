"""The processes: the actor's ticks, the learner's updates, and the files they talk through."""
