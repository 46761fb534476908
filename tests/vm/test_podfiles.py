"""Every shape of podfile, run for real on busybox, and looked at from inside."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import json
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import busybox_image
from free_port import free_port
from hyper import Hyper
from manifests import FOREVER
from reach import http_get

GOLDEN = Path(__file__).parents[1] / "golden" / "podfile"
BUSYBOX = busybox_image.REFERENCE
USERS = "localhost/users:latest"
PASSWD = (
    "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\nwww-data:x:33:33::/var/www:/bin/false\n"
)
GROUP = "root:x:0:\nmail:x:8:\nproxy:x:13:\ncdrom:x:24:\naudio:x:29:\nwww-data:x:33:\nnogroup:x:65534:\n"

Document = dict[str, Any]


class Pods:
    def __init__(self, hyper: Hyper) -> None:
        self.hyper = hyper

    def run(self, document: Document, *flags: str) -> str:
        """In the background; what the user was told, the pod's name is not."""
        return self.hyper(
            "run", "-d", *flags, "--podfile", "-", stdin=json.dumps(document).encode()
        ).stderr.decode()

    def ends(self, name: str) -> tuple[int, str]:
        """Waits for the container's end: its status, and all that it wrote."""
        status = int(self.hyper.out("wait", name))
        done = self.hyper("logs", name)
        return status, (done.stdout + done.stderr).decode().replace("\r\n", "\n")

    def sh(self, name: str, script: str) -> str:
        done = self.hyper("exec", name, "sh", "-c", script, check=False)
        return (done.stdout + done.stderr).decode().strip()

    def close(self) -> None:
        for name in self.hyper.out("pod", "ls", "-q").split():
            self.hyper("pod", "rm", "-f", name, check=False)


@pytest.fixture
def pods(hyper: Hyper) -> Iterator[Pods]:
    made = Pods(hyper)
    yield made
    made.close()


@pytest.fixture(scope="module")
def users(shared: Hyper) -> str:
    """An image that knows the users and groups that the podfiles speak of."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in (("etc/passwd", PASSWD), ("etc/group", GROUP)):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    shared("load", stdin=busybox_image.archive([busybox_image.layer(), out.getvalue()], USERS))
    return USERS


def golden(name: str, scripts: dict[str, str] | None = None, *, image: str = BUSYBOX) -> Document:
    """The golden podfile on ``image``, its containers named by their place where they have no name.

    ``scripts``: what they run; "*" stands for all that are not named.  Without, it is what the podfile says.
    """
    text = (GOLDEN / name).read_text()
    document: Document = yaml.safe_load(text) if name.endswith("yaml") else json.loads(text)
    members = next(value for key, value in document.items() if key.lower() == "containers")
    for index, member in enumerate(members):
        lower = {key.lower(): key for key in member}
        member[lower.get("image", "image")] = image
        own = str(member.get(lower.get("name", ""), index))
        script = (scripts or {}).get(own, (scripts or {}).get("*"))
        if script is not None:
            member[lower.get("command", "command")] = ["sh", "-c", script]
    return document


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


# ------------------------------------------------------------------------------------------------------ files


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serves ``tmp_path``, and says where."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_address[1]}"
        made.shutdown()
        thread.join()


def test_files_of_every_kind(pods: Pods, users: str, server: str, tmp_path: Path) -> None:
    picture = bytes(range(256))
    (tmp_path / "logo.png").write_bytes(picture)
    (tmp_path / "key.b64").write_bytes(base64.b64encode(b"secret"))
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    look = "cd /srv/in; for f in *; do stat -c '%a %u %g %n' $f; base64 $f | tr -d '\\n'; echo; done"
    document = golden("files_of_every_kind.json", {"reader": look}, image=users)
    for file in document["files"]:
        if "uri" in file:
            kept = file["uri"].startswith("file:")
            file["uri"] = (f"file://{tmp_path}" if kept else server) + "/" + file["uri"].rpartition("/")[2]
    told = pods.run(document)
    _, text = pods.ends("reader")
    shown = lines(text)
    found = {head: base64.b64decode(body) for head, body in zip(shown[::2], shown[1::2], strict=True)}
    assert found == {
        "0 0 0 broken": b"ood morning",
        "755 0 0 greeting": b"good morning\r\n",
        "400 65534 65534 key": b"secret",
        "644 1000 1000 logo.png": picture,
        "644 0 0 none": b"",
        "600 0 0 resolv.conf": b"nameserver 192.0.2.53\n",
        "755 0 0 text": "größer\n".encode(),
        "755 0 0 unpadded": b"hello",
    }
    assert "the base64 of file 'broken' is broken: 11 bytes of it are kept" in told
    assert "the base64 of file 'unpadded' is broken: 5 bytes of it are kept" in told


def test_what_is_defined_where_it_is_used(pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("of the host\n")
    look = "cat /etc/motd; stat -c %a /etc/motd; cat /in/note; echo written > /in/back"
    again = f"until test -e /again/back; do sleep 0.1; done; cat /elsewhere/note /again/back; {FOREVER}"
    document = golden("defined_where_used.json", {"a": look, "b": again})
    for member in document["containers"]:
        for volume in member["volumes"]:
            if "detail" in volume:
                volume["detail"]["source"] = str(tmp_path)
    pods.run(document)
    assert pods.ends("a") == (0, "welcome\n444\nof the host\n")
    pods.hyper.wait_for_log("b", b"written")
    assert (tmp_path / "back").read_text() == "written\n"


# ------------------------------------------------------------------------------------------------------ users

IDENTITIES = {
    "user_by_name.json": {"user-by-name": "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)"},
    "user_by_number_with_groups.json": {
        "numbers": "uid=33(www-data) gid=13(proxy) groups=8(mail),13(proxy),24(cdrom)",
        "groups": "uid=0(root) gid=0(root) groups=0(root),29(audio)",
        "short": "uid=33(www-data) gid=33(www-data) groups=33(www-data)",
        "nobody-said": "uid=0(root) gid=0(root) groups=0(root)",
    },
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_users(pods: Pods, users: str, name: str) -> None:
    document = golden(name, {"*": "id"}, image=users)
    document["containers"][0].setdefault("name", "user-by-name")
    pods.run(document)
    assert {one: pods.ends(one)[1].strip() for one in IDENTITIES[name]} == IDENTITIES[name]


# ---------------------------------------------------------------------------------------------------- volumes


def test_new_volumes(pods: Pods) -> None:
    look = "df -T /data /more | awk '{print $2}'; grep -E ' /(data|more) ' /proc/mounts; echo x > /data/x; ls /more"
    document = golden("new_volume.json", {"*": look})
    document["containers"][0]["name"] = "new"
    pods.run(document)
    status, text = pods.ends("new")
    shown = lines(text)
    assert shown[:3] == ["Type", "ext4", "ext4"]
    assert [line.split()[2] for line in shown[3:]] == ["ext4", "ext4"]
    assert all(line.split()[3].startswith("rw,") for line in shown[3:])
    assert status == 0


def test_shared_volumes(pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "from-host").write_text("hello\n")
    look = "until test -e /log/line; do sleep 0.1; done; cat /log/line; touch /log/x; touch /also-log/y; ls -1 /log"
    document = golden("shared_volumes.json", {"reader": look})
    document["volumes"][1]["source"] = str(tmp_path)
    pods.run(document)
    assert pods.ends("writer") == (0, "hello\n")
    assert pods.ends("reader")[1] == "written\ntouch: /log/x: Read-only file system\nline\ny\n"


def test_one_file_of_the_host(pods: Pods, tmp_path: Path) -> None:
    file = tmp_path / "hosts.allow"
    file.write_text("ALL: LOCAL\n")
    document = golden("one_file_of_the_host.json", {"*": "cat /etc/hosts.allow; echo x >> /etc/hosts.allow"})
    document["volumes"][0]["source"] = str(file)
    pods.run(document)
    _, text = pods.ends("mapping")
    assert lines(text)[0] == "ALL: LOCAL"
    assert "Read-only file system" in text
    assert file.read_text() == "ALL: LOCAL\n"


@pytest.mark.needs("qcow2")
def test_disk_images(pods: Pods, tmp_path: Path) -> None:
    raw, qcow2 = tmp_path / "seed.raw", tmp_path / "data.qcow2"
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / "note").write_text("seed\n")
    subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", "-d", tmp_path / "content", raw, "16M"],
        check=True,
        capture_output=True,
    )
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2], check=True)
    look = "cd /var/lib/postgresql/data; cat note /seed/note; echo new > note; sync; cat note; touch /seed/x"
    document = golden("disk_images.json", {"*": look})
    for volume, path in zip(document["volumes"], (qcow2, raw), strict=True):
        volume["source"] = str(path)
    pods.run(document)
    _, text = pods.ends("db")
    assert lines(text) == ["seed", "seed", "new", "touch: /seed/x: Read-only file system"]


def test_a_volume_by_an_anchor(pods: Pods) -> None:
    read = "until test -e /data/x; do sleep 0.1; done; cat /data/x"
    pods.run(golden("with_anchor.yaml", {"first": "echo of the first > /data/x", "second": read}))
    assert pods.ends("second") == (0, "of the first\n")


# ------------------------------------------------------------------------------------------- names and places


def test_host_name_and_name_servers(pods: Pods) -> None:
    look = "hostname; hostname -f; cat /etc/hostname /etc/resolv.conf; pwd"
    pods.run(golden("host_name.json", {"asks": look}))
    assert lines(pods.ends("asks")[1]) == [
        *["mail.example.org"] * 3,
        "nameserver 169.254.53.53",  # which asks those that the podfile names
        "search example.org",
        "options ndots:2 rotate",
        "/",
    ]


def test_port_ranges(pods: Pods) -> None:
    first = free_range(3)
    udp = free_port()
    serve = "; ".join(f"nc -ll -p {port} -e echo tcp {port} &" for port in (1300, 1301, 1302, 80, 9001))
    serve = serve.replace("&;", "&") + f" echo up; {FOREVER}"
    document = golden("port_ranges.json", {"listener": serve})
    table = document["portmappings"]
    table[0]["hostport"] = f"{first}-{first + 2}"
    table[1]["hostPort"] = free_port()
    table[2]["hostPort"] = str(udp)
    pods.run(document)
    pods.hyper.wait_for_log("listener", b"up")
    reached = {
        line.split(" -> ")[0].split()[-1]: line.split(" -> ")[1]
        for line in pods.hyper.out("ports", "ls", "ports").splitlines()
        if " -> " in line
    }
    assert [reached[f"{port}/tcp"].rpartition(":")[2] for port in (1300, 1301, 1302)] == [
        str(first + index) for index in range(3)
    ]
    for port in (1300, 1301, 1302, 80, 9001):
        address = reached[f"{port}/tcp"].rpartition(":")
        answer = pods.hyper.until(functools.partial(hear, int(address[2])), f"port {port} answers")
        assert answer == f"tcp {port}\n".encode()
    assert reached["53/udp"].endswith(f":{udp}")
    assert "4000/udp" in reached
    assert 19000 <= int(reached["9/tcp"].rpartition(":")[2]) <= 19005
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        pytest.raises(OSError, match="in use"),
    ):
        one.bind(("127.0.0.1", udp))


def hear(port: int) -> bytes:
    """What the server says, b"" where it does not listen yet."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as one:
            return one.recv(100)
    except ConnectionError:
        return b""


def free_range(count: int) -> int:
    """The first of so many free ports in a row."""
    while True:
        first = free_port()
        try:
            for port in range(first, first + count):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return first


# ------------------------------------------------------------------------------------------------- processes


def test_terminals(pods: Pods) -> None:
    document = golden("terminal.json")
    document["containers"][1]["name"] = "second"
    pods.run(document)
    for name in ("shell", "second"):
        assert pods.sh(name, "readlink /proc/$$/fd/0 | grep -c pts; readlink /proc/1/fd/0") != ""
        assert pods.hyper.inspect(name)["Config"]["Tty"]
    pods.hyper("kill", "shell")


def test_a_root_that_cannot_be_written(pods: Pods) -> None:
    document = golden("read_only_root.json")
    member = document["containers"][0]
    assert member["command"].endswith("'")
    member["command"] = member["command"][:-1] + '; touch /tmp/x || echo "and that"\''
    pods.run(document)
    status, text = pods.ends("fixed")
    touched = [f"touch: {path}: Read-only file system" for path in ("/tmp/x", "/x")]
    assert (status, sorted(lines(text))) == (0, ["and that", "read only", *touched])


def test_limits_sysctls_and_logs(pods: Pods) -> None:
    look = "ulimit -Sn; ulimit -Hn; ulimit -l; ulimit -c; cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmax"
    told = pods.run(
        golden(
            "limits_and_logs.json",
            {"a": f"{look}; printf 'no newline'", "b": "echo again; printf end; exit 1"},
        )
    )
    status, text = pods.ends("a")
    assert (status, lines(text)) == (0, ["1024", "4096", "unlimited", "0", "1024", "67108864", "no newline"])
    assert not text.endswith("\n")
    pods.hyper.until(lambda: pods.hyper.inspect("b")["RestartCount"] >= 2, "it was started again")
    assert pods.hyper("logs", "b").stdout.startswith(b"again\nendagain\nend")
    assert pods.hyper.inspect("a")["RestartCount"] == 0
    assert "logPath: ignored" in told
    # Beside one another, what has no end of its own gets one.
    both = pods.hyper.out("pod", "logs", "limited").splitlines()
    assert "a | no newline" in both


def test_processes_and_segments_are_the_pods(pods: Pods) -> None:
    document = {
        "id": "together",
        "containers": [
            {"name": "one", "image": BUSYBOX, "command": ["sh", "-c", "echo up; exec sleep 12345"]},
            {"name": "two", "image": BUSYBOX, "command": ["sh", "-c", FOREVER]},
        ],
    }
    pods.run(document)
    pods.hyper.wait_for_log("one", b"up")
    assert "sleep 12345" in pods.sh("two", "ps")
    pods.sh("two", "echo shared > /dev/shm/x; echo own > /x; kill -KILL $(pidof sleep)")
    assert pods.hyper.out("wait", "one") == "137"
    pods.hyper("start", "one")
    assert pods.sh("one", "cat /dev/shm/x; ls /x").startswith("shared\nls: /x: No such file")
    assert pods.hyper.inspect("two")["State"]["Status"] == "running"


# ------------------------------------------------------------------------------------------- whatever is left


def test_numbers_as_strings(pods: Pods) -> None:
    text = (
        (GOLDEN / "numbers_as_strings_odd_case_nulls.json").read_text().replace('"busybox"', f'"{BUSYBOX}"')
    )
    told = pods.hyper("run", "-d", "--podfile", "-", stdin=text.encode()).stderr.decode()
    assert pods.ends("c1") == (0, "1 2.50 true\n")
    assert "colour" in told
    vm = pods.hyper.json("pod", "inspect", "odd")[0]["VM"]
    assert (vm["MemoryMiB"], vm["Vcpus"]) == (128, 2)


def test_what_a_container_is_told(pods: Pods) -> None:
    look = f"echo $LEVEL; env | grep -E 'EMPTY|EQUATION'; pwd; trap 'echo interrupted; exit 3' INT; echo up; {FOREVER}"
    look = look.replace("trap 'exit 0' TERM; ", "")
    pods.run(golden("web_and_helper.json", {"web": "echo run; exit 0", "cache": look}))
    assert pods.ends("web") == (0, "run\n")
    pods.hyper.wait_for_log("cache", b"up")
    found = lines(pods.hyper.out("logs", "cache"))
    assert found[0] == "notice"
    assert sorted(found[1:3]) == ["EMPTY=", "EQUATION=a=b"]
    assert found[3:] == ["/data", "up"]
    assert pods.hyper.inspect("web")["Config"]["Labels"] == {"tier": "front", "Zone": ""}
    assert pods.hyper.json("pod", "inspect", "shop")[0]["Labels"] == {"app": "shop"}
    pods.hyper("pod", "stop", "shop")
    assert lines(pods.hyper.out("logs", "cache"))[-1] == "interrupted"
    assert pods.hyper.inspect("cache")["State"]["ExitCode"] == 3


def test_a_podfile_in_yaml(pods: Pods, users: str) -> None:
    port = free_port()
    text = (GOLDEN / "with_name.yaml").read_text()
    for old, new in (
        ("image: python:3.11", f"image: {users}"),
        ("image: busybox", f"image: {users}"),
        ("[python3, -m, http.server, 8000]", "[httpd, -f, -p, 8000, -h, /etc/app]"),
        ("hostPort: 8000", f"hostPort: {port}"),
    ):
        assert old in text
        text = text.replace(old, new)
    pods.hyper("run", "-d", "--podfile", "-", stdin=text.encode())
    assert http_get(f"127.0.0.1:{port}", "/app.conf") == (200, b'[app]\ncolour = "green"\n')
    shown = lines(
        pods.sh("app", "stat -c '%a %u %g' /etc/app/app.conf; tr '\\0' '\\n' < /proc/$(pidof httpd)/environ")
    )
    assert shown[0].startswith("640 33 ")
    assert {"DEBUG=yes", "VERSION=1.10", "NOTHING="} <= set(shown)
    assert "Read-only" in pods.sh("side", "touch /x")
    assert pods.sh("side", "ps | grep -c '[s]leep 1000'") == "1"


NAMED: dict[str, Callable[[Hyper], bool]] = {
    "smallest.json": lambda hyper: hyper.out("pod", "ls", "--format", "{{.Name}}") != "",
    "with_comments.json": lambda hyper: hyper.out("pod", "ls", "--format", "{{.Name}}") == "relaxed",
    "named_by_id_and_name.json": lambda hyper: (
        set(hyper.out("ps", "-a", "--format", "{{.Names}}").split()) == {"c-id", "y"}
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_says_little(pods: Pods, name: str) -> None:
    text = (GOLDEN / name).read_text().replace('"busybox"', f'"{BUSYBOX}"')
    pods.hyper("run", "-d", "--podfile", "-", stdin=text.encode())
    states = pods.hyper.out("ps", "-a", "--format", "{{.State}}").split()
    assert set(states) == {"running"}  # a shell waits for whoever attaches
    assert NAMED[name](pods.hyper)


def test_networks_of_its_own_choice(pods: Pods) -> None:
    hyper = pods.hyper
    hyper("network", "create", "--subnet", "10.233.78.0/24", "shop")
    hyper("network", "create", "admin")
    try:
        text = (GOLDEN / "services_and_interfaces.json").read_text().replace('"busybox"', f'"{BUSYBOX}"')
        told = hyper("run", "-d", "--podfile", "-", stdin=text.encode()).stderr.decode()
        assert [word in told for word in ("mtu", "ifname", "gateway")] == [True, True, True]
        assert "02:42:ac:11:00:02" in pods.sh("c", "ip link show eth0")
        assert "10.233.78.9/24" in pods.sh("c", "ip -4 addr show eth0")
        assert "inet " in pods.sh("c", "ip -4 addr show eth1")
        assert "default via 10.233.78.1 dev eth0" in pods.sh("c", "ip route")
    finally:
        hyper("pod", "rm", "-f", "front", check=False)
        hyper("network", "rm", "shop", "admin")


def test_every_golden_podfile_is_run_here() -> None:
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert {
        path.name for path in GOLDEN.iterdir() if path.suffix in (".json", ".yaml") if path.name not in text
    } == set()
