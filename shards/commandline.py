"""What the commands of all packages share: a user's mistake as one line, and lines for the user."""

from __future__ import annotations

import sys
from collections.abc import Callable


class UserError(Exception):
    """Base of errors that the user can mend and that callers must tell from a ValueError."""


def is_mendable(error: BaseException) -> bool:
    """Tell whether the user can mend what an error says.

    A subclass of ValueError is a library's own (Arrow's, JSON's, Unicode's): a fault of ours.
    """
    return type(error) is ValueError or isinstance(error, UserError)


def run(action: Callable[[], None]) -> int:
    """Run a command; what the user can mend becomes one line and exit code 2."""
    try:
        action()
    except Exception as error:
        if not is_mendable(error):
            raise
        return fail(str(error))
    return 0


def fail(message: str, code: int = 2) -> int:
    """Print a mistake in one line and return the exit code."""
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return code


def say(*lines: str) -> None:
    """Print lines for the user."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
