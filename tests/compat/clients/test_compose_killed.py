"""`kill -9` of hyperd in the middle of a project, and in the middle of an `up`: the project goes on, the next `up`
comes to the same end, and `down -v` leaves nothing."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audit import cgroups, daemon_pid, kill_process, names, virtual_machines
from docker_clients import Clients
from docker_sdk import load, sdk_of
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from soak import rounds
from uml_kernel import has_uml

STORY = Path(__file__).parent / "killed.yaml"
# When it dies in an `up`: as soon as somebody hears of this.
MOMENTS = (
    "start killed-db-1",
    "create killed_back",
    "create killed-db-1",
    "create killed-web-1",
    "mount killed_data",
    "health_status: healthy killed-db-1",
    "die killed-once-1",
)
EVENT = "{{.Action}} {{or .Actor.Attributes.name .Actor.ID}}"
HEARS_S, GIVES_UP_S = 60.0, 30.0
UP = {"killed-db-1": ("running", "healthy"), "killed-once-1": ("exited", ""), "killed-web-1": ("running", "")}


class Stage:
    def __init__(self, hyper: Hyper, clients: Clients) -> None:
        self.hyper, self.clients = hyper, clients
        self._seen: set[str] = set()

    def compose_words(self, *words: str) -> tuple[str, ...]:
        return ("compose", "-f", str(STORY), *words)

    def compose(self, *words: str) -> str:
        return self.clients.out(*self.compose_words(*words))

    def kill(self) -> None:
        """And it serves again."""
        assert kill_process(daemon_pid(self.hyper))
        self.hyper("info")

    def states(self) -> dict[str, tuple[str, str]]:
        lines = self.compose("ps", "-a", "--no-trunc", "--format", "json").splitlines()
        found = [json.loads(line) for line in lines]
        self._seen |= {each["ID"] for each in found}
        return {each["Name"]: (each["State"], each["Health"]) for each in found}

    @contextlib.contextmanager
    def hearing(self, *wanted: str) -> Iterator[Callable[[], None]]:
        """What is given returns when the last of these has happened, one after the other, from here on."""
        words = ("events", "--since", f"{time.time():.9f}", "--format", EVENT)
        with self.clients.popen(*words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as follower:
            late = threading.Timer(HEARS_S, follower.kill)
            late.start()

            def wait() -> None:
                assert follower.stdout is not None
                heard = (line.decode().strip() for line in follower.stdout)
                for each in wanted:
                    assert each in heard, f"{each} has not happened"

            try:
                yield wait
            finally:
                late.cancel()
                follower.kill()

    def check_nothing(self) -> None:
        assert self.states() == {}
        for words in (("volume", "ls", "-q"), ("network", "ls", "-q", "--filter", "type=custom")):
            assert self.clients.out(*words) == ""
        assert not names(self.hyper.root / "volumes")
        assert not cgroups(self._seen)
        assert [each for each in self.hyper.leftovers() if not each.startswith("process ")] == []
        assert not virtual_machines(self.hyper.base)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with hyper_context(NO_POOL, hypervisor="uml" if has_uml() else "qemu") as hyper:
        hyper("info")
        clients = Clients(hyper.run_dir / "docker.sock", tmp_path)
        with sdk_of(clients) as sdk:
            load(sdk)
        yield Stage(hyper, clients)


@pytest.mark.parametrize("moment", MOMENTS[: rounds(short=1, soak=len(MOMENTS))])
def test_hyperd_dies(stage: Stage, moment: str) -> None:
    dies_in_an_up(stage, moment)
    stage.compose("up", "-d")
    works(stage, starts=1)
    dies_while_it_runs(stage)
    stage.compose("down", "-v", "-t", "1")
    stage.check_nothing()


def dies_in_an_up(stage: Stage, moment: str) -> None:
    """Its client says so, and does not hang."""
    with stage.hearing(moment) as heard:
        client = stage.clients.popen(*stage.compose_words("up", "-d"), stderr=subprocess.PIPE)
        heard()
        assert kill_process(daemon_pid(stage.hyper))
    _, said = client.communicate(timeout=GIVES_UP_S)
    assert client.returncode == 1, said
    assert b"Cannot connect to the Docker daemon" in said or b"EOF" in said, said
    stage.hyper("info")


def works(stage: Stage, *, starts: int) -> None:
    assert stage.states() == UP
    assert stage.compose("logs", "--no-log-prefix", "db").split() == ["up"] * starts
    assert "Address" in stage.compose("exec", "-T", "web", "nslookup", "-type=a", "database")
    with urllib.request.urlopen(f"http://{stage.compose('port', 'web', '8080')}/", timeout=10) as answer:
        assert answer.read() == b"served\n"


def dies_while_it_runs(stage: Stage) -> None:
    """Containers go on, who was stopped stays so, and who ends comes back and is looked after."""
    stage.compose("stop", "-t", "1", "web")
    stage.kill()
    assert stage.states() == {**UP, "killed-web-1": ("exited", "")}
    with stage.hearing("start killed-db-1", "health_status: healthy killed-db-1") as heard:
        stage.compose("exec", "-T", "db", "killall", "sleep")
        heard()
    stage.compose("start", "web")
    works(stage, starts=2)
