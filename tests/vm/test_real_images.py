"""Real programs from real images, pulled from a real registry: servers, python, a distribution, an init system."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable

import pytest

import busybox_image
from hyper import Hyper
from reach import http_get

RealImage = Callable[[str], str]
BUSYBOX = busybox_image.REFERENCE
ANY_PORT = "127.0.0.1::"


def published(hyper: Hyper, name: str, port: str) -> tuple[str, int]:
    host, _, number = hyper.out("port", name, port).rpartition(":")
    return host, int(number)


def test_nginx(hyper: Hyper, real_image: RealImage) -> None:
    hyper("run", "-d", "--name", "web", "-p", ANY_PORT + "80", real_image("nginx"))
    address = hyper.out("port", "web", "80")
    assert http_get(address) == (200, b"served by hyper\n")
    assert http_get(address, "/nowhere")[0] == 404
    log = hyper("logs", "web").stdout  # /dev/stdout, by the image's own link
    assert b'"GET / HTTP/1.1" 200' in log
    assert b'"GET /nowhere HTTP/1.1" 404' in log
    assert "nginx: worker process" in hyper.out("top", "web")
    hyper("stop", "-t", "60", "web")
    assert hyper.inspect("web")["State"]["ExitCode"] == 0  # SIGQUIT, the image's stop signal, lets it finish
    hyper("start", "web")
    assert http_get(hyper.out("port", "web", "80")) == (200, b"served by hyper\n")


def ask_redis(address: tuple[str, int], *words: str) -> bytes:
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(" ".join(words).encode() + b"\r\n")
        return connection.makefile("rb").readline().strip()


def test_redis_keeps_its_data(hyper: Hyper, real_image: RealImage) -> None:
    hyper("run", "-d", "--name", "kv", "-p", ANY_PORT + "6379", real_image("redis"))
    hyper.wait_for_log("kv", b"Ready to accept connections")
    assert hyper.out("exec", "kv", "id", "-un") == "redis"
    assert hyper.out("exec", "kv", "redis-cli", "PING") == "PONG"
    assert hyper.out("exec", "kv", "redis-cli", "SET", "key", "value") == "OK"
    address = published(hyper, "kv", "6379")
    assert ask_redis(address, "INCRBY", "number", "41") == b":41"
    assert ask_redis(address, "SAVE") == b"+OK"
    hyper("kill", "kv")  # nothing but what was saved survives this
    hyper("start", "kv")
    hyper.wait_for_log("kv", b"Ready to accept connections", times=2)
    assert ask_redis(published(hyper, "kv", "6379"), "INCR", "number") == b":42"
    assert hyper.out("exec", "kv", "redis-cli", "GET", "key") == "value"
    hyper("stop", "kv")
    assert hyper.inspect("kv")["State"]["ExitCode"] == 0


def test_postgres(hyper: Hyper, real_image: RealImage) -> None:
    words = ("--name", "db", "-m", "128m", "-p", ANY_PORT + "5432")
    hyper("run", "-d", *words, real_image("postgres"))
    ready = b"database system is ready to accept connections"
    hyper.wait_for_log("db", ready)

    def sql(text: str) -> str:
        return hyper.out("exec", "-i", "db", "psql", "-qAt", stdin=text.encode())

    assert hyper.out("exec", "db", "id", "-un") == "postgres"
    sql(
        "create table t as select g, md5(g::text) as hash from generate_series(1, 10000) g; create index on t(hash);"
    )
    with socket.create_connection(published(hyper, "db", "5432"), timeout=60) as connection:
        connection.sendall(struct.pack(">II", 8, 80877103))  # SSLRequest
        assert connection.recv(1) in (b"S", b"N")
    hyper("stop", "-t", "60", "db")
    assert hyper.inspect("db")["State"]["ExitCode"] == 0
    log = hyper("logs", "db").stderr
    assert b"received fast shutdown request" in log
    assert log.rstrip().endswith(b"database system is shut down")
    hyper("start", "db")
    hyper.wait_for_log("db", ready, times=2)
    assert sql("select count(*), sum(g) from t where hash = md5(g::text)") == "10000|50005000"
    assert b"not properly shut down" not in hyper("logs", "db").stderr


PYTHON = """
import json, locale, multiprocessing.shared_memory, os, socket, sqlite3, subprocess, sys, threading, time
seen = {"argv": sys.argv, "encodings": [sys.getfilesystemencoding(), sys.stdout.encoding]}
numbers = []
threads = [threading.Thread(target=numbers.append, args=(n,)) for n in range(64)]
for thread in threads: thread.start()
for thread in threads: thread.join()
seen["threads"] = sorted(numbers) == list(range(64))
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    with socket.create_server((host, 0), family=family) as server:
        with socket.create_connection(server.getsockname()[:2]) as client, server.accept()[0] as other:
            other.sendall(b"x" * 100000); other.close()
            seen[host] = len(client.makefile("rb").read())
seen["own name"] = socket.gethostbyname(socket.gethostname())
seen["child"] = subprocess.run("echo $0 $((6*7))", shell=True, capture_output=True, text=True).stdout
with multiprocessing.Pool(2) as pool:
    seen["pool"] = pool.map(abs, [-1, -2])
memory = multiprocessing.shared_memory.SharedMemory(create=True, size=1 << 20); memory.close(); memory.unlink()
seen["random"] = len({os.getrandom(16), os.urandom(16), open("/dev/urandom", "rb").read(16)})
database = sqlite3.connect("/tmp/file.db"); database.execute("create table t (a)"); database.commit()
seen["name"] = "\\u00e4\\u4e2d"; open("/tmp/" + seen["name"], "w").close()
seen["names"] = [name for name in os.listdir("/tmp") if not name.isascii()]
seen["up"] = time.monotonic()
print(json.dumps(seen)); sys.exit(7)
"""


@pytest.mark.each_driver
def test_python(hyper: Hyper, real_image: RealImage) -> None:
    image = real_image("python")
    done = hyper("run", "-i", "--rm", image, "python3", "-", "a b", stdin=PYTHON.encode(), check=False)
    assert done.returncode == 7, done.stderr.decode()
    seen = json.loads(done.stdout)
    assert 0 < seen.pop("up") < 300  # a VM of its own, not a clock of the host's
    assert seen.pop("own name") not in ("127.0.0.1", "127.0.1.1")
    assert seen == {
        "argv": ["-", "a b"],
        "encodings": ["utf-8", "utf-8"],
        "threads": True,
        "127.0.0.1": 100000,
        "::1": 100000,
        "child": "/bin/sh 42\n",
        "pool": [1, 2],
        "random": 3,
        "name": "ä中",
        "names": ["ä中"],
    }


ECHO = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); server.bind(("0.0.0.0", 5353)); print("ready", flush=True)
while True:
    data, sender = server.recvfrom(65536); server.sendto(data[::-1], sender)
"""


def test_python_in_the_background_has_udp_and_the_time(hyper: Hyper, real_image: RealImage) -> None:
    hyper(
        "run", "-d", "--name", "c", "-p", ANY_PORT + "5353/udp", real_image("python"), "python3", "-c", ECHO
    )
    hyper.wait_for_log("c", b"ready")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(60)
        client.connect(published(hyper, "c", "5353/udp"))
        for data in (b"ping", bytes(range(256)) * 5):
            client.send(data)
            assert client.recv(65536) == data[::-1]
    before = time.time()
    there = float(hyper.out("exec", "c", "python3", "-c", "import time; print(time.time())"))
    assert before - 1 < there < time.time() + 1
    drawn = {hyper.out("exec", "c", "python3", "-c", "import uuid; print(uuid.uuid4())") for _ in range(2)}
    assert len(drawn) == 2
    boots = {hyper.out("exec", "c", "cat", "/proc/sys/kernel/random/boot_id")}
    boots.add(hyper.out("run", "--rm", BUSYBOX, "cat", "/proc/sys/kernel/random/boot_id"))
    assert len(boots) == 2


BASH = r"""
set -eu -o pipefail
declare -A colours=([sky]=blue [grass]=green)
[[ ${colours[sky]} == blue && abc =~ ^a(.)c$ && ${BASH_REMATCH[1]} == b ]]
diff <(seq 1000) <(seq 1000) && mapfile -t lines < <(printf '%s\n' one two three)
coproc cat; echo hello >&"${COPROC[1]}"; read -r answer <&"${COPROC[0]}"; echo "$answer ${#lines[@]}"
trap 'echo trapped' EXIT; mkfifo /tmp/pipe; (echo through > /tmp/pipe) & cat /tmp/pipe; wait $!
cat <<< "$(ulimit -n) $(umask) $(tty || true)"
"""
PACKAGE = """
mkdir -p /tmp/p/DEBIAN /tmp/p/opt/own && echo data > /tmp/p/opt/own/file
printf '%s: %s\\n' Package own Version 1 Architecture all Maintainer 'x <x@y>' Description own > /tmp/p/DEBIAN/control
dpkg-deb -b /tmp/p /tmp/own.deb && dpkg -i /tmp/own.deb && dpkg-query -W -f '${Status}\\n' own && cat /opt/own/file
"""


def test_debian(hyper: Hyper, real_image: RealImage) -> None:
    hyper("run", "-d", "--name", "c", real_image("debian"), "sleep", "infinity")

    def shell(script: str, *flags: str) -> list[str]:
        return hyper.out("exec", *flags, "c", "bash", "-c", script).split("\n")

    assert shell(BASH) == ["hello 3", "through", "1024 0022 not a tty", "trapped"]
    assert shell("apt-get --version")[0].startswith("apt 2.")
    assert shell("dpkg --audit; apt-get -qq check && apt-cache policy bash | sed -n 2p")[0].startswith(
        "Installed"
    )
    # Every file of every package is as Debian built it, but for the documentation that the image leaves out.
    changed = [line for line in shell("dpkg --verify || true") if "/usr/share/" not in line]
    assert [line for line in changed if line] == []
    assert shell("useradd -m -s /bin/bash joe && su - joe -c 'id -un; pwd; umask'") == [
        "joe",
        "/home/joe",
        "0022",
    ]
    assert shell("passwd -S", "-u", "joe")[0].startswith("joe L")  # setuid: /etc/shadow is root's
    assert shell("touch /etc/x 2>&1 || echo $HOME", "-u", "joe")[-1] == "/home/joe"
    assert shell(PACKAGE)[-2:] == ["install ok installed", "data"]
    assert shell("getent hosts localhost | head -1; getent passwd 0")[1].startswith("root:x:0:0")


def test_systemd(hyper: Hyper, real_image: RealImage) -> None:
    hyper("run", "-d", "-t", "--name", "c", real_image("systemd"))
    hyper.wait_for_log("c", b"Multi-User System")
    state = hyper("exec", "c", "systemctl", "is-system-running", "--wait", check=False).stdout.strip()
    failed = hyper.out("exec", "c", "systemctl", "list-units", "--failed", "--plain", "--no-legend")
    assert (state, failed) == (b"running", "")
    assert (
        hyper.out("exec", "c", "systemctl", "is-active", "dbus", "systemd-journald", "systemd-logind").split()
        == ["active"] * 3
    )
    hyper(
        "exec", "c", "systemd-run", "--wait", "-q", "-p", "MemoryMax=32M", "sh", "-c", "echo ran > /var/ran"
    )
    assert hyper.out("exec", "c", "cat", "/var/ran") == "ran"
    assert "echo ran > /var/ran" in hyper.out("exec", "c", "journalctl", "--no-pager", "-o", "cat")
    hyper("stop", "-t", "60", "c")  # SIGRTMIN+3
    assert hyper.inspect("c")["State"]["ExitCode"] == 0
    assert b"Exiting container." in hyper("logs", "c").stdout


def test_init_reaps_and_passes_signals_on(hyper: Hyper) -> None:
    orphans = "(sleep 0 & sleep 0 &); exec sleep 1000"
    hyper("run", "-d", "--name", "c", "--init", BUSYBOX, "sh", "-c", orphans)
    assert hyper.out("exec", "c", "cat", "/proc/1/comm") == "hyper-init"
    assert "sleep 1000" in hyper.out("top", "c")
    assert hyper.out("exec", "c", "sh", "-c", "grep -l 'State:.Z' /proc/[0-9]*/status || true") == ""
    hyper("stop", "-t", "60", "c")  # `sleep` as PID 1 would ignore the signal
    assert hyper.inspect("c")["State"]["ExitCode"] == 143
