"""The toy driver, installed as a distribution is that is not the project's."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from harnesses import QemuHarness
from hypercontainer.hypervisor.driver import Driver
from hypercontainer.hypervisor.kinds import Host, make_all

SOURCE = Path(__file__).with_name("toy_driver")
PIP = ("-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index")


class ToyHarness(QemuHarness):
    """Its guests are QEMU's, whose rights are not the driver's to take."""

    lacks = frozenset({"locks"})

    def recipe(self) -> Callable[[], Driver]:
        return partial(found, self.folder)


def found(folder: Path) -> Driver:
    host = Host(folder / "facts.json", folder / "state")
    return {driver.name: driver for driver in make_all({}, host, frozenset())}["toy"]


@contextlib.contextmanager
def installed(place: Path) -> Iterator[type[ToyHarness]]:
    """In a folder in ``place``, where this process looks for distributions."""
    source, folder = place / "source", place / "installed"
    shutil.copytree(SOURCE, source)  # who builds leaves things there
    command = [sys.executable, *PIP, "--target", str(folder), str(source)]
    subprocess.run(command, check=True, env={"PATH": os.environ["PATH"]})
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield ToyHarness
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("hyper_toy_driver", None)
