"""The errors that end a command: one message with the next action, one exit status each."""


class HeadraceError(Exception):
    """Something failed while running (exit status 1).

    The message is shown to the user as it is, so it says what happened, where, and what to do
    next. `hint`, when given, is that next action on a line of its own.
    """

    exit_status = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class InputError(HeadraceError):
    """The user's input is wrong (exit status 2): names file, line, field and what was expected."""

    exit_status = 2


class InfeasibleError(HeadraceError):
    """No configuration satisfies the constraints (exit status 3)."""

    exit_status = 3


class GoalMissedError(HeadraceError):
    """The work ran to its end, but a stated goal was missed or the measurement is not valid (4)."""

    exit_status = 4
