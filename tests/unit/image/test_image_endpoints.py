from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from hypercontainer.image import endpoints
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


def test_a_system_without_authorities_has_those_that_come_with_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    config = RegistriesConfig(certs_dir=tmp_path)
    none = ssl.get_default_verify_paths()._replace(cafile="", capath=str(tmp_path / "empty"))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: none)
    monkeypatch.setattr(ssl, "create_default_context", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    endpoints._context.cache_clear()
    assert len(tls_context("a.test", config).get_ca_certs()) > 50
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "empty"))
    endpoints._context.cache_clear()
    assert tls_context("a.test", config).get_ca_certs() == [], "whoever says that there are none is believed"
    endpoints._context.cache_clear()
