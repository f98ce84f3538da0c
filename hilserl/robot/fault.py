"""What hardware that fails raises."""

from data.errors import UserError


class RobotFault(UserError, RuntimeError):
    """Arm or camera does not do what it should; the message says what was found and what to do. The arm holds."""
