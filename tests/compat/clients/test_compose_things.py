"""What people write into compose files, service by service: it comes up, and is so inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docker_clients import Clients
from soak import rounds

THINGS = Path(__file__).parent / "things.yaml"
pytestmark = pytest.mark.skipif(not rounds(short=0, soak=1), reason="many: make soak has them")

# By service: what is run in it, and its words.
INSIDE = (
    ("hosts", "hostname; grep -c some.where /etc/hosts; grep -o ndots:2 /etc/resolv.conf", "named 1 ndots:2"),
    ("joined", "hostname; grep -c some.where /etc/hosts", "named 1"),
    ("alone", "ls /sys/class/net | grep -c eth", "0"),
    ("still", "touch /x 2>&- || touch /run/x && echo kept", "kept"),
    ("limits", "ulimit -Sn; ulimit -Hn; cat /proc/sys/net/core/somaxconn", "1000 2000 1024"),
    ("limits", "grep NoNewPrivs /proc/self/status; cat /sys/fs/cgroup/pids.max", "NoNewPrivs: 1"),
    ("volumes", "cat /b/f; stat -c %a /t; touch /b/x 2>&- || touch /m/x && ls /m", "here 700 x"),
    ("volumes", "ls -d /img/bin; touch /img/x 2>&- || echo kept", "/img/bin kept"),
    ("volumes", "stat -c '%a %u %g' /etc/page /run/secrets/key", "440 100 101 400 100 0"),
    ("volumes", "echo said > /v/said; cat /run/secrets/key", "s3cr3t"),
    ("another", "cat /v/said /page", "said text"),
    ("after", "ls /v", "once said"),
    ("user", "id -u; id -G; pwd; tty", "100 101 7 /tmp"),
)


@pytest.fixture
def compose(daemon: Clients, tmp_path: Path) -> Any:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/f").write_text("here\n")
    (tmp_path / "compose.yaml").write_text(THINGS.read_text())

    def run(*words: str, **more: Any) -> str:
        done = daemon.compose(*words, cwd=tmp_path, more={"KEY": "s3cr3t"}, timeout_s=300, **more)
        return done.stdout.decode().strip()

    return run


def test_things(compose: Any, daemon: Clients) -> None:
    compose("up", "-d", "--quiet-pull")
    for service, script, said in INSIDE:
        heard = compose("exec", "-T", service, "sh", "-c", script, check=False).split()
        assert heard[: len(said.split())] == said.split(), (service, script, heard)
    assert compose("port", "--protocol", "udp", "open", "90").startswith("127.0.0.1:1821")
    host = daemon.json("inspect", "things-limits-1")[0]["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (96 << 20, 500_000_000, 50)
    logged = daemon.json("inspect", "things-logged-1")[0]
    assert logged["HostConfig"]["LogConfig"]["Config"]["max-size"] == "1m"
    assert (logged["Config"]["StopSignal"], logged["Config"]["StopTimeout"]) == ("SIGINT", 90)
    compose("down", "-v", "-t", "1")
    assert daemon.out("ps", "-aq") == daemon.out("volume", "ls", "-q") == ""


def test_what_has_happened_is_told_to_its_end(compose: Any) -> None:
    compose("up", "-d", "alone")
    assert '"action":"start"' in compose("events", "--json", "--until", "0s", check=False)
    compose("down", "-t", "1")
