"""Secrets that are put in on the way out: a real guest that speaks TLS, a real server, and hyperd between them."""

from __future__ import annotations

import contextlib
import http.server
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import busybox_image
import real_images
from audit import kill_process
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from hypercontainer.network.egress import authority
from hypercontainer.network.egress.authority import Authority, Pair
from passing import children, content, small_files

BUSYBOX = busybox_image.REFERENCE
PYTHON = "localhost/python:latest"
API = "api.example.test"
TOKEN = "Bearer 4711-very-secret"
SLEEP = ("sh", "-c", "sleep 1000")
ASK = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "of the guest"})
try:
    with urllib.request.urlopen(request, timeout=20) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="bridges want root")


@dataclass
class World:
    """``pair``: the authority of its servers; ``got``: (path, Authorization) of each request."""

    pair: Pair
    bundle: Path
    got: list[tuple[str, str | None]] = field(default_factory=list)

    @contextlib.contextmanager
    def serving(self, address: str, port: int, host: str = API) -> Iterator[None]:
        got = self.got

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                got.append((self.path, self.headers["Authorization"]))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"served")

            def log_message(self, *words: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer((address, port), Handler)
        if port == 443:
            context = Authority(self.pair, self.bundle.parent).context(host)
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    pair = authority.make("the world")
    bundle = tmp_path_factory.mktemp("world") / "world.pem"
    bundle.write_text(pair.certificate)
    return World(pair, bundle)


@pytest.fixture(scope="module")
def shared(hypervisor: str, world: World) -> Iterator[Hyper]:
    """In place of the suite's: it trusts the world's authority."""
    with hyper_context(NO_POOL, hypervisor=hypervisor, SSL_CERT_FILE=str(world.bundle), TOKEN=TOKEN) as made:
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        with real_images.path("python").open("rb") as archive:
            subprocess.run(made.argv("load"), stdin=archive, check=True, env=made.environment)
        yield made


def outside(hyper: Hyper) -> str:
    """An address of the host, as pods have it."""
    said = hyper.out("run", "--rm", "--add-host", "up:host-gateway", BUSYBOX, "cat", "/etc/hosts")
    return next(line.split()[0] for line in said.splitlines() if line.endswith("\tup"))


def test_a_secret_is_put_in_and_is_not_in_the_vm(hyper: Hyper, world: World) -> None:
    here = outside(hyper)
    secret = ("--secret-header", f"{API}:Authorization=env:TOKEN")
    with world.serving(here, 443), world.serving(here, 80):
        hyper("run", "-d", "--name", "a", "--add-host", f"{API}:{here}", *secret, PYTHON, "sleep", "1000")
        assert hyper.out("exec", "a", "python3", "-c", ASK, f"https://{API}/one") == "200 served"
        assert hyper.out("exec", "a", "python3", "-c", ASK, f"http://{API}/two") == "200 served"
    assert world.got[-2:] == [("/one", TOKEN), ("/two", "of the guest")]
    within = hyper.out("exec", "a", "sh", "-c", "cat /proc/*/environ /etc/ssl/* 2>/dev/null | tr '\\0' '\\n'")
    assert "BEGIN CERTIFICATE" in within and "SSL_CERT_FILE=" in within
    shown = [hyper.out("inspect", "a"), hyper.out("logs", "a"), hyper.log(), within]
    assert not [text for text in shown if TOKEN in text or "PRIVATE KEY" in text]
    kept = [path for path in small_files(hyper.root, 1 << 22) if TOKEN.encode() in content(path)]
    assert [path.parent.name for path in kept] == ["secrets"]
    assert kept[0].stat().st_mode & 0o777 == 0o600
    hyper("rm", "-f", "a")
    assert not list(kept[0].parent.iterdir())


def test_a_host_may_be_an_address_which_tls_does_not_say(hyper: Hyper, world: World) -> None:
    here = outside(hyper)
    with world.serving(here, 443, here):
        secret = ("--secret-header", f"{here}:Authorization=env:TOKEN")
        asked = hyper.out("run", "--rm", *secret, PYTHON, "python3", "-c", ASK, f"https://{here}/address")
    assert asked == "200 served" and world.got[-1] == ("/address", TOKEN)


def test_the_proxy_and_hyperd_may_die(hypervisor: str, world: World) -> None:
    secret = ("--secret-header", f"http://{API}:Authorization=env:TOKEN")
    with hyper_context(NO_POOL, hypervisor=hypervisor, SSL_CERT_FILE=str(world.bundle), TOKEN=TOKEN) as hyper:
        hyper("load", stdin=busybox_image.archive([busybox_image.layer()]))
        here = outside(hyper)
        with world.serving(here, 80):
            hyper("run", "-d", "--name", "a", "--add-host", f"{API}:{here}", *secret, BUSYBOX, *SLEEP)
            for number, end in enumerate((Hyper.daemon_pid, kill_proxy, kill_hyperd)):
                end(hyper)
                said = hyper.out("exec", "a", "wget", "-q", "-O", "-", f"http://{API}/{number}")
                assert said == "served"
        hyper("rm", "-f", "a")
        hyper.until(lambda: not proxies(hyper), "the proxy's end")
    assert world.got[-3:] == [(f"/{number}", TOKEN) for number in range(3)]


def proxies(hyper: Hyper) -> list[int]:
    """Of this hyperd."""
    program = b"hypercontainer.network.egress.program"
    return [pid for pid in children(hyper.daemon_pid()) if program in content(Path(f"/proc/{pid}/cmdline"))]


def kill_hyperd(hyper: Hyper) -> None:
    kill_process(hyper.daemon_pid())
    hyper.until(lambda: proxies(hyper), "a proxy of the next hyperd's")


def kill_proxy(hyper: Hyper) -> None:
    (pid,) = proxies(hyper)
    kill_process(pid)
    hyper.until(lambda: proxies(hyper) not in ([], [pid]), "another proxy")


def test_an_images_own_bundle_is_joined(hyper: Hyper) -> None:
    hyper("create", "--name", "b", "--secret-header", f"{API}:X=env:TOKEN", BUSYBOX, *SLEEP)
    hyper("start", "b")
    script = "mkdir -p /etc/ssl/certs; echo of the image > /etc/ssl/certs/ca-certificates.crt"
    hyper("exec", "b", "sh", "-c", script)
    first = hyper.out("exec", "b", "cat", "/etc/ssl/hyper-bundle.pem")
    assert "of the image" not in first and first.startswith("-----BEGIN")
    hyper("restart", "-t", "0", "b")
    for path in ("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/hyper-bundle.pem"):
        joined = hyper.out("exec", "b", "cat", path)
        assert joined.startswith("of the image\n\n-----BEGIN CERTIFICATE") and joined.count("BEGIN") == 1
        assert first not in joined  # another VM, another authority
    assert "No such file" in hyper("exec", "b", "cat", "/etc/ssl/cert.pem", check=False).stderr.decode()


BY_NAME = """
egress:
  - to: [api.example.test]
    ports: [443]
"""
POLICY = """
egress:
  - http: [api.example.test]
    methods: [GET]
    paths: ["/public/*"]
"""


def test_a_rule_by_name_leads_nowhere_past_the_secret(hyper: Hyper, world: World, tmp_path: Path) -> None:
    here, file = outside(hyper), tmp_path / "policy.yaml"
    file.write_text(BY_NAME)
    flags = ("--secret-header", f"{API}:Authorization=env:TOKEN", "--network-policy", str(file))
    with world.serving(here, 443):
        hyper("run", "-d", "--name", "a", "--add-host", f"{API}:{here}", *flags, PYTHON, "sleep", "1000")
        ask = ("exec", "a", "python3", "-c", ASK)
        assert hyper.out(*ask, f"https://{API}/any/thing") == "200 served"
        got = len(world.got)
        assert world.got[-1] == ("/any/thing", TOKEN)
        for url in (f"http://{API}/", f"https://{here}/"):  # another port, and no name
            assert hyper("exec", "a", "python3", "-c", ASK, url, check=False).stdout != b"200 served\n"
    assert len(world.got) == got


def test_a_policy_decides_on_each_request(hyper: Hyper, world: World, tmp_path: Path) -> None:
    here, file = outside(hyper), tmp_path / "policy.yaml"
    file.write_text(POLICY)
    flags = ("--secret-header", f"{API}:Authorization=env:TOKEN", "--network-policy", str(file))
    with world.serving(here, 443):
        hyper("run", "-d", "--name", "a", "--add-host", f"{API}:{here}", *flags, PYTHON, "sleep", "1000")
        ask = ("exec", "a", "python3", "-c", ASK)
        assert hyper.out(*ask, f"https://{API}/public/one") == "200 served"
        said = hyper.out(*ask, f"https://{API}/public/../private?token=1")
        assert said.startswith("403") and "nothing lets this pod GET /private of api.example.test" in said
        other = hyper("exec", "a", "python3", "-c", ASK, f"https://{here}/public/one", check=False)
        assert other.returncode != 0  # a host of which no rule speaks
    assert world.got[-1] == ("/public/one", TOKEN)
    hyper.until(lambda: "GET /private" in hyper.out("policy", "audit"), "a line of what was denied")
    assert "token=1" not in hyper.out("policy", "audit")


def test_no_network_reaches_another_by_the_proxy(hyper: Hyper) -> None:
    script = "mkdir /w; echo of another > /w/x; exec httpd -f -p 80 -h /w"
    hyper("network", "create", "apart")
    hyper("run", "-d", "--name", "web", "--network", "apart", BUSYBOX, "sh", "-c", script)
    address = hyper.inspect("web")["NetworkSettings"]["Networks"]["apart"]["IPAddress"]
    fetch = ("timeout", "2", "wget", "-q", "-O", "-", f"http://{address}/x")
    hyper("run", "-d", "--name", "near", "--network", "apart", BUSYBOX, *SLEEP)
    hyper.until(lambda: b"of another" in hyper("exec", "near", *fetch, check=False).stdout, "the server")
    hyper("run", "-d", "--name", "a", "--secret-header", f"{API}:X=env:TOKEN", BUSYBOX, *SLEEP)
    assert hyper("exec", "a", *fetch, check=False).stdout == b""
    hyper("network", "connect", "apart", "a")
    assert hyper("exec", "a", *fetch, check=False).stdout == b"of another\n"
    hyper.remove_all()
    hyper("network", "rm", "apart")


def test_a_pod_has_secrets_for_all_its_containers_and_over_ipv6(hyper: Hyper, world: World) -> None:
    here, nowhere = outside(hyper), "fd00:dead::1"
    secret = ("--secret-header", f"http://{API}:Authorization=env:TOKEN")
    hyper("network", "create", "--ipv6", "six")
    hosts = ("--add-host", f"{API}:{nowhere}", "--add-host", f"{API}:{here}")
    with world.serving(here, 80):
        hyper("pod", "create", "--name", "p", "--network", "six", *hosts, *secret)
        for name in ("a", "b"):
            hyper("run", "-d", "--name", name, "--pod", "p", PYTHON, "sleep", "1000")
        # The guest knows the first address, at which nobody is; the proxy tries the other too.
        for name in ("a", "b"):
            ask = ASK.replace('"of the guest"', f'"of the guest", "Host": "{API}"')
            asked = hyper.out("exec", name, "python3", "-c", ask, f"http://[{nowhere}]/{name}")
            assert asked == "200 served"
    assert world.got[-2:] == [("/a", TOKEN), ("/b", TOKEN)]
    hyper("pod", "rm", "-f", "p")
    hyper("network", "rm", "six")


def test_what_is_no_secret_header(hyper: Hyper) -> None:
    for flag, complaint in (
        (f"{API}:Authorization=env:NOT_SET", b"NOT_SET is not set"),
        (f"{API}:Authorization=4711", b"invalid --secret-header"),
        (f"{API}:Authorization=file:/nonexistent", b"No such file"),
        (f"*.{API}:Authorization=env:TOKEN", b"is no host's name"),
        (f"{API}:Host=env:TOKEN", b"no header that can be set"),
    ):
        refused = hyper("run", "--rm", "--secret-header", flag, BUSYBOX, "true", check=False)
        assert refused.returncode == 125 and complaint in refused.stderr
        assert b"4711-very" not in refused.stderr
    refused = hyper(
        *("run", "--rm", "--network", "user", "--secret-header", f"{API}:X=env:TOKEN", BUSYBOX, "true"),
        check=False,
    )
    assert refused.returncode == 125 and b"no way out" in refused.stderr
