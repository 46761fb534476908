"""Signatures of images as cosign makes them, and a sigstore of our own: a certificate authority, a certificate log, a
transparency log, a clock."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGNED = "https://sigstore.dev/cosign/sign/v1"
IDENTITY = "https://github.com/example/app/.github/workflows/release.yml@refs/tags/v1.0.0"
ISSUER = "https://token.actions.githubusercontent.com"
HOUR = datetime.timedelta(hours=1)
YEAR = datetime.timedelta(days=365)

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def sign(key: Key, message: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(message, ec.ECDSA(hashes.SHA256()))


def der(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def pem(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def statement(digest: str, predicate: str = SIGNED) -> bytes:
    algorithm, _, value = digest.partition(":")
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {algorithm: value}}],
            "predicateType": predicate,
            "predicate": {},
        }
    ).encode()


def pae(payload: bytes, kind: bytes = b"application/vnd.in-toto+json") -> bytes:
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def bundle(payload: bytes, signature: bytes, material: dict[str, Any]) -> bytes:
    return json.dumps(
        {
            "mediaType": BUNDLE,
            "verificationMaterial": material,
            "dsseEnvelope": {
                "payload": b64(payload),
                "payloadType": "application/vnd.in-toto+json",
                "signatures": [{"sig": b64(signature)}],
            },
        }
    ).encode()


def by_key(key: Key, digest: str, predicate: str = SIGNED, **more: Any) -> bytes:
    """What `cosign sign --key` keeps in a registry."""
    payload = statement(digest, predicate)
    return bundle(payload, sign(key, pae(payload)), {"publicKey": {"hint": "k"}, **more})


def simple(digest: str) -> bytes:
    """The payload of a signature of cosign before 3."""
    image = {"docker-manifest-digest": digest}
    identity = {"docker-reference": "example.test/app"}
    kind = "cosign container image signature"
    return json.dumps({"critical": {"identity": identity, "image": image, "type": kind}}).encode()


@dataclass
class Log:
    """A transparency log: a Merkle tree whose root is signed."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    leaves: list[bytes] = field(default_factory=lambda: [b"first", b"second", b"third"])

    @property
    def identifier(self) -> bytes:
        return hashlib.sha256(der(self.key)).digest()

    def entry(self, body: bytes, at: datetime.datetime, kind: str, version: str) -> dict[str, Any]:
        """As bundles have it, with a promise and a proof."""
        self.leaves.append(body)
        index, time = len(self.leaves) - 1, int(at.timestamp())
        said = {"body": b64(body), "integratedTime": time, "logID": self.identifier.hex(), "logIndex": index}
        promise = sign(self.key, json.dumps(said, sort_keys=True, separators=(",", ":")).encode())
        return {
            "logIndex": str(index),
            "logId": {"keyId": b64(self.identifier)},
            "kindVersion": {"kind": kind, "version": version},
            "integratedTime": str(time),
            "inclusionPromise": {"signedEntryTimestamp": b64(promise)},
            "inclusionProof": self._proof(index),
            "canonicalizedBody": b64(body),
        }

    def _proof(self, index: int) -> dict[str, Any]:
        hashed = [hashlib.sha256(b"\0" + leaf).digest() for leaf in self.leaves]
        root = _root(hashed)
        note = f"log.test - 1\n{len(hashed)}\n{b64(root)}\n"
        signature = b64(self.identifier[:4] + sign(self.key, note.encode()))
        return {
            "logIndex": str(index),
            "rootHash": b64(root),
            "treeSize": str(len(hashed)),
            "hashes": [b64(each) for each in _path(index, hashed)],
            "checkpoint": {"envelope": f"{note}\n\N{EM DASH} log.test {signature}\n"},
        }


def _split(count: int) -> int:
    return 1 << (count - 1).bit_length() - 1


def _root(hashed: Sequence[bytes]) -> bytes:
    if len(hashed) == 1:
        return hashed[0]
    at = _split(len(hashed))
    return hashlib.sha256(b"\1" + _root(hashed[:at]) + _root(hashed[at:])).digest()


def _path(index: int, hashed: Sequence[bytes]) -> list[bytes]:
    if len(hashed) == 1:
        return []
    at = _split(len(hashed))
    if index < at:
        return [*_path(index, hashed[:at]), _root(hashed[at:])]
    return [*_path(index - at, hashed[at:]), _root(hashed[:at])]


class Clock:
    """A timestamp authority: `openssl ts`, in a folder of its own."""

    def __init__(self, folder: Path, issuer: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._folder = folder
        own = new_key()
        stamping = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        self.certificate = _certified(
            "clock", own, issuer, key, [(stamping, True), (_usage(digital_signature=True), True)]
        )
        secret = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "tsa.key").write_bytes(secret)
        (folder / "tsa.pem").write_bytes(self.certificate.public_bytes(Encoding.PEM))
        (folder / "serial").write_text("01\n")
        (folder / "tsa.cnf").write_text(
            f"[t]\nserial={folder}/serial\ncrypto_device=builtin\nsigner_cert={folder}/tsa.pem\n"
            f"signer_key={folder}/tsa.key\nsigner_digest=sha256\ndefault_policy=1.2.3.4\n"
            "digests=sha256\nordering=yes\ntsa_name=no\ness_cert_id_alg=sha256\n"
        )

    def stamp(self, data: bytes) -> bytes:
        self._folder.joinpath("data").write_bytes(data)
        self._run("ts", "-query", "-data", "data", "-sha256", "-cert", "-out", "query")
        self._run(
            "ts", "-reply", "-config", "tsa.cnf", "-section", "t", "-queryfile", "query", "-out", "reply"
        )
        return self._folder.joinpath("reply").read_bytes()

    def _run(self, *argv: str) -> None:
        subprocess.run(["openssl", *argv], cwd=self._folder, check=True, capture_output=True)


class Sigstore:
    """``moment``: when everything happens."""

    def __init__(self, moment: datetime.datetime | None = None) -> None:
        self.moment = moment or datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        self._root_key, self._key, self._seen = new_key(), new_key(), new_key()
        authority = [
            (x509.BasicConstraints(ca=True, path_length=1), True),
            (_usage(key_cert_sign=True), True),
        ]
        self.root = _certified("root", self._root_key, None, self._root_key, authority)
        signing = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
        lower = [(x509.BasicConstraints(ca=True, path_length=0), True), authority[1], signing]
        self.intermediate = _certified("intermediate", self._key, self.root, self._root_key, lower)
        self.log = Log()
        self.clock: Clock | None = None

    def with_clock(self, folder: Path) -> Sigstore:
        self.clock = Clock(folder, self.root, self._root_key)
        return self

    def trusted_root(self, *, without: Sequence[str] = ()) -> bytes:
        period = {"start": (self.moment - YEAR).strftime("%Y-%m-%dT%H:%M:%SZ")}

        def log(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
            identifier = {"keyId": b64(hashlib.sha256(der(key)).digest())}
            public = {"rawBytes": b64(der(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": period}
            return {
                "baseUrl": "https://log.test",
                "hashAlgorithm": "SHA2_256",
                "publicKey": public,
                "logId": identifier,
            }

        def authority(*chain: x509.Certificate) -> dict[str, Any]:
            certificates = [{"rawBytes": b64(each.public_bytes(Encoding.DER))} for each in chain]
            return {
                "subject": {"organization": "test", "commonName": "test"},
                "uri": "https://ca.test",
                "certChain": {"certificates": certificates},
                "validFor": period,
            }

        document = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(self.log.key)],
            "ctlogs": [log(self._seen)],
            "certificateAuthorities": [authority(self.intermediate, self.root)],
            "timestampAuthorities": [authority(self.clock.certificate, self.root)] if self.clock else [],
        }
        return json.dumps({name: value for name, value in document.items() if name not in without}).encode()

    def certificate(
        self,
        key: Key,
        identity: str = IDENTITY,
        issuer: str = ISSUER,
        *,
        seen: bool = True,
        signing: bool = True,
    ) -> x509.Certificate:
        """Good for ten minutes from `moment` on; ``seen``: by the certificate log."""
        purpose = ExtendedKeyUsageOID.CODE_SIGNING if signing else ExtendedKeyUsageOID.CLIENT_AUTH
        mail = "@" in identity and "://" not in identity
        name = x509.RFC822Name(identity) if mail else x509.UniformResourceIdentifier(identity)
        said = bytes([0x0C, len(issuer)]) + issuer.encode()
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.SubjectAlternativeName([name]), True),
            (x509.ExtendedKeyUsage([purpose]), False),
            (_usage(digital_signature=True), True),
            (x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.57264.1.8"), said), False),
        ]
        period = (self.moment - HOUR / 60, self.moment + HOUR / 6)
        serial = x509.random_serial_number()

        def made(*more: tuple[x509.ExtensionType, bool]) -> x509.Certificate:
            return _certified(
                "", key, self.intermediate, self._key, [*extensions, *more], period=period, serial=serial
            )

        if not seen:
            return made()
        return made((self._seen_stamp(made(_stamps(b"")).tbs_precertificate_bytes), False))

    def _seen_stamp(self, content: bytes) -> x509.UnrecognizedExtension:
        when = int(self.moment.timestamp() * 1000)
        issuer = hashlib.sha256(der(self._key)).digest()
        told = (
            struct.pack("!BBQH", 0, 0, when, 1) + issuer + len(content).to_bytes(3, "big") + content + b"\0\0"
        )
        signature = sign(self._seen, told)
        identifier = hashlib.sha256(der(self._seen)).digest()
        stamp = b"\0" + identifier + struct.pack("!QH", when, 0) + b"\4\3" + struct.pack("!H", len(signature))
        return _stamps(stamp + signature)[0]

    def keyless(
        self,
        digest: str,
        identity: str = IDENTITY,
        issuer: str = ISSUER,
        *,
        version: int = 1,
        at: datetime.datetime | None = None,
        key: Key | None = None,
        certificate: x509.Certificate | None = None,
    ) -> bytes:
        """What `cosign sign` keeps in a registry; ``version`` of Rekor: 2 leaves time to the clock."""
        key = key or new_key()
        certificate = certificate or self.certificate(key, identity, issuer)
        payload = statement(digest)
        signature = sign(key, pae(payload))
        raw = certificate.public_bytes(Encoding.DER)
        body, kind, number = (_body_1 if version == 1 else _body_2)(payload, signature, certificate)
        entry = self.log.entry(body, at or self.moment, kind, number)
        material: dict[str, Any] = {"certificate": {"rawBytes": b64(raw)}, "tlogEntries": [entry]}
        if version == 2:
            del entry["inclusionPromise"], entry["integratedTime"]
            assert self.clock is not None
            stamp = {"signedTimestamp": b64(self.clock.stamp(signature))}
            material["timestampVerificationData"] = {"rfc3161Timestamps": [stamp]}
        return bundle(payload, signature, material)


def logged_key(key: Key, digest: str, log: Log, at: datetime.datetime) -> bytes:
    """A key's signature that is in a log, too."""
    payload = statement(digest)
    signature = sign(key, pae(payload))
    body = _record(hashlib.sha256(pae(payload)).hexdigest(), signature, pem(key))
    entry = log.entry(body, at, "hashedrekord", "0.0.1")
    return bundle(payload, signature, {"publicKey": {"hint": "k"}, "tlogEntries": [entry]})


def _record(digest: str, signature: bytes, signer: bytes) -> bytes:
    spec = {
        "data": {"hash": {"algorithm": "sha256", "value": digest}},
        "signature": {"content": b64(signature), "publicKey": {"content": b64(signer)}},
    }
    return _canonical({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec})


def _body_1(payload: bytes, signature: bytes, certificate: x509.Certificate) -> tuple[bytes, str, str]:
    verifier = b64(certificate.public_bytes(Encoding.PEM))
    envelope = {
        "payload": b64(payload),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"sig": b64(signature)}],
    }
    spec = {
        "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(_canonical(envelope)).hexdigest()},
        "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
        "signatures": [{"signature": b64(signature), "verifier": verifier}],
    }
    return _canonical({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}), "dsse", "0.0.1"


def _body_2(payload: bytes, signature: bytes, certificate: x509.Certificate) -> tuple[bytes, str, str]:
    verifier = {
        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
        "x509Certificate": {"rawBytes": b64(certificate.public_bytes(Encoding.DER))},
    }
    record = {
        "data": {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(pae(payload)).digest())},
        "signature": {"content": b64(signature), "verifier": verifier},
    }
    document = {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": record}}
    return _canonical(document), "hashedrekord", "0.0.2"


def _canonical(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _stamps(stamp: bytes) -> tuple[x509.UnrecognizedExtension, bool]:
    inner = struct.pack("!H", len(stamp)) + stamp if stamp else b""
    data = struct.pack("!H", len(inner)) + inner
    octets = bytes([4, len(data)]) if len(data) < 128 else b"\4\x81" + bytes([len(data)])
    return x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"), octets + data), False


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    others = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(digital_signature=digital_signature, key_cert_sign=key_cert_sign, **others)


def _certified(
    name: str,
    key: Key,
    issuer: x509.Certificate | None,
    by: ec.EllipticCurvePrivateKey,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    *,
    period: tuple[datetime.datetime, datetime.datetime] | None = None,
    serial: int | None = None,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    start, end = period or (now - 2 * YEAR, now + 2 * YEAR)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority, critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(by, hashes.SHA256())
