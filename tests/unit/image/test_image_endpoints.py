from __future__ import annotations

import ssl
from pathlib import Path

from hypercontainer.image.endpoints import tls_context
from hypercontainer.image.model import RegistriesConfig


def test_registries_share_what_is_the_same_of_them(tmp_path: Path) -> None:
    """A context holds all of the system's authorities, more than half a megabyte."""
    config = RegistriesConfig(certs_dir=tmp_path, insecure=frozenset({"c.test"}))
    (tmp_path / "d.test").mkdir()
    hosts = ("a.test", "b.test:5000", "c.test", "127.0.0.1:5000", "127.0.0.1:5001", "d.test")
    a, b, c, *loopback, d = (tls_context(host, config) for host in hosts)
    assert a is b is d
    assert a.verify_mode is ssl.CERT_REQUIRED
    assert c is loopback[0] is loopback[1]
    assert c.verify_mode is ssl.CERT_NONE
