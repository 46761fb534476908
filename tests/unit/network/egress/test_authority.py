"""What a pod's own authority signs, and what of that is trusted."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

from hypercontainer.network.egress import authority
from hypercontainer.network.egress.proxy import trusting

API = "api.example.test"


def test_an_authority_signs_for_its_names_alone(tmp_path: Path) -> None:
    own = authority.make("pod", ("api.example.test", "*.wide.test", "192.0.2.1"))
    signs = authority.Authority(own, tmp_path)
    for name, good in (
        (API, True),
        ("a.wide.test", True),
        ("192.0.2.1", True),
        ("bank.test", False),
        ("192.0.2.2", False),
        ("2001:db8::1", False),
    ):
        assert _trusts(own.certificate, signs, name) is good, name
    only_names = authority.make("pod", (API,))
    assert not _trusts(only_names.certificate, authority.Authority(only_names, tmp_path), "192.0.2.1")
    only_addresses = authority.make("pod", ("192.0.2.1",))
    assert not _trusts(only_addresses.certificate, authority.Authority(only_addresses, tmp_path), API)
    assert not list(tmp_path.iterdir())


def _trusts(certificate: str, signs: authority.Authority, name: str) -> bool:
    one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting(certificate).wrap_bio(one, other, server_hostname=name)
    server = signs.context(name).wrap_bio(other, one, server_side=True)
    try:
        for end in (client, server, client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    except ssl.SSLCertVerificationError:
        return False
    return True
