"""A pod's own certificate authority: made with the pod's VM, trusted in it alone, its key never in there.

Keys are of P-256; an authority signs for no names but those that are known ahead, where they are (RFC 5280, section
4.2.1.10).  A server's certificate is made when its name is first asked for, and kept while it is good for at least a
day more, of ``KEPT`` names those that were asked for last.
"""

from __future__ import annotations

import datetime
import ipaddress
import secrets
import ssl
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hypercontainer.network.egress import rules

KEPT = 256
AUTHORITY_DAYS, SERVER_DAYS = 365, 2  # a pod that runs for longer is started anew
_BEFORE = datetime.timedelta(days=1)  # a guest's clock may be behind
_REFRESH_S = 86400
PROTOCOLS = ["http/1.1"]
SERVER_TITLE = "Hyper egress"  # no host: as a title some clients would take it for a name to check


@dataclass(frozen=True)
class Pair:
    """Both as PEM."""

    certificate: str
    key: str = field(repr=False)


def make(name: str, hosts: Sequence[str] = ()) -> Pair:
    """``name``: what a certificate of it says whose it is.  ``hosts``: patterns of rules, and it signs for no others;
    (): for any."""
    key = ec.generate_private_key(ec.SECP256R1())
    title = _title(f"Hyper egress of {name[:32]}")
    builder = (
        _builder(title, title, key.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if hosts and "*" not in hosts:
        builder = builder.add_extension(_constraints(hosts), critical=True)
    return Pair(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


class Authority:
    """``folder``: where a certificate and its key are for as long as the TLS library reads them, which takes files
    alone."""

    def __init__(self, pair: Pair, folder: Path) -> None:
        self._certificate = x509.load_pem_x509_certificate(pair.certificate.encode())
        key = serialization.load_pem_private_key(pair.key.encode(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key, self._folder = key, folder
        self._kept: OrderedDict[str, tuple[float, ssl.SSLContext]] = OrderedDict()

    def context(self, host: str) -> ssl.SSLContext:
        """A server's that is this host, a name or an address."""
        good_until, context = self._kept.pop(host, (0.0, None))
        if context is None or time.time() > good_until:
            context, good_until = self._made(host), time.time() + SERVER_DAYS * 86400 - _REFRESH_S
        self._kept[host] = good_until, context
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return context

    def _made(self, host: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        own = ExtendedKeyUsageOID.SERVER_AUTH
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            _builder(_title(SERVER_TITLE), self._certificate.subject, key.public_key(), SERVER_DAYS)
            .add_extension(x509.SubjectAlternativeName([_general(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([own]), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(PROTOCOLS)
        file = self._folder / secrets.token_hex(8)
        try:
            file.touch(mode=0o600, exist_ok=False)
            file.write_text(_key_pem(key) + _pem(certificate))
            context.load_cert_chain(file)
        finally:
            file.unlink(missing_ok=True)
        return context


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _title(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _constraints(hosts: Sequence[str]) -> x509.NameConstraints:
    names = [each.removeprefix(rules.ANY_SUBDOMAIN) for each in hosts if not rules.is_address(each)]
    networks = [ipaddress.ip_network(each) for each in hosts if rules.is_address(each)]
    permitted: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    permitted += [x509.IPAddress(network) for network in networks]
    # A kind of name of which none is permitted is not constrained at all.
    excluded: list[x509.GeneralName] = [] if names else [x509.DNSName("")]
    versions = {network.version for network in networks}
    everything = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    excluded += [x509.IPAddress(each) for each in everything if each.version not in versions]
    return x509.NameConstraints(permitted or None, excluded or None)


def _general(host: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(host)) if rules.is_address(host) else x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
