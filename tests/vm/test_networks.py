"""Networks of real guests, of root's and of an ordinary user's: who reaches whom and by which name, what is published,
what is left."""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import json
import os
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import busybox_image
from audit import kill_process
from free_port import free_port
from host_address import host_address, taken
from hyper import Hyper
from hyper import hyper as hyper_context
from owners import OWNERS, hyper_of
from reach import http_get
from until import until

BUSYBOX = busybox_image.REFERENCE
SLEEP = ("sh", "-c", "sleep 1000")
SERVER = ("sh", "-c", 'mkdir /w; hostname > /w/name; exec httpd -f -p "$0" -h /w')

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="bridges want root")
OF_ROOT = pytest.mark.parametrize("owner", ["root"], indirect=True)  # what has other words for ordinary users


@pytest.fixture(scope="session", params=OWNERS)
def owner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def shared(owner: str, hypervisor: str) -> Iterator[Hyper]:
    with hyper_of(owner, hypervisor) as made:
        yield made


@pytest.fixture
def own_hyper(owner: str, hypervisor: str) -> Iterator[Hyper]:
    with hyper_of(owner, hypervisor) as made:
        yield made


@pytest.fixture
def network(hyper: Hyper) -> Iterator[Callable[..., str]]:
    """Makes one, which goes when the test has ended; its name."""
    made = []

    def make(name: str, *flags: str) -> str:
        hyper("network", "create", *flags, name)
        made.append(name)
        return name

    yield make
    hyper.remove_all()
    for name in made:
        hyper("network", "rm", name)


def address(hyper: Hyper, name: str, network: str = "bridge") -> str:
    return str(hyper.inspect(name)["NetworkSettings"]["Networks"][network]["IPAddress"])


def reaches(hyper: Hyper, name: str, other: str) -> bool:
    return hyper("exec", name, "ping", "-c", "1", "-W", "2", other, check=False).returncode == 0


def fetches(hyper: Hyper, name: str, url: str) -> str:
    """ "" where nothing comes."""
    done = hyper("exec", name, "timeout", "5", "wget", "-q", "-O", "-", url, check=False)
    return done.stdout.decode().strip()


def serve(hyper: Hyper, name: str, *flags: str, port: int = 80) -> None:
    hyper("run", "-d", "--name", name, "--hostname", name, *flags, BUSYBOX, *SERVER, str(port))


def served(where: str) -> str:
    """By somebody on this host, once it serves."""
    status, body = http_get(where, "/name")
    assert status == 200
    return body.decode().strip()


@pytest.mark.each_driver
def test_containers_find_one_another_by_name(hyper: Hyper) -> None:
    serve(hyper, "web")
    hyper("run", "-d", "--name", "client", BUSYBOX, *SLEEP)
    hyper.until(lambda: fetches(hyper, "client", "http://web/name") == "web", "web's answer")
    assert reaches(hyper, "web", "client")
    for name in ("web", "WEB", "web.bridge", hyper.inspect("web")["Id"][:12]):
        assert address(hyper, "web") in hyper.out("exec", "client", "nslookup", name)
    assert "web.bridge" in hyper.out("exec", "client", "nslookup", address(hyper, "web"))
    hyper("rm", "-f", "web")
    assert not reaches(hyper, "client", "web")


def test_networks_do_not_reach_each_other(hyper: Hyper, network: Callable[..., str]) -> None:
    front, back = network("front"), network("back")
    serve(hyper, "web", "--network", front)
    serve(hyper, "db", "--network", back)
    hyper("run", "-d", "--name", "both", "--network", front, "--network", back, BUSYBOX, *SLEEP)
    assert reaches(hyper, "both", "web") and reaches(hyper, "both", "db")
    assert not reaches(hyper, "web", "db")  # no name
    assert not reaches(hyper, "web", address(hyper, "db", back))  # and no way
    routed = f"ip route replace {address(hyper, 'db', back)} via {_gateway(hyper, 'web', front)}; "
    said = hyper.out("exec", "--privileged", "web", "sh", "-c", f"{routed} ping -c 1 -W 2 db; echo $?")
    assert said.endswith("1")


def _gateway(hyper: Hyper, name: str, network: str) -> str:
    return str(hyper.inspect(name)["NetworkSettings"]["Networks"][network]["Gateway"])


def test_a_network_without_a_way_out_is_nobodys_way_out(hyper: Hyper, network: Callable[..., str]) -> None:
    """Whatever its name or its priority; so behind one that is internal a front is reached, and reaches."""
    back, front = network("a-back", "--internal"), network("front")
    hyper(
        "run",
        "-d",
        "--name",
        "both",
        "--network",
        f"name={back},gw-priority=9",
        "--network",
        front,
        BUSYBOX,
        *SLEEP,
    )
    gateway = _gateway(hyper, "both", front)
    assert f"default via {gateway} " in hyper.out("exec", "both", "ip", "route")
    hyper("run", "-d", "--name", "late", "--network", back, BUSYBOX, *SLEEP)
    hyper("network", "connect", front, "late")
    assert f"default via {gateway} " in hyper.out("exec", "late", "ip", "route")


@pytest.mark.each_driver
def test_a_container_comes_into_a_network_and_leaves_it_while_it_runs(
    hyper: Hyper, network: Callable[..., str]
) -> None:
    more = network("more")
    hyper("run", "-d", "--name", "a", BUSYBOX, *SLEEP)
    hyper("run", "-d", "--name", "b", "--network", more, BUSYBOX, *SLEEP)
    assert not reaches(hyper, "a", "b")
    hyper("network", "connect", "--alias", "friend", more, "a")
    assert reaches(hyper, "a", "b") and reaches(hyper, "b", "a") and reaches(hyper, "b", "friend")
    assert set(hyper.inspect("a")["NetworkSettings"]["Networks"]) == {"bridge", more}
    hyper("network", "disconnect", more, "a")
    assert not reaches(hyper, "a", "b") and not reaches(hyper, "b", "friend")
    again = hyper("network", "disconnect", more, "a", check=False)
    assert again.returncode == 1 and b"is not in network more" in again.stderr
    hyper("network", "connect", more, "a")
    hyper("run", "-d", "--name", "c", BUSYBOX, *SLEEP)
    hyper("network", "disconnect", "bridge", "a")  # which it began with, and which has its way out
    assert "eth0" not in hyper.out("exec", "a", "ip", "route")
    hyper("network", "connect", "bridge", "a")
    assert reaches(hyper, "a", "c")
    hyper("network", "disconnect", "bridge", "a")
    assert reaches(hyper, "a", "b")
    hyper("restart", "-t", "0", "a")
    assert reaches(hyper, "a", "b")
    busy = hyper("network", "rm", more, check=False)
    assert busy.returncode == 1 and b"used by" in busy.stderr


def test_addresses_names_and_limits_of_a_network(hyper: Hyper, network: Callable[..., str]) -> None:
    own = network(
        "own", "--subnet", "10.251.7.0/24", "--ip-range", "10.251.7.128/25", "--gateway", "10.251.7.9"
    )
    hyper("run", "-d", "--name", "a", "--network", f"name={own},ip=10.251.7.20,alias=pair", BUSYBOX, *SLEEP)
    hyper("run", "-d", "--name", "b", "--network", own, "--network-alias", "pair", BUSYBOX, *SLEEP)
    assert address(hyper, "a", own) == "10.251.7.20"
    assert int(address(hyper, "b", own).rpartition(".")[2]) >= 128
    assert _gateway(hyper, "a", own) == "10.251.7.9"
    both = hyper.out("exec", "a", "nslookup", "pair")
    assert "10.251.7.20" in both and address(hyper, "b", own) in both
    for flags, complaint in (
        (("--ip", "10.251.7.20"), b"another pod's already"),
        (("--ip", "10.251.7.9"), b"is not for pods"),
        (("--ip", "10.9.9.9"), b"is not in 10.251.7.0/24"),
    ):
        refused = hyper("run", "--rm", "--network", own, *flags, BUSYBOX, "true", check=False)
        assert refused.returncode == 125 and complaint in refused.stderr
    taken = hyper("network", "create", "--subnet", "10.251.0.0/16", "wider", check=False)
    assert taken.returncode == 1 and b"overlaps" in taken.stderr


def test_an_internal_network_has_no_way_out(hyper: Hyper, network: Callable[..., str]) -> None:
    inside = network("inside", "--internal")
    serve(hyper, "web", "--network", inside)
    hyper("run", "-d", "--name", "a", "--network", inside, BUSYBOX, *SLEEP)
    hyper("run", "-d", "--name", "free", BUSYBOX, *SLEEP)
    hyper.until(lambda: fetches(hyper, "a", "http://web/name") == "web", "web's answer")
    with host_server("0.0.0.0") as port:
        here = _host(hyper, "free")
        assert fetches(hyper, "free", f"http://{here}:{port}/") == "of the host"
        assert fetches(hyper, "a", f"http://{here}:{port}/") == ""


def _host(hyper: Hyper, name: str) -> str:
    """The host, as the container calls it."""
    script = "cat /etc/hosts"
    said = hyper.out("run", "--rm", "--add-host", "up:host-gateway", BUSYBOX, "sh", "-c", script)
    return next(line.split()[0] for line in said.splitlines() if line.endswith("\tup"))


@contextlib.contextmanager
def host_server(where: str) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"of the host")

        def log_message(self, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((where, 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("kind", ["bridge", "user"])
def test_the_hosts_loopback_address_is_out_of_reach(hyper: Hyper, kind: str) -> None:
    hyper("run", "-d", "--name", "a", "--network", kind, BUSYBOX, *SLEEP)
    places = {_gateway(hyper, "a", kind), _host(hyper, "a"), "127.0.0.1", "169.254.53.53"}
    gateway = _gateway(hyper, "a", kind)
    with host_server("127.0.0.1") as port, ThreadPoolExecutor() as all_at_once:
        # Each may take as long as nobody answers.
        told = all_at_once.map(lambda place: fetches(hyper, "a", f"http://{place}:{port}/"), places)
        script = f"ip route add 127.9.9.9 via {gateway} dev eth0; timeout 5 wget -q -O - http://127.9.9.9:{port}/; true"
        assert hyper.out("exec", "--privileged", "a", "sh", "-c", script) == ""
        assert [*told] == [""] * len(places)


def test_a_port_of_the_hosts_loopback_address_is_opened(hyper: Hyper) -> None:
    with host_server("127.0.0.1") as port, host_server("127.0.0.1") as other:
        hyper("run", "-d", "--name", "a", "--host-loopback", str(port), BUSYBOX, *SLEEP)
        hyper("run", "-d", "--name", "b", BUSYBOX, *SLEEP)
        here = _host(hyper, "a")
        assert fetches(hyper, "a", f"http://{here}:{port}/") == "of the host"
        assert fetches(hyper, "a", f"http://{here}:{other}/") == ""
        assert fetches(hyper, "b", f"http://{here}:{port}/") == ""
        hyper("restart", "-t", "0", "a")
        assert fetches(hyper, "a", f"http://{here}:{port}/") == "of the host"
    for network in ("user", "none"):
        refused = hyper("run", "--network", network, "--host-loopback", "5432", BUSYBOX, "true", check=False)
        assert refused.returncode == 125 and b"nothing of the host's loopback address" in refused.stderr


def test_the_clouds_metadata_is_out_of_reach(hyper: Hyper) -> None:
    hyper("run", "-d", "--name", "a", BUSYBOX, *SLEEP)
    with host_address("169.254.169.254"), host_server("169.254.169.254") as port:
        assert fetches(hyper, "a", f"http://169.254.169.254:{port}/") == ""
        assert http_get(f"169.254.169.254:{port}")[1] == b"of the host"


def test_a_hostile_guest_speaks_for_itself_alone(hyper: Hyper) -> None:
    """As root of its VM it takes another's addresses; nothing that it sends by them arrives."""
    serve(hyper, "web")
    hyper("run", "-d", "--name", "a", BUSYBOX, *SLEEP)
    hyper("run", "-d", "--name", "thief", BUSYBOX, *SLEEP)
    hyper.until(lambda: fetches(hyper, "a", "http://web/name") == "web", "web's answer")
    web, own = address(hyper, "web"), address(hyper, "thief")
    assert reaches(hyper, "thief", "a")
    steal = f"ip address add {web}/16 dev eth0; arping -U -c 3 -I eth0 -s {web} {web}; true"
    hyper("exec", "--privileged", "thief", "sh", "-c", steal)
    assert fetches(hyper, "a", "http://web/name") == "web"
    stolen = f"ping -c 1 -W 2 -I {web} {address(hyper, 'a')}; echo $?"
    sent = hyper.out("exec", "--privileged", "thief", "sh", "-c", stolen)
    assert sent.endswith("1")
    hyper("exec", "--privileged", "thief", "sh", "-c", f"ip address del {web}/16 dev eth0")
    assert reaches(hyper, "thief", "a")
    mac = "ip link set eth0 down; ip link set eth0 address 02:aa:bb:cc:dd:ee; ip link set eth0 up"
    hyper("exec", "--privileged", "thief", "sh", "-c", mac)
    assert not reaches(hyper, "thief", address(hyper, "a"))
    assert own == address(hyper, "thief")


def test_a_restart_has_its_ports_again(hyper: Hyper) -> None:
    port = free_port()
    serve(hyper, "web", "-p", f"{port}:80")
    for _ in range(3):
        hyper("restart", "-t", "0", "web")
    assert served(f"127.0.0.1:{port}") == "web"


@pytest.mark.each_driver
def test_ports_in_all_forms(hyper: Hyper) -> None:
    first, second, third = free_port(), free_port(), free_port()
    serve(
        hyper,
        "web",
        "-p",
        f"{first}:80",
        "-p",
        f"127.0.0.1:{second}:80",
        "-p",
        "80",
        "-p",
        f"{third}:5000/udp",
    )
    for where in (f"127.0.0.1:{first}", f"127.0.0.1:{second}", f"{_host(hyper, 'web')}:{first}"):
        assert served(where) == "web"
    random = hyper.out("port", "web", "80/tcp").splitlines()
    assert any(served(line.replace("0.0.0.0", "127.0.0.1")) == "web" for line in random)
    taken = hyper("run", "--rm", "-p", f"{first}:80", BUSYBOX, "true", check=False)
    assert taken.returncode == 125 and b"already allocated" in taken.stderr
    with socket.socket() as somebody, pytest.raises(OSError, match="in use"):
        somebody.bind(("127.0.0.1", first))
    hyper("rm", "-f", "web")
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # past what is left of former connections
        hyper.until(lambda: _bound(free, first), "the port free again")


def _bound(sock: socket.socket, port: int) -> bool:
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


ECHO = """
import socket
taker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
taker.bind(("", 5000))
while True:
    data, client = taker.recvfrom(100)
    taker.sendto(data + client[0].encode(), client)
"""


def test_datagrams_come_and_go_by_a_published_port(hyper: Hyper, real_image: Callable[[str], str]) -> None:
    port = free_port()
    hyper("run", "-d", "-p", f"{port}:5000/udp", real_image("python"), "python3", "-u", "-c", ECHO)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:

        def heard() -> bytes:
            client.sendto(b"x", ("127.0.0.1", port))
            return client.recv(100) if select.select([client], [], [], 0.2)[0] else b""

        assert hyper.until(heard, "a datagram's echo").startswith(b"x10.")


def test_a_pod_reaches_published_ports_of_the_host(hyper: Hyper) -> None:
    port = free_port()
    serve(hyper, "web", "-p", f"{port}:80")
    hyper("run", "-d", "--name", "a", BUSYBOX, *SLEEP)
    here = _host(hyper, "a")
    hyper.until(lambda: fetches(hyper, "a", f"http://{here}:{port}/name") == "web", "another's port")
    assert fetches(hyper, "web", f"http://{here}:{port}/name") == "web"  # its own


def test_the_clients_address_is_kept(hyper: Hyper) -> None:
    """Of one that comes from elsewhere: here a namespace beside the host."""
    port = free_port()
    script = 'while :; do nc -l -p 80 -e sh -c "netstat -tn | grep :80"; done'
    hyper("run", "-d", "--name", "a", "-p", f"{port}:80", BUSYBOX, "sh", "-c", script)
    with neighbour("198.18.7.1", "198.18.7.2") as run:
        read = f"import socket; s = socket.create_connection(('198.18.7.1', {port}), 5); print(s.recv(4096).decode())"

        def seen() -> bool:
            return "198.18.7.2:" in run("python3", "-c", read)

        assert hyper.until(seen, "the client's address")


@contextlib.contextmanager
def neighbour(host: str, own: str) -> Iterator[Callable[..., str]]:
    """Somebody at the other end of a cable; gives a way to run programs there."""
    name = f"hn{os.getpid() % 100000}"
    steps = [
        f"ip netns add {name}",
        f"ip link add {name}a type veth peer name {name}b netns {name}",
        f"ip address add {host}/30 dev {name}a",
        f"ip link set {name}a up",
        f"ip -n {name} address add {own}/30 dev {name}b",
        f"ip -n {name} link set {name}b up",
    ]
    with contextlib.ExitStack() as undo:
        undo.enter_context(taken(host))
        undo.callback(subprocess.run, ["ip", "netns", "delete", name], check=True)
        for step in steps:
            subprocess.run(step.split(), check=True)

        def run(*words: str) -> str:
            done = subprocess.run(["ip", "netns", "exec", name, *words], capture_output=True, timeout=30)
            return done.stdout.decode()

        yield run


@pytest.mark.each_driver
def test_ipv6(hyper: Hyper, network: Callable[..., str]) -> None:
    dual = network("dual", "--ipv6")
    serve(hyper, "web", "--network", dual)
    hyper("run", "-d", "--name", "a", "--network", dual, BUSYBOX, *SLEEP)
    at = hyper.inspect("web")["NetworkSettings"]["Networks"][dual]["GlobalIPv6Address"]
    assert at.startswith("fd")
    assert hyper("exec", "a", "ping", "-6", "-c", "1", "-W", "3", "web").returncode == 0
    assert at in hyper.out("exec", "a", "nslookup", "-type=aaaa", "web")


def test_a_container_in_the_pod_of_another(hyper: Hyper) -> None:
    serve(hyper, "web")
    joined = hyper.out(
        "run", "--rm", "--network", "container:web", BUSYBOX, "sh", "-c", "ip -4 -o address show eth0"
    )
    assert address(hyper, "web") in joined
    there = ("run", "--rm", "--network", "container:web", BUSYBOX, "wget", "-q", "-O", "-", "localhost/name")
    hyper.until(lambda: hyper(*there, check=False).stdout == b"web\n", "the other's server on localhost")


def taps(hyper: Hyper) -> list[str]:
    keeper = json.loads((hyper.run_dir / "networks/keeper.json").read_bytes())["pid"]
    shown = subprocess.run(
        ["nsenter", "-t", str(keeper), "-n", "ip", "-j", "link"], capture_output=True, check=True
    )
    return [link["ifname"] for link in json.loads(shown.stdout) if link["ifname"].startswith("t-")]


@pytest.mark.each_driver
def test_networks_outlive_hyperd_and_go_with_their_pods(own_hyper: Hyper) -> None:
    hyper, port = own_hyper, free_port()
    serve(hyper, "web", "-p", f"{port}:80")
    hyper("run", "-d", "--name", "a", BUSYBOX, *SLEEP)
    assert served(f"127.0.0.1:{port}") == "web"
    kill_process(hyper.daemon_pid())
    assert http_get(f"127.0.0.1:{port}", "/name")[1] == b"web\n"  # nobody is needed for that
    with socket.socket() as somebody, pytest.raises(OSError, match="in use"):
        somebody.bind(("127.0.0.1", port))
    hyper.until(lambda: reaches(hyper, "a", "web"), "a new hyperd's answer")
    assert len(taps(hyper)) == 2
    with socket.socket() as somebody, pytest.raises(OSError, match="in use"):
        somebody.bind(("127.0.0.1", port))  # which takes the port back
    assert kill_process(hyper.vm_pid("web"))
    until(lambda: len(taps(hyper)) == 1, "the VM's device gone")
    assert not reaches(hyper, "a", "web")
    hyper("start", "web")
    assert served(f"127.0.0.1:{port}") == "web"


def test_networks_whose_keeper_was_killed_are_made_anew(own_hyper: Hyper) -> None:
    hyper = own_hyper
    hyper("network", "create", "own")
    hyper("run", "-d", "--name", "a", "--network", "own", BUSYBOX, *SLEEP)
    kill_process(json.loads((hyper.run_dir / "networks/keeper.json").read_bytes())["pid"])
    assert hyper.out("exec", "a", "echo", "lives") == "lives"
    serve(hyper, "web", "--network", "own")
    hyper("restart", "-t", "0", "a")
    hyper.until(lambda: fetches(hyper, "a", "http://web/name") == "web", "web's answer")


@OF_ROOT
def test_two_hyperds_have_networks_of_their_own(hyper: Hyper, hypervisor: str) -> None:
    hyper("run", "-d", "--name", "a", BUSYBOX, *SLEEP)
    with hyper_context(hypervisor=hypervisor) as other:
        other("load", stdin=busybox_image.archive([busybox_image.layer()]))
        other("run", "-d", "--name", "b", BUSYBOX, *SLEEP)
        mine, theirs = address(hyper, "a"), address(other, "b")
        assert ipaddress.ip_address(theirs) not in _subnet(hyper)
        assert ipaddress.ip_address(mine) not in _subnet(other)
        assert not reaches(hyper, "a", "b") and not reaches(hyper, "a", theirs)
    assert reaches(hyper, "a", _gateway(hyper, "a", "bridge"))


def _subnet(hyper: Hyper) -> ipaddress.IPv4Network:
    """Of its default network."""
    return ipaddress.IPv4Network(hyper.json("network", "inspect", "bridge")[0]["IPAM"]["Config"][0]["Subnet"])
