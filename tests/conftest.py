"""What every test may rely on, however the suite was started: signals that are delivered, and waits that end.

A suite in the background of a script, under nohup or some CI runners inherits ignored signals, and so does each program
that it starts: Ctrl-C of a test then reaches nobody.
"""

from __future__ import annotations

import faulthandler
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import TextIO

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

pytest.register_assert_rewrite("hypercontainer.suite")  # whose cases are tests: what they compare is told

ORDINARY = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)


STDERR = pytest.StashKey[TextIO]()


def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile(
        "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )  # a busy machine fails no test
    settings.load_profile("untimed")
    config.stash[STDERR] = os.fdopen(os.dup(2), "w")  # each test has another one
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for each in ORDINARY:
        signal.signal(each, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    subprocess.Popen.__exit__ = _leave  # type: ignore[method-assign, assignment]


class OfOneHypervisor(LoadScopeScheduling):  # type: ignore[misc]
    """Each worker takes whole files, of one hypervisor at a time: what the tests share is made once."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        words = re.findall(r"[a-z]+", test.partition("[")[2])
        return " ".join([file, *(each for each in ("qemu", "uml") if each in words)])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    return OfOneHypervisor(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes may be others each time, of which two workers would make two tests."""
    return argname if isinstance(val, bytes) else None


def _product() -> dict[tuple[str, str], object]:
    """The functions, classes and constants of the modules that are there, by module and name."""
    return {
        (module, name): value
        for module in [each for each in sys.modules if each.startswith("hypercontainer")]
        for name, value in list(vars(sys.modules[module]).items())
        if callable(value) or name.isupper()
    }


@pytest.fixture(autouse=True, scope="module")
def the_product_is_itself_again() -> Iterator[None]:
    """What a module's tests had others stand for is back for the next module's."""
    before = _product()
    yield
    after = _product()
    replaced = [".".join(place) for place, value in before.items() if after.get(place, value) is not value]
    assert not replaced, "left with what stood for it"


_wait = subprocess.Popen.__exit__


def _leave(
    self: subprocess.Popen[bytes],
    kind: type[BaseException] | None,
    value: BaseException | None,
    traceback: TracebackType | None,
) -> None:
    """A test that failed, or ran out of its time, in the middle of a process does not wait for that process."""
    if kind is not None:
        self.kill()
    _wait(self, kind, value, traceback)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """pytest-timeout interrupts a test once; who waits again after that ends the run, and the stacks say where."""
    timeout_s = float(item.config.getoption("timeout") or item.config.getini("timeout"))
    faulthandler.dump_traceback_later(2 * timeout_s + 60, exit=True, file=item.config.stash[STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
