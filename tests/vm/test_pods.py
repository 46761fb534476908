"""Pods of real images in one real VM: what their containers share, and what they never see of one another."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import busybox_image
from hyper import Hyper
from hypercontainer.hypervisor import shares
from hypercontainer.linux.process import family_cpu_ns
from reach import http_get

RealImage = Callable[[str], str]
BUSYBOX = busybox_image.REFERENCE

# Serves what it finds of its neighbours: the page of one, the answer of the other.
PROGRAM = b"""
import http.server, socket, urllib.request

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        page = urllib.request.urlopen("http://localhost/").read()
        redis = socket.create_connection(("localhost", 6379))
        redis.sendall(b"INCR visits\\r\\n")
        answer = page + redis.makefile("rb").readline()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer)

print("ready", flush=True)
http.server.HTTPServer(("", 8000), Handler).serve_forever()
"""

# SysV shared memory and a POSIX queue, by the C library alone: what one writes the other reads.
IPC = b"""
import ctypes, sys

libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
segment = libc.shmget(0x6879, 4096, 0o1666)
place = libc.shmat(segment, None, 0)
queue = libc.mq_open(b"/hyper", 0o102, 0o666, None)
if sys.argv[1] == "write":
    ctypes.memmove(place, b"shared", 7)
    assert libc.mq_send(queue, b"queued", 6, 0) == 0
else:
    room = ctypes.create_string_buffer(8192)
    length = libc.mq_receive(queue, room, 8192, None)
    print(ctypes.string_at(place).decode(), room.raw[:length].decode())
"""


def three(real_image: RealImage, tmp_path: Path, *, share_pids: bool) -> str:
    """A manifest of a web server, a program and a database."""
    members: list[dict[str, object]] = [
        {"name": "web", "image": real_image("nginx")},
        {
            "name": "app",
            "image": real_image("python"),
            "command": ["python3", "/srv/app.py"],
            "volumeMounts": [{"name": "code", "mountPath": "/srv"}],
            "ports": [{"containerPort": 8000}],
        },
        {"name": "db", "image": real_image("redis")},
    ]
    for member in members:
        member["imagePullPolicy"] = "IfNotPresent"
    documents = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "code"},
            "data": {"app.py": PROGRAM.decode(), "ipc.py": IPC.decode()},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "trio"},
            "spec": {
                "shareProcessNamespace": share_pids,
                "terminationGracePeriodSeconds": 5,
                "restartPolicy": "Never",
                "containers": members,
                "volumes": [{"name": "code", "configMap": {"name": "code"}}],
            },
        },
    ]
    file = tmp_path / "trio.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
    return str(file)


def processes(hyper: Hyper, container: str) -> str:
    """What a program in the container can see."""
    script = 'for p in /proc/[0-9]*; do tr "\\0" " " < $p/cmdline; echo; done'
    return hyper.out("exec", container, "sh", "-c", script)


def test_three_real_images(hyper: Hyper, real_image: RealImage, tmp_path: Path) -> None:
    manifest = three(real_image, tmp_path, share_pids=False)
    hyper("play", manifest, timeout_s=300)
    hyper.wait_for_log("trio-app", b"ready")
    hyper.wait_for_log("trio-db", b"Ready to accept connections")
    hyper("ports", "add", "trio", "8000")
    address = hyper.out("ports", "ls", "trio").rpartition("-> ")[2]
    assert http_get(address) == (200, b"served by hyper\n:1\r\n")

    # Files of their own: none sees another's, not by /proc either.
    assert hyper("exec", "trio-app", "ls", "/etc/nginx", check=False).returncode != 0
    assert hyper("exec", "trio-web", "ls", "/srv/app.py", check=False).returncode != 0
    seen = processes(hyper, "trio-app")
    assert "app.py" in seen
    assert "nginx" not in seen
    assert "redis" not in seen

    # Memory and queues are the pod's.
    hyper("exec", "trio-app", "python3", "/srv/ipc.py", "write")
    assert hyper.out("exec", "trio-db", "sh", "-c", "ls /dev/mqueue") == "hyper"
    assert "0x00006879" in hyper.out("exec", "trio-web", "cat", "/proc/sysvipc/shm") or "26745" in hyper.out(
        "exec", "trio-web", "cat", "/proc/sysvipc/shm"
    )
    hyper("exec", "trio-db", "sh", "-c", "echo posix > /dev/shm/note")
    assert hyper.out("exec", "trio-web", "cat", "/dev/shm/note") == "posix"
    assert hyper.out("exec", "trio-app", "python3", "/srv/ipc.py", "read") == "shared queued"
    hyper("down", manifest)
    assert hyper.out("ps", "-aq") == ""


def test_processes_are_seen_and_signalled_where_the_namespace_is_shared(
    hyper: Hyper, real_image: RealImage, tmp_path: Path
) -> None:
    hyper("play", three(real_image, tmp_path, share_pids=True), timeout_s=300)
    hyper.wait_for_log("trio-db", b"Ready to accept connections")
    seen = processes(hyper, "trio-web")
    assert "redis-server" in seen
    assert "app.py" in seen
    found = hyper.out("exec", "trio-web", "sh", "-c", "grep -l [a]pp.py /proc/[0-9]*/cmdline | head -1")
    number = found.split("/")[2]
    hyper("exec", "trio-web", "sh", "-c", f"kill -KILL {number}")
    assert hyper.out("wait", "trio-app") == "137"
    assert state(hyper, "trio-web") == ("running", 0)
    assert hyper("exec", "trio-app", "ls", "/etc/nginx", check=False).returncode != 0
    hyper("pod", "rm", "-f", "trio")


def create(hyper: Hyper, name: str, *members: tuple[str, str], **more: object) -> None:
    """A pod of busybox containers: (name, script of its shell)."""
    containers = [
        {"name": member, "image": BUSYBOX, "command": ["sh", "-c", script]} for member, script in members
    ]
    podfile = {"id": name, "containers": containers, **more}
    hyper("create", "--podfile", "-", stdin=json.dumps(podfile).encode())


FOREVER = "trap 'exit 0' TERM; echo up; while :; do sleep 1000 & wait $!; done"


def state(hyper: Hyper, name: str) -> tuple[str, int]:
    shown = hyper.inspect(name)["State"]
    return shown["Status"], shown["ExitCode"]


@pytest.mark.each_driver
def test_one_ends_and_the_others_live(hyper: Hyper) -> None:
    create(hyper, "p", ("p-a", FOREVER), ("p-b", "exit 7"))
    hyper("pod", "start", "p")
    hyper("wait", "p-b")
    assert state(hyper, "p-b") == ("exited", 7)
    assert state(hyper, "p-a") == ("running", 0)
    hyper("start", "p-b")
    assert hyper.out("wait", "p-b") == "7"
    hyper("stop", "p-a")
    assert hyper.out("pod", "ls", "--format", "{{.Status}}").startswith("Failed")
    hyper("pod", "rm", "p")


BUSY = "echo busy; while :; do :; done"


def cpu_ticks(pid: int) -> int:
    """Used so far, by it and its children."""
    return family_cpu_ns(pid) * os.sysconf("SC_CLK_TCK") // 10**9


def used_meanwhile(hyper: Hyper, pid: int) -> int:
    """By a process, while other containers come and go."""
    before = cpu_ticks(pid)
    for _ in range(3):
        hyper("run", "--rm", BUSYBOX, "true")
    return cpu_ticks(pid) - before


@pytest.mark.each_driver
def test_a_paused_pod_costs_no_cpu(hyper: Hyper) -> None:
    create(hyper, "p", ("hot", BUSY), ("other", BUSY))
    hyper("pod", "start", "p")
    for name in ("hot", "other"):
        hyper.wait_for_log(name, b"busy")
    pid = hyper.vm_pid("hot")
    assert used_meanwhile(hyper, pid) > 5
    hyper("pod", "pause", "p")
    assert used_meanwhile(hyper, pid) <= 1
    assert hyper.json("pod", "inspect", "p")[0]["State"] == "Paused"
    for words in (("exec", "hot", "true"), ("exec", "--vm", "p", "hyper-connect"), ("start", "hot")):
        assert b"paused" in hyper(*words, check=False).stderr
    assert b"hyper pod unpause p" in hyper("unpause", "hot", check=False).stderr

    # One of them is ended, and the other goes on standing still: over the end of hyperd, too.
    hyper("kill", "other")
    assert state(hyper, "other") == ("exited", 137)
    assert used_meanwhile(hyper, pid) <= 1
    hyper("system", "stop")
    assert state(hyper, "hot") == ("paused", 0)
    assert used_meanwhile(hyper, pid) <= 1
    hyper("pod", "unpause", "p")
    assert state(hyper, "hot") == ("running", 0)
    assert hyper.out("exec", "hot", "echo", "back") == "back"
    assert hyper.vm_pid("hot") == pid
    assert used_meanwhile(hyper, pid) > 5
    hyper("pod", "pause", "p")
    hyper("pod", "rm", "-f", "p")
    assert hyper.out("ps", "-aq") == ""


def test_one_is_killed_for_memory_and_the_others_live(hyper: Hyper) -> None:
    hog = r"x=$(head -c 100000000 /dev/zero | tr '\0' x); echo survived"
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "oom"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {"name": "calm", "image": BUSYBOX, "command": ["sh", "-c", FOREVER]},
                {
                    "name": "hog",
                    "image": BUSYBOX,
                    "command": ["sh", "-c", hog],
                    "resources": {"limits": {"memory": "16Mi"}},
                },
            ],
        },
    }
    for container in manifest["spec"]["containers"]:  # type: ignore[index]
        container["imagePullPolicy"] = "Never"
    hyper("play", "-", stdin=json.dumps(manifest).encode())
    assert hyper.out("wait", "oom-hog") == "137"
    shown = hyper.inspect("oom-hog")["State"]
    assert shown["OOMKilled"]
    assert state(hyper, "oom-calm") == ("running", 0)
    assert b"survived" not in hyper("logs", "oom-hog").stdout
    hyper("pod", "rm", "-f", "oom")


def test_a_container_comes_with_its_image_and_goes_with_it(hyper: Hyper, real_image: RealImage) -> None:
    create(hyper, "grow", ("grow-a", FOREVER))
    hyper("pod", "start", "grow")
    debian = real_image("debian")
    hyper("create", "-c", "grow", "--name", "guest", debian, "sh", "-c", FOREVER)
    hyper("start", "guest")
    assert "Debian" in hyper.out("exec", "guest", "cat", "/etc/os-release")
    hyper("exec", "guest", "sh", "-c", "echo kept > /root/note")
    hyper("restart", "-t", "1", "guest")
    assert hyper.out("exec", "guest", "cat", "/root/note") == "kept"
    hyper("rm", "-f", "guest")
    assert state(hyper, "grow-a") == ("running", 0)
    hyper("run", "--rm", "--pod", "grow", debian, "true")
    hyper("run", "--rm", "--pod", "grow", debian, "true")  # the disk was taken out, and is put in again
    hyper("pod", "rm", "-f", "grow")


def test_in_the_vm_outside_of_any_container(hyper: Hyper) -> None:
    create(hyper, "p", ("p-a", FOREVER))
    hyper("pod", "start", "p")
    assert "/init" in hyper.out("exec", "--vm", "p", "cat", "/proc/1/cmdline")
    assert hyper.out("exec", "--vm", "p", "sh", "-c", "hostname") == "p"
    assert hyper("exec", "--vm", "p", "no-such-program", check=False).returncode == 127
    hyper("pod", "rm", "-f", "p")


def test_volumes(hyper: Hyper) -> None:
    hyper("volume", "create", "--label", "a=b", "data")
    try:
        hyper("run", "--rm", "-v", "data:/data", BUSYBOX, "sh", "-c", "echo kept > /data/note; sync")
        assert hyper.out("run", "--rm", "-v", "data:/other:ro", BUSYBOX, "cat", "/other/note") == "kept"
        read_only = hyper("run", "--rm", "-v", "data:/data:ro", BUSYBOX, "touch", "/data/x", check=False)
        assert b"Read-only file system" in read_only.stderr
    finally:
        hyper("volume", "rm", "data")
    assert "data" not in hyper.out("volume", "ls", "-q").split()


@pytest.mark.each_driver
def test_what_was_written_to_a_volume_is_there_however_its_vm_ended(hyper: Hyper) -> None:
    write = "echo {} > /data/note; echo done; exec sleep 1000"
    try:
        hyper("run", "--rm", "-v", "keep:/data", BUSYBOX, "sh", "-c", "echo one > /data/note")
        assert hyper.out("run", "--rm", "-v", "keep:/data", BUSYBOX, "cat", "/data/note") == "one"
        for number, verb in enumerate((("rm", "-f"), ("kill",), ("stop", "-t", "0"))):
            hyper("run", "-d", "--name", "c", "-v", "keep:/data", BUSYBOX, "sh", "-c", write.format(number))
            hyper.wait_for_log("c", b"done")
            hyper(*verb, "c")
            hyper("rm", "-f", "c", check=False)
            assert hyper.out("run", "--rm", "-v", "keep:/data", BUSYBOX, "cat", "/data/note") == str(number)
    finally:
        hyper("volume", "rm", "keep")


@pytest.fixture
def without_virtiofsd(hyper: Hyper) -> Iterator[None]:
    """hyperd, started anew where there is none."""
    hyper.stop()
    places = " ".join(f"{place}/virtiofsd" for place in shares.PLACES)
    hide = f'for file in {places}; do [ ! -e $file ] || mount --bind /dev/null $file; done; exec "$@"'
    command = ["unshare", "-m", "sh", "-ec", hide, "sh", *hyper.argv("ps")]
    subprocess.run(command, env=hyper.environment, check=True, stdout=subprocess.DEVNULL)
    yield
    hyper.stop()
    hyper("ps")


@pytest.mark.each_driver
@pytest.mark.parametrize("filesystem", ["virtiofs", pytest.param("9p", marks=pytest.mark.needs("9p"))])
def test_a_directory_and_a_file_of_the_host(
    hyper: Hyper, tmp_path: Path, filesystem: str, request: pytest.FixtureRequest
) -> None:
    if filesystem == "9p":
        request.getfixturevalue("without_virtiofsd")
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "in").write_text("from the host\n")
    (folder / "out").symlink_to("/etc/hostname")
    script = "cat /s/in; echo from the guest > /s/back; ls /s; cat /s/out; cat /etc/one; mount | grep ' /s '"
    done = hyper.out(
        *("run", "--rm", "-v", f"{folder}:/s", "-v", f"{folder}/in:/etc/one:ro", "--hostname", "guest"),
        *(BUSYBOX, "sh", "-c", script),
    )
    # The link leads where it says in the guest, and nowhere on the host.
    *lines, mounted = done.splitlines()
    assert lines == ["from the host", "back", "in", "out", "guest", "from the host"]
    assert f" type {filesystem} (rw," in mounted
    assert "nosuid,nodev" in mounted
    assert (folder / "back").read_text() == "from the guest\n"
    refused = hyper("run", "--rm", "-v", f"{hyper.root}:/s", BUSYBOX, "true", check=False)
    assert refused.returncode == 125
    assert b"is not shared" in refused.stderr


def test_without_virtiofsd_user_mode_linux_shares_nothing(
    hyper: Hyper, hypervisor: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if hypervisor != "uml":
        pytest.skip("QEMU has 9p")
    request.getfixturevalue("without_virtiofsd")
    refused = hyper("run", "--rm", "-v", f"{tmp_path}:/s", BUSYBOX, "true", check=False)
    assert refused.returncode == 125
    assert b"cannot be shared: there is no virtiofsd" in refused.stderr
