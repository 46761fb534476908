"""What a program that could not be started has as its exit status, as a shell and Docker's users know it."""

from __future__ import annotations

import errno

from hypercontainer.errors import GuestError

START_OPERATION = "process start"  # as the guest's errors name it

# execve(2)'s answers that mean "there is no such program"; any other failure means "it cannot be run".
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})


def is_absent(error: BaseException) -> bool:
    """There is no such program; not that it could not be run."""
    return is_of_program(error) and isinstance(error, GuestError) and error.errno in _ABSENT


def is_of_program(error: BaseException) -> bool:
    """What was asked is wrong, not the guest."""
    return isinstance(error, GuestError) and error.operation == START_OPERATION


def exit_status(error: BaseException) -> int:
    if is_of_program(error):
        return 127 if is_absent(error) else 126
    return 128
