"""What is between the store and a registry: redirects, mirrors, proxies, certificates."""

from __future__ import annotations

import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from hypercontainer.errors import RegistryError
from hypercontainer.image.credentials import Credentials
from hypercontainer.image.store import ImageStore

pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")

NewStore = Callable[..., ImageStore]
Noise = Callable[[int], bytes]


def test_redirects_strip_the_authorization(fake: Any, new_fake: Any, new_store: NewStore) -> None:
    other = new_fake()
    fake.add_image("1", b"x")
    (digest,) = fake.layers("1")
    other.blobs = fake.blobs
    fake.authorize = fake.basic("me", "pw")
    fake.fail(
        f"blobs/{digest}",
        lambda h: False,
        fake.status(307, Location=f"http://{other.host}/v2/x/blobs/{digest}"),
    )
    new_store().pull(f"{fake.host}/x:1", credentials=Credentials("me", "pw"))
    for _, _, headers in other.log:
        assert "Authorization" not in headers
    assert any("Authorization" in headers for _, _, headers in fake.log)


@pytest.mark.parametrize(
    ("location", "says"),
    [("file:///etc/passwd", "not HTTP"), ("ftp://h/x", "not HTTP"), (None, "redirects")],
)
def test_bad_redirects(fake: Any, new_store: NewStore, location: str | None, says: str) -> None:
    fake.add_image("1", b"x")
    (digest,) = fake.layers("1")
    target = location or f"http://{fake.host}/v2/x/blobs/{digest}"
    fake.fail(f"blobs/{digest}", *[fake.status(302, Location=target)] * 10)
    with pytest.raises(RegistryError, match=says):
        new_store().pull(f"{fake.host}/x:1")


def test_mirrors_fall_through(fake: Any, new_fake: Any, new_store: NewStore, noise: Noise) -> None:
    broken, lying, empty = new_fake(), new_fake(), new_fake()
    fake.add_image("1", noise(1000), noise(2000))
    first, second = fake.layers("1")
    broken.authorize = lambda h: h.answer(500)
    lying.manifests, lying.blobs = fake.manifests, {**fake.blobs, first: b"x" * len(fake.blobs[first])}
    fake.authorize = fake.basic("me", "pw")
    mirrors = {fake.host: (f"http://{broken.host}", f"{empty.host}/cache", lying.host)}
    store = new_store(mirrors=mirrors, attempts=1)
    image = store.pull(f"{fake.host}/x:1", credentials=Credentials("me", "pw"))
    assert image.references == (f"{fake.host}/x:1",)
    assert empty.asked("/v2/cache/x/manifests/1")
    assert len(lying.asked(second)) == 1
    assert len(fake.asked(first)) >= 1
    assert fake.asked(second) == []
    for server in (broken, lying, empty):
        assert not any("Authorization" in headers for _, _, headers in server.log)


class Proxy(ThreadingHTTPServer):
    """A proxy that leads every name to one address, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.target = target.rpartition(":")
        self.url = f"http://user:p%40ss@127.0.0.1:{self.server_port}"
        self.log: list[tuple[str, str, str | None]] = []


class ProxyHandler(BaseHTTPRequestHandler):
    server: Proxy

    def log_message(self, *_: Any) -> None:
        pass

    def connect(self) -> socket.socket:
        self.server.log.append((self.command, self.path, self.headers.get("Proxy-Authorization")))
        return socket.create_connection((self.server.target[0], int(self.server.target[2])), timeout=10)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        lines = [f"{self.command} {url.path}?{url.query} HTTP/1.1".replace("? ", " ")]
        lines += [f"{k}: {v}" for k, v in self.headers.items() if not k.lower().startswith("proxy-")]
        with self.connect() as upstream:
            upstream.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
            while data := upstream.recv(65536):
                self.wfile.write(data)
        self.close_connection = True

    def do_CONNECT(self) -> None:
        with self.connect() as upstream:
            self.wfile.write(b"HTTP/1.1 200 ok\r\n\r\n")
            pair = {self.connection: upstream, upstream: self.connection}
            while ready := select.select(list(pair), [], [], 10)[0]:
                for source in ready:
                    data = source.recv(65536)
                    if not data:
                        self.close_connection = True
                        return
                    pair[source].sendall(data)


@pytest.fixture
def new_proxy() -> Iterator[Callable[[str], Proxy]]:
    started: list[Proxy] = []

    def new(target: str) -> Proxy:
        proxy = Proxy(target)
        started.append(proxy)
        threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return proxy

    yield new
    for proxy in started:
        proxy.shutdown()
        proxy.server_close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.crt, and {server,client}.{crt,key} that it signed; the server is registry.test and 127.0.0.1."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    openssl("req", "-x509", *curve, "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.crt")
    for name in ("server", "client"):
        openssl("req", *curve[:-2], "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / f"{name}.ext").write_text("subjectAltName=DNS:registry.test,IP:127.0.0.1\n")
        signing = [
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            f"{name}.ext",
        ]
        openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.crt")
    return folder


def tls(certificates: Path, *, want_client: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    if want_client:
        context.load_verify_locations(certificates / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_plain_http_through_a_proxy(fake: Any, new_proxy: Any, new_store: NewStore) -> None:
    fake.add_image("1", b"x")
    proxy = new_proxy(fake.host)
    environ = {"http_proxy": proxy.url, "https_proxy": "http://127.0.0.1:1", "no_proxy": "other.test"}
    store = new_store(insecure=frozenset({"registry.test:5000"}), environ=environ)
    assert store.pull("registry.test:5000/x:1").references == ("registry.test:5000/x:1",)
    assert ("GET", "http://registry.test:5000/v2/x/manifests/1", "Basic dXNlcjpwQHNz") in proxy.log


def test_https_through_a_proxy(
    new_fake: Any, new_proxy: Any, new_store: NewStore, certificates: Path
) -> None:
    fake = new_fake(context=tls(certificates))
    fake.add_image("1", b"x")
    proxy = new_proxy(fake.host)
    ca = {"registry.test": certificates / "ca.crt"}
    store = new_store(ca=ca, environ={"HTTPS_PROXY": proxy.url})
    store.pull("registry.test/x:1")
    assert proxy.log[0] == ("CONNECT", "registry.test:443", "Basic dXNlcjpwQHNz")
    assert new_store("other", ca=ca, environ={"HTTPS_PROXY": proxy.url}).list() == []


def test_a_proxy_that_is_down_is_named(new_store: NewStore) -> None:
    with pytest.raises(RegistryError, match="proxy"):
        new_store(environ={"https_proxy": "http://127.0.0.1:1"}).pull("registry.test/x:1")


def test_a_certificate_authority_by_configuration(
    new_fake: Any, new_proxy: Any, new_store: NewStore, certificates: Path
) -> None:
    fake = new_fake(context=tls(certificates))
    fake.add_image("1", b"x")
    environ = {"https_proxy": new_proxy(fake.host).url}
    with pytest.raises(RegistryError, match="certificate verify failed"):
        new_store("a", environ=environ).pull("registry.test/x:1")
    new_store("b", environ=environ, ca={"registry.test": certificates / "ca.crt"}).pull("registry.test/x:1")
    new_store("c", environ=environ, insecure=frozenset({"registry.test"})).pull("registry.test/x:1")
    with pytest.raises(RegistryError, match="TLS failed"):  # the certificate is for another name
        new_store("d", environ=environ, ca={"wrong.test": certificates / "ca.crt"}).pull("wrong.test/x:1")


@pytest.mark.parametrize("where", ["certs.d", "system"])
def test_an_authority_that_comes_later_counts_at_once(
    where: str,
    new_fake: Any,
    new_proxy: Any,
    new_store: NewStore,
    certificates: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = new_fake(context=tls(certificates))
    fake.add_image("1", b"x")
    system = tmp_path / "system.crt"
    system.write_bytes(
        Path(ssl.get_default_verify_paths().cafile or certificates / "client.crt").read_bytes()
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    store = new_store(environ={"https_proxy": new_proxy(fake.host).url})
    with pytest.raises(RegistryError, match="certificate verify failed"):
        store.pull("registry.test/x:1")
    target = tmp_path / "certs.d/registry.test/ca.crt" if where == "certs.d" else system
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("ab") as file:
        file.write((certificates / "ca.crt").read_bytes())
    assert store.pull("registry.test/x:1").layers


def test_certs_d_with_a_client_certificate(
    new_fake: Any, new_store: NewStore, certificates: Path, tmp_path: Path
) -> None:
    fake = new_fake(context=tls(certificates, want_client=True))
    fake.add_image("1", b"x")
    with pytest.raises(RegistryError):
        new_store("a").pull(f"{fake.host}/x:1")
    folder = tmp_path / "certs.d" / fake.host
    folder.mkdir(parents=True)
    for source, target in {
        "ca.crt": "ca.crt",
        "client.crt": "client.cert",
        "client.key": "client.key",
    }.items():
        (folder / target).write_bytes((certificates / source).read_bytes())
    assert new_store("b").pull(f"{fake.host}/x:1").layers


def test_loopback_speaks_https_where_it_can(new_fake: Any, new_store: NewStore, certificates: Path) -> None:
    fake = new_fake(context=tls(certificates))
    fake.add_image("1", b"x")
    assert new_store().pull(f"{fake.host}/x:1").layers
