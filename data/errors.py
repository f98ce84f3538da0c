"""The one kind of error that is meant for a person rather than for a programmer."""

from pathlib import Path


class UserError(Exception):
    """Something that the person at the keyboard can put right; shown without a traceback.

    The message says what was found, what is accepted, and the next command to run.
    """


class DiskRefused(UserError, OSError):
    """The disk is full, read-only or broken. What was committed before stays readable."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"cannot write to {path}: {error.strerror or error}. Every committed episode is intact, and the journal "
            "of the episode in progress holds all steps up to here.\nMake room, or name a folder that you may write "
            "to, and run the same command again: it goes on from there."
        )
