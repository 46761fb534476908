"""hyperd as a process: one per directory, ready when it says so, gone in good order, back after kill -9."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import resource
import select
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.client.spawn import start_hyperd
from hypercontainer.errors import Unavailable

SCRIPT = str(Path(__file__).parent / "hyperd_under_test.py")
TIMEOUT_S = 20


class Place:
    """A root and a run directory, and the processes that a test started there."""

    def __init__(self, base: Path) -> None:
        self.root, self.run = base / "root", base / "run"
        self.address = self.run / "hyper.sock"
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("HYPER_", "XDG_"))}
        self.env |= {"HYPER_ROOT": str(self.root), "HYPER_RUN": str(self.run), "HOME": str(base)}
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *flags: str, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        """Returns when it is ready, or has ended."""
        reading, writing = os.pipe()
        process = self.start_unready(
            *flags, "--ready-fd", str(writing), env=env, pass_fds=(writing,), **options
        )
        os.close(writing)
        try:
            assert select.select([reading], [], [], TIMEOUT_S)[0], "hyperd neither served nor ended"
            if not os.read(reading, 1):
                process.wait(TIMEOUT_S)
        finally:
            os.close(reading)
        return process

    def start_unready(
        self, *flags: str, env: dict[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, SCRIPT, *flags],
            env=self.env | (env or {}),
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self.started.append(process)
        return process

    def get(self, target: str, method: str = "GET") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("x", timeout=TIMEOUT_S)
        connection.sock = self.connect()
        with contextlib.closing(connection):
            connection.request(method, target, headers={"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read()
        return answer.status, json.loads(body) if body else None

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT_S)
        sock.connect(str(self.address))
        return sock

    def notes(self) -> list[str]:
        return [line.partition(" ")[2] for line in (self.root / "engine.log").read_text().splitlines()]

    def pid(self) -> int:
        return int((self.run / "hyperd.pid").read_text())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_serves_and_ends_in_good_order(place: Place) -> None:
    process = place.start()
    assert place.get("/v1/ping")[0] == 200
    assert place.pid() == process.pid
    assert stat.S_IMODE(place.address.stat().st_mode) in (0o600, 0o660)
    assert stat.S_IMODE(place.root.stat().st_mode) == (0o711 if os.geteuid() == 0 else 0o700)
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT_S) == 0
    assert place.notes() == ["start", "close stop_containers=False"]
    assert not place.address.exists()
    assert not (place.run / "hyperd.pid").exists()


def test_sets_up_its_process(place: Place) -> None:
    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    process = place.start(preexec_fn=lower)
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard
    status = Path(f"/proc/{process.pid}/status").read_text()
    assert "Umask:\t0077" in status
    process.send_signal(signal.SIGHUP)
    assert place.get("/v1/ping")[0] == 200


def test_sigint_ends_it_and_its_streams(place: Place) -> None:
    process = place.start()
    with contextlib.closing(place.connect()) as sock:
        sock.sendall(b"GET /v1/containers/a/wait HTTP/1.1\r\nHost: x\r\n\r\n")
        while "wait" not in place.notes():
            assert not select.select([sock], [], [], 0.01)[0]
        process.send_signal(signal.SIGINT)
        assert sock.recv(1) == b""
    assert process.wait(TIMEOUT_S) == 0


def test_a_client_can_end_it(place: Place) -> None:
    process = place.start()
    assert place.get("/v1/system/shutdown", "POST") == (202, None)
    assert process.wait(TIMEOUT_S) == 0
    assert place.notes()[-1] == "close stop_containers=False"


def test_a_second_one_is_told_who_has_the_place(place: Place, tmp_path: Path) -> None:
    first = place.start()
    for flags in ([], ["--run", str(tmp_path / "run2")], ["--root", str(tmp_path / "root2")]):
        second = place.start(*flags)
        assert second.returncode == 1
        assert second.stderr is not None
        assert f"pid {first.pid}" in second.stderr.read()
    assert place.get("/v1/ping")[0] == 200
    assert place.pid() == first.pid


def test_two_live_side_by_side(place: Place, tmp_path: Path) -> None:
    place.start()
    other = Place(tmp_path / "other")
    place.started.append(other.start())
    assert place.get("/v1/ping")[0] == other.get("/v1/ping")[0] == 200


def test_a_killed_one_is_replaced(place: Place) -> None:
    first = place.start()
    first.kill()
    first.wait()
    assert place.address.exists()
    second = place.start()
    assert place.get("/v1/ping")[0] == 200
    assert place.pid() == second.pid


def test_waits_for_one_that_is_ending(place: Place) -> None:
    first = place.start()
    with ThreadPoolExecutor() as pool:
        second = pool.submit(place.start, "--lock-wait", str(TIMEOUT_S))
        first.send_signal(signal.SIGTERM)
        assert first.wait(TIMEOUT_S) == 0
    assert place.pid() == second.result().pid
    third = place.start("--lock-wait", "0.05")
    assert third.returncode == 1


@pytest.mark.parametrize("thing", ["file", "listener"])
def test_what_is_not_its_own_stays(thing: str, place: Place) -> None:
    place.run.mkdir(mode=0o700)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
        if thing == "file":
            place.address.write_text("mine")
        else:
            sock.bind(str(place.address))
            sock.listen()
        process = place.start()
        assert process.returncode == 1
        assert process.stderr is not None
        assert str(place.address) in process.stderr.read()
    assert place.address.exists()


def test_an_engine_that_does_not_start(place: Place) -> None:
    process = place.start(env={"FAKE_ENGINE": "fails"})
    assert process.returncode == 1
    assert process.stderr is not None
    assert process.stderr.read() == "hyperd: no kernel is here (make kernel)\n"
    assert place.notes() == ["start", "close stop_containers=False"]
    assert not place.address.exists()


def test_sigterm_while_the_engine_starts(place: Place, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = place.start_unready(env={"FAKE_ENGINE": "hangs", "FAKE_ENGINE_FIFO": str(fifo)})
    assert fifo.read_text() == "starting"
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT_S) == 0
    assert place.notes()[-1] == "close stop_containers=False"


def test_wrong_use(place: Place, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[machine]\nkernl = 'x'\n")
    process = place.start("--config", str(config))
    assert process.returncode == 2
    assert process.stderr is not None
    assert f"hyperd: {config}: [machine]: unknown key 'kernl'" in process.stderr.read()


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_need_nothing(flag: str, place: Place) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, flag],
        env=place.env,
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT_S,
    )
    assert "hyperd" in done.stdout
    assert not place.root.exists()


def test_sockets_from_systemd(place: Place, tmp_path: Path) -> None:
    """hyperd takes the socket as descriptor 3, says READY=1, and leaves the socket's path alone."""
    place.run.mkdir(mode=0o700)
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(tmp_path / "notify"))
    told.settimeout(TIMEOUT_S)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock, contextlib.closing(told):
        sock.bind(str(place.address))
        sock.listen()
        with contextlib.closing(place.connect()) as early:  # a client that comes before hyperd
            early.sendall(b"GET /v1/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            start = (
                "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
                "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
            )
            process = subprocess.Popen(
                [sys.executable, "-c", start, str(sock.fileno()), SCRIPT],
                env=place.env | {"LISTEN_FDS": "1", "NOTIFY_SOCKET": str(tmp_path / "notify")},
                pass_fds=(sock.fileno(),),
                stderr=subprocess.PIPE,
                text=True,
            )
            place.started.append(process)
            assert told.recv(1000).startswith(b"READY=1\n")
            assert early.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        assert place.get("/v1/ping")[0] == 200
        process.send_signal(signal.SIGTERM)
        assert told.recv(1000) == b"STOPPING=1"
        assert process.wait(TIMEOUT_S) == 0
    assert place.address.exists()


# How the command line starts it


@pytest.fixture
def spawned(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for key in os.environ.keys() - place.env.keys():
        monkeypatch.delenv(key)
    for key, value in place.env.items():
        monkeypatch.setenv(key, value)
    yield place
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(place.pid(), signal.SIGTERM)
    with (place.root / "hyperd.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until it has ended


def command() -> list[str]:
    return [sys.executable, SCRIPT]


STARTER = """
import sys
from hypercontainer.client.spawn import start_hyperd
start_hyperd(sys.argv[1], command=sys.argv[2:])
"""


def starter(place: Place, **options: Any) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", STARTER, str(place.address), *command()]
    return subprocess.Popen(words, env=place.env, stderr=subprocess.PIPE, text=True, **options)


def test_spawn_detaches(spawned: Place) -> None:
    reading, writing = os.pipe()  # a shell's pipe: nobody may hold it open for good
    process = starter(spawned, pass_fds=(writing,))
    os.close(writing)
    _, talk = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, talk) == (0, "")
    assert select.select([reading], [], [], TIMEOUT_S)[0]
    assert os.read(reading, 1) == b""
    os.close(reading)
    assert spawned.get("/v1/ping")[0] == 200
    pid = spawned.pid()
    assert os.getsid(pid) != os.getsid(0)
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert parent != os.getpid()


def test_spawns_at_once_end_with_one(spawned: Place) -> None:
    processes = [starter(spawned) for _ in range(4)]
    for process in processes:
        _, talk = process.communicate(timeout=TIMEOUT_S)
        assert (process.returncode, talk) == (0, "")
    assert spawned.notes() == ["start"]


def test_spawn_with_one_that_runs_does_nothing(spawned: Place) -> None:
    process = spawned.start()
    start_hyperd(str(spawned.address), command=["/bin/false"])
    assert spawned.pid() == process.pid


def test_spawn_shows_the_last_words(spawned: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_ENGINE", "fails")
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            start_hyperd(str(spawned.address), command=command())
        assert str(caught.value).count("hyperd: no kernel is here (make kernel)") == 1
    with pytest.raises(Unavailable, match="/does/not/exist: No such file"):
        start_hyperd(str(spawned.address), command=["/does/not/exist"])


def test_spawn_gives_up_in_time(spawned: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    monkeypatch.setenv("FAKE_ENGINE", "hangs")
    monkeypatch.setenv("FAKE_ENGINE_FIFO", str(fifo))
    with pytest.raises(Unavailable, match=r"does not answer after 0\.1 s"):
        start_hyperd(str(spawned.address), deadline_s=0.1, command=command())
    assert fifo.read_text() == "starting"  # the fixture ends it


def test_logs_to_a_file_when_told_to(spawned: Place) -> None:
    start_hyperd(str(spawned.address), command=command(), log_level="debug")
    assert spawned.get("/v1/info")[0] == 500  # the fake has none, which is a defect
    log = spawned.root / "hyperd.log"
    assert "internal error" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
