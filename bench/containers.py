"""What the cases have in common: a hyperd that is ready to be measured, images, and commands that are timed."""

from __future__ import annotations

import contextlib
import io
import json
import select
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import busybox_image
from bench.measure import run
from hyper import Hyper, close

QEMU, UML = (f'[machine]\nhypervisor = "{name}"\n' for name in ("qemu", "uml"))
BOOTED = f"[factory]\ntemplate = false\n{QEMU}"
BUSYBOX = busybox_image.REFERENCE
LAYERED = "localhost/layered:latest"
LAYERS = 12
READY_TIMEOUT_S = 60.0


class Measured(Hyper):
    """A hyperd with the image, where the next start finds what it needs: a template, and ``kept`` that stand ready.

    ``making``: whether it makes any of these.
    """

    def __init__(self, config: str, kept: int = 0, *, making: bool = True) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="hyper-bench-")), config)
        self._kept = kept
        self._making = making
        self._events: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        self("load", stdin=busybox_image.archive([busybox_image.layer()]))
        # hyperd has read it; each command would read it too, and be slower than on a machine that has no such file.
        self.environment.pop("HYPER_CONFIG", None)
        if self._making:
            words = ("events", "--since", "1h", "--filter", "type=template", "--format", "json")
            self._events = self.popen(*words, stdout=subprocess.PIPE, bufsize=0)
        run_true(self)
        self.await_ready()

    def await_ready(self) -> None:
        """Once after the start that found less than there should be, and for a pool once after each start."""
        if not self._making:
            return
        if self._kept:
            while self._next_event().get("ready") != str(self._kept):
                pass
        elif kind(self) == "cold":
            while self._next_event()["action"] != "make":
                pass

    def _next_event(self) -> dict[str, str]:
        """Of a template: its attributes, and the action."""
        assert self._events is not None
        stream = self._events.stdout
        assert stream is not None
        if not select.select([stream], [], [], READY_TIMEOUT_S)[0]:
            raise AssertionError(f"hyperd has made no VM ready within {READY_TIMEOUT_S:g} s; see {self.root}")
        event = json.loads(stream.readline())
        return {**event["Actor"]["Attributes"], "action": event["Action"]}

    def end(self) -> None:
        if self._events is not None:
            self._events.kill()
            self._events.communicate()
        close(self)


AnyMeasured = TypeVar("AnyMeasured", bound=Measured)


@contextlib.contextmanager
def booted() -> Iterator[Measured]:
    with ready(Measured(BOOTED, making=False)) as made:
        yield made


@contextlib.contextmanager
def cloned(kept: int = 0) -> Iterator[Measured]:
    with ready(Measured(f"[factory]\ncache = {kept}\n{QEMU}", kept)) as made:
        yield made


@contextlib.contextmanager
def native(kept: int = 0) -> Iterator[Measured]:
    """On User Mode Linux, which has no templates."""
    with ready(Measured(f"[factory]\ncache = {kept}\n{UML}", kept, making=kept > 0)) as made:
        yield made


@contextlib.contextmanager
def ready(made: AnyMeasured) -> Iterator[AnyMeasured]:
    try:
        made.prepare()
        yield made
    finally:
        made.end()


def run_true(made: Hyper, *options: str, image: str = BUSYBOX) -> None:
    run(made.argv("run", "--rm", *options, image, "true"), made.environment)


def exec_true(made: Hyper, name: str) -> None:
    run(made.argv("exec", name, "true"), made.environment)


def sleep(made: Hyper, *options: str) -> str:
    """Starts a container that does nothing, in the background; its ID."""
    return run(made.argv("run", "-d", *options, BUSYBOX, "sleep", "1000000"), made.environment).strip()


def kind(made: Hyper) -> str:
    """How the VM of this hyperd's next container comes to be: cold, clone or warm."""
    argv = made.argv("run", "--rm", "--timings", BUSYBOX, "true")
    return run(argv, made.environment).partition(" ")[0]


def layered_image() -> bytes:
    """The same files, and a layer with one more for each of the rest."""
    layers = [busybox_image.layer(), *(_small_layer(f"etc/layer-{number}") for number in range(1, LAYERS))]
    return busybox_image.archive(layers, LAYERED)


def _small_layer(name: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(name)
        tar.addfile(entry, io.BytesIO(name.encode()))
    return out.getvalue()
