"""A hyperd of a test's own, driven by the real command line, and the proof that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from hypercontainer.engine.places import Places
from until import until

BIN = Path(sys.executable).parent
TIMEOUT_S = 120
LAST_WORDS = 6000  # characters
# Of the networks, which stay for as long as their hyperd: who keeps their namespace, and who carries their way out.
KEEPERS = ("_native/netns ", "/run/way-out/")
# For tests that count VMs: hyperd keeps none for itself, but for those that it makes templates of.
NO_POOL = "[factory]\ncache = 0\n"
MAKING = "/run/pods/template-"

T = TypeVar("T")
# What the first hyperd of root's has found out about this machine; the next one would find the same, in a second.
_FACTS: list[bytes] = []


class Hyper:
    """``root`` and ``run`` are directories of this one's own; hyperd is started by the first command.

    ``config`` is the text of its configuration file.  Without one the machine's own is read, if there is any.
    """

    def __init__(self, base: Path, config: str = "", **environment: str) -> None:
        self.base = base
        self.root = base / "root"
        self.run_dir = base / "run"
        self.environment = {
            **os.environ,
            "HYPER_ROOT": str(self.root),
            "HYPER_RUN": str(self.run_dir),
            **environment,
        }
        if config:
            (base / "config.toml").write_text(config)
            self.environment["HYPER_CONFIG"] = str(base / "config.toml")
        self.environment.pop("HYPER_HOST", None)

    def argv(self, *words: str) -> list[str]:
        return [str(BIN / "hyper"), *words]

    def __call__(
        self,
        *words: str,
        stdin: bytes | None = None,
        check: bool = True,
        timeout_s: float = TIMEOUT_S,
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            self.argv(*words),
            input=stdin or b"",
            capture_output=True,
            timeout=timeout_s,
            env=self.environment,
        )
        if check and done.returncode != 0:
            said = done.stderr.decode()
            raise AssertionError(
                f"hyper {' '.join(words)}: status {done.returncode}\n{said}\n{self.last_words()}"
            )
        return done

    def last_words(self) -> str:
        """Of its hyperd, the console of a guest that did not start among them."""
        log = self.root / "hyperd.log"
        return log.read_text(errors="replace")[-LAST_WORDS:] if log.exists() else ""

    def out(self, *words: str, **more: Any) -> str:
        return self(*words, **more).stdout.decode().strip()

    def json(self, *words: str) -> Any:
        return json.loads(self.out(*words))

    def popen(self, *words: str, **more: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.argv(*words), env=self.environment, **more)

    def load(self, archive: Path) -> None:
        with archive.open("rb") as stream:
            subprocess.run(
                self.argv("load"), stdin=stream, check=True, capture_output=True, env=self.environment
            )

    def daemon_pid(self) -> int:
        return int(self.json("info", "--format", "json")["DaemonPid"])

    def inspect(self, name: str) -> Any:
        return self.json("inspect", name)[0]

    def vm_pid(self, name: str) -> int:
        """The process of the container's VM on this host, 0 where there is none."""
        return int(self.inspect(name)["State"]["Pid"])

    def wait_for_log(self, name: str, text: bytes, *, times: int = 1) -> None:
        """Follows the container's log until ``text`` stands in so many of its lines."""
        follower = self.popen("logs", "-f", name, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        with follower:
            assert follower.stdout is not None
            seen = []
            for line in follower.stdout:
                seen.append(line)
                times -= text in line
                if times == 0:
                    break
            follower.terminate()
        assert times == 0, f"{name} ended without {text!r}:\n{b''.join(seen).decode(errors='replace')}"

    def wait_for_events(
        self, action: str, *, of: str = "template", times: int = 1, deadline_s: float = 60
    ) -> list[Any]:
        """Follows this hyperd's events, from its first on, until so many of this kind have happened; all of them."""
        words = ("events", "--since", "24h", "--filter", f"type={of}", "--format", "json")
        seen: list[Any] = []
        with self.popen(*words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as follower:
            late = threading.Timer(deadline_s, follower.kill)
            late.start()
            assert follower.stdout is not None
            for line in follower.stdout:
                seen.append(json.loads(line))
                times -= seen[-1]["Action"] == action
                if times == 0:
                    break
            late.cancel()
            follower.kill()
        assert times == 0, f"no {of} {action} within {deadline_s:g} s, but {seen}\n{self.log()}"
        return seen

    def kind(self, *words: str) -> str:
        """Runs it to its end, and says how its VM came to be: "cold", "clone" or "warm"."""
        done = self("run", "--rm", "--timings", *words)
        return done.stderr.decode().partition(" ")[0]

    def has_template(self, *words: str) -> None:
        """Runs it, and where that was a boot, waits until the next one will not be."""
        past = ("--since", "24h", "--until", "0s", "--filter", "type=template", "--filter", "event=make")
        made = self.out("events", *past, "--format", "{{.Action}}").count("make")
        if self.kind(*words) == "cold":
            self.wait_for_events("make", times=made + 1)
        assert self.kind(*words) != "cold", self.log()

    def until(self, found: Callable[[], T], what: str, *, deadline_s: float = 60) -> T:
        """See ``until.until``; the error has hyperd's log with it."""
        try:
            return until(found, what, deadline_s=deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    def log(self) -> str:
        """What hyperd has written down of itself."""
        path = self.root / "hyperd.log"
        return path.read_text() if path.exists() else ""

    def remove_all(self) -> None:
        if left := self.out("ps", "-aq").split():
            self("rm", "-f", *left, check=False)
        pods = self.root / "pods"
        if empty := [path.name for path in pods.iterdir()] if pods.is_dir() else []:
            self("pod", "rm", "-f", *empty, check=False)

    def stop(self) -> None:
        """Containers and hyperd, if there is one; returns when its process has ended."""
        try:
            pid = int((self.run_dir / "hyperd.pid").read_text())
            daemon = os.pidfd_open(pid)
        except (OSError, ValueError):
            return
        try:
            self.remove_all()
            self("system", "stop", check=False)
            select.select([daemon], [], [], 30)
        finally:
            os.close(daemon)

    def leftovers(self) -> list[str]:
        """What is still there of VMs although no container is left: processes, run directories, cgroups, mounts."""
        found = [f"process {line}" for line in processes_that_mention(str(self.base))]
        pods = self.run_dir / "pods"
        found += [f"directory {path}" for path in (pods.iterdir() if pods.is_dir() else ())]
        mounts = Path("/proc/self/mounts").read_text()
        found += [f"mount {line}" for line in mounts.splitlines() if str(self.base) in line]
        containers = self.root / "containers"
        found += [f"directory {path}" for path in (containers.iterdir() if containers.is_dir() else ())]
        return found


def processes_that_mention(text: str) -> list[str]:
    """Running processes with ``text`` in their command line, or in the name of what they write to; but not this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            places = [
                str((entry / name).readlink()) for name in ("cwd", "fd/1") if (entry / name).is_symlink()
            ]
            if any(text in place for place in (command, *places)):
                found.append(f"{entry.name} {command.strip()} in {places}")
    return found


@contextlib.contextmanager
def hyper(config: str = "", *, hypervisor: str = "qemu", **environment: str) -> Iterator[Hyper]:
    """A hyperd with directories short enough for sockets; at the end everything of it is gone, or the test fails."""
    machine, said = "[machine]\n", f'hypervisor = "{hypervisor}"\n'
    config = config.replace(machine, machine + said) if machine in config else f"{config}{machine}{said}"
    made = Hyper(Path(tempfile.mkdtemp(prefix="hyper-test-")), config, **environment)
    facts = Places(made.root, made.run_dir).facts
    if _FACTS and not environment:
        made.root.mkdir(mode=0o711)
        facts.parent.mkdir(mode=0o700)
        facts.write_bytes(_FACTS[-1])
    try:
        yield made
    finally:
        if not environment and facts.is_file():
            _FACTS[:] = [facts.read_bytes()]
        close(made)


def close(made: Hyper) -> None:
    """Ends hyperd and removes everything of it; AssertionError where VMs have left something."""
    made.stop()
    left = made.leftovers()
    for line in left:
        with contextlib.suppress(ProcessLookupError, ValueError, IndexError):
            if line.startswith("process "):
                os.kill(int(line.split()[1]), signal.SIGKILL)
    shutil.rmtree(made.base, ignore_errors=True)
    assert not left, "left behind:\n" + "\n".join(left)
