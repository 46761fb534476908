"""A timer on the clock of the wall (timerfd_create(2)): one that a suspended machine does not put off, and that tells
when somebody sets the clock.  Python has it from 3.13 on."""

from __future__ import annotations

import ctypes
import os

_CLOCK_REALTIME = 0
_ABSOLUTE, _CANCEL_ON_SET = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Time), ("value", _Time))


def wall_timer(at: float) -> int:
    """A descriptor, the caller's, that is readable from ``at`` (seconds since the epoch) on, and when the clock is set.
    OSError."""
    descriptor: int = _libc.timerfd_create(_CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise _failed("timerfd_create")
    at_ns = max(1, int(at * 1e9))  # 0 would be never
    setting = _Setting(_Time(0, 0), _Time(*divmod(at_ns, 1_000_000_000)))
    if _libc.timerfd_settime(descriptor, _ABSOLUTE | _CANCEL_ON_SET, ctypes.byref(setting), None) != 0:
        error = _failed("timerfd_settime")
        os.close(descriptor)
        raise error
    return descriptor


def _failed(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
