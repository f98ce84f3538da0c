"""The one kind of error that is meant for a person rather than for a programmer."""


class UserError(Exception):
    """Something that the person at the keyboard can put right; shown without a traceback.

    The message says what was found, what is accepted, and the next command to run.
    """
