"""What networks carry: TCP beside bare taps of the same driver, HTTP beside docker's bridge and its proxy."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import dockerd
import real_images
from bench.bare_guests import bare_guests
from bench.measure import Row, figures_in_turns, median, run, spread
from bench.rates import IPERF_PORT, asker, client, patient, rate, requests_a_second
from free_port import free_port
from hyper import Hyper
from until import until

MEMORY_MIB = 512
RATIO = 0.9
ASIDE = "192.0.2.1"  # whoever is not here: by which of its addresses this host would ask it
LOOPBACK = "127.0.0.1"
# Without a line of its log for each request.
NGINX = (
    "localhost/nginx:latest",
    *(
        "sh",
        "-c",
        "sed -i 's/access_log .*/access_log off;/' /etc/nginx/nginx.conf; exec nginx -g 'daemon off;'",
    ),
)
DRIVERS = {"uml": "User Mode Linux", "qemu": "emulation"}


def measure(hypervisor: str, made: Hyper, rounds: int) -> list[Row]:
    made.load(real_images.path("iperf3"))
    port, memory = free_port(), ("-m", f"{MEMORY_MIB}m")
    image = "localhost/iperf3:latest"
    made("run", "-d", "--name", "server", *memory, "-p", f"{port}:{IPERF_PORT}", image)
    made("run", "-d", "--name", "asker", *memory, image, "sleep", "1000000")
    server = address(made, "server")
    ways: dict[str, Callable[[], float]] = {
        "guest": partial(_from, (), client(server)),
        "host": partial(_from, (), client(own_address(), port)),
        "loopback": partial(_from, (), client(LOOPBACK, port)),
        "guests": partial(_from, made.argv("exec", "asker"), client(server), made),
    }
    until(lambda: answers(ways["guest"]), "iperf3 in a container")
    mtu = int(made("exec", "asker", "cat", "/sys/class/net/eth0/mtu").stdout)
    with bare_guests(hypervisor, MEMORY_MIB, mtu) as bare:
        ways |= {"bare": bare.from_host, "between": bare.from_guest}
        patiently = {name: partial(patient, way) for name, way in ways.items()}
        taken = figures_in_turns(rounds, patiently, back_and_forth=True)
    made("rm", "-f", "server", "asker")
    where = DRIVERS[hypervisor]
    return [
        _row(f"TCP from the host to a guest, {where}", taken["guest"], taken["bare"], "a bare tap"),
        _row("the same, through a port of the host's address", taken["host"], taken["guest"], "that"),
        _row(f"the same, through a port of {LOOPBACK}", taken["loopback"], taken["guest"], "that"),
        _row(f"TCP from guest to guest, {where}", taken["guests"], taken["between"], "bare taps on a bridge"),
    ]


def _row(name: str, own: Sequence[float], others: Sequence[float], beside: str) -> Row:
    took, other = median(own), median(others)
    against = f"{took / other:.2f} x {beside} ({other:.3f}, {spread(others)}); {spread(own)}"
    return Row(name, took, "Gbit/s", RATIO * other, against, tuple(own), at_least=True)


def _from(command: Sequence[str], asks: Sequence[str], made: Hyper | None = None) -> float:
    environment = made.environment if made else None
    done = subprocess.run(
        [*command, *asks], stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=60
    )
    return rate(done.stdout.decode())


def answers(figure: Callable[[], float]) -> bool:
    try:
        return figure() > 0
    except AssertionError:
        return False


def address(made: Hyper, name: str) -> str:
    return str(made.inspect(name)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])


def own_address() -> str:
    """Of this host, and no loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect((ASIDE, 9))
        return str(asking.getsockname()[0])


def requests(hypers: dict[str, Hyper], rounds: int) -> list[Row]:
    """A second, of a client with some connections; all servers are one program with one configuration."""
    archive = real_images.path("nginx")
    with contextlib.ExitStack() as stack:
        ways: dict[str, Callable[[], float]] = {}
        for where, made in hypers.items():
            port = free_port()
            made.load(archive)
            made("run", "-d", "--name", "web", "-m", f"{MEMORY_MIB}m", "-p", f"{port}:80", *NGINX)
            stack.callback(made, "rm", "-f", "web")
            for what, at in (("the host's address", own_address()), (LOOPBACK, LOOPBACK)):
                ways[f"{where}, by {what}"] = partial(_asked, asker(at, port))
        why = ""
        try:
            ways |= stack.enter_context(_docker())
        except dockerd.Absent as absent:
            why = f"docker: {absent}"
        for figure in ways.values():
            until(partial(answers, figure), "nginx in a container")
        taken = figures_in_turns(rounds, ways, back_and_forth=True)
    name = "requests a second through a published port"
    return [
        Row(f"{name}, {way}", median(of), "", None, spread(of) + why, tuple(of)) for way, of in taken.items()
    ]


def _asked(argv: Sequence[str]) -> float:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    return requests_a_second(done.stdout.decode())


@contextlib.contextmanager
def _docker() -> Iterator[dict[str, Callable[[], float]]]:
    """By its proxy, to whom the loopback address leads, and by its rules."""
    with dockerd.dockerd() as docker:
        client_of = [*docker.client]
        run([*client_of, "load", "-q", "-i", str(real_images.path("nginx"))], docker.environment)
        run([*client_of, "run", *docker.options, "-d", "-p", "8080:80", *NGINX], docker.environment)
        inside = ["nsenter", "-t", str(docker.first), "-n", "--"]
        run([*inside, "ip", "link", "set", "lo", "up"])
        shown = json.loads(run([*inside, "ip", "-4", "-j", "address", "show", "docker0"]))
        gateway = shown[0]["addr_info"][0]["local"]
        yield {
            "docker, by its bridge's address": partial(_asked, [*inside, *asker(gateway, 8080)]),
            "docker's proxy, by 127.0.0.1": partial(_asked, [*inside, *asker(LOOPBACK, 8080)]),
        }
