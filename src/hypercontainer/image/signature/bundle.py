"""What is signed of an image, out of the documents that registries keep: cosign 3's bundles, and the signatures of
cosign before it.

Sources: sigstore's protobuf-specs (bundle 0.3), the DSSE protocol's PAE, in-toto's statement 1, cosign's
specs/SIGNATURE_SPEC.md.  Everything is bounded; nothing here is trusted yet.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from hypercontainer.contract.reading import why
from hypercontainer.image.signature.refusal import Refused

MAX_BUNDLE_BYTES = 1 << 20
MAX_LOG_ENTRIES = 8
MAX_TIMESTAMPS = 8
MAX_CHAIN = 8
MAX_SUBJECTS = 64
MAX_PROOF_HASHES = 64

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle"
SIMPLE_SIGNING_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
STATEMENT_TYPE = "application/vnd.in-toto+json"
# Of a statement that says "this image is signed"; others say how it was built, or what is in it.
SIGNED = "https://sigstore.dev/cosign/sign/v1"

_T = TypeVar("_T")


class _Wire(msgspec.Struct, frozen=True, rename="camel"):
    """Numbers of 64 bits are strings in protobuf's JSON, and are read as the numbers that they are."""


class LogId(_Wire, frozen=True):
    key_id: bytes


class Kind(_Wire, frozen=True):
    kind: str
    version: str


class Promise(_Wire, frozen=True):
    signed_entry_timestamp: bytes


class Checkpoint(_Wire, frozen=True):
    envelope: str


class Proof(_Wire, frozen=True):
    log_index: int
    root_hash: bytes
    tree_size: int
    hashes: list[bytes] = []
    checkpoint: Checkpoint | None = None


class LogEntry(_Wire, frozen=True):
    """What a transparency log has of a signature.  ``body`` is its canonical JSON."""

    log_id: LogId
    canonicalized_body: bytes
    log_index: int = 0
    kind_version: Kind | None = None
    integrated_time: int = 0
    inclusion_promise: Promise | None = None
    inclusion_proof: Proof | None = None


class _Certificate(_Wire, frozen=True):
    raw_bytes: bytes


class _Chain(_Wire, frozen=True):
    certificates: list[_Certificate] = []


class _Timestamp(_Wire, frozen=True):
    signed_timestamp: bytes


class _Timestamps(_Wire, frozen=True):
    rfc3161_timestamps: list[_Timestamp] = msgspec.field(default_factory=list, name="rfc3161Timestamps")


class _Material(_Wire, frozen=True):
    certificate: _Certificate | None = None
    x509_certificate_chain: _Chain | None = msgspec.field(default=None, name="x509CertificateChain")
    tlog_entries: list[LogEntry] = []
    timestamp_verification_data: _Timestamps | None = None


class _EnvelopeSignature(_Wire, frozen=True):
    sig: bytes


class _Envelope(_Wire, frozen=True):
    payload: bytes
    payload_type: str
    signatures: list[_EnvelopeSignature]


class _Bundle(_Wire, frozen=True):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope | None = None
    message_signature: Any = None


class _Subject(msgspec.Struct, frozen=True):
    digest: dict[str, str]


class _Statement(msgspec.Struct, frozen=True, rename="camel"):
    type: str = msgspec.field(name="_type")
    subject: list[_Subject]
    predicate_type: str


class _SimpleImage(msgspec.Struct, frozen=True, rename="kebab"):
    docker_manifest_digest: str


class _SimpleCritical(msgspec.Struct, frozen=True):
    image: _SimpleImage


class _Simple(msgspec.Struct, frozen=True):
    critical: _SimpleCritical


class _OldPayload(msgspec.Struct, frozen=True, rename="camel"):
    body: bytes
    integrated_time: int
    log_index: int
    log_id: str = msgspec.field(name="logID")


class _OldEntry(msgspec.Struct, frozen=True, rename="pascal"):
    signed_entry_timestamp: bytes
    payload: _OldPayload


@dataclass(frozen=True)
class Signed:
    """Somebody's claim that ``digests`` are good, not verified yet.

    ``message`` is what ``signature`` is over; ``payload_hash``: SHA-256 of what an envelope has inside, None where
    there is no envelope.  ``certificate`` is the signer's (DER), None where a key signed; ``chain`` what came with it.
    """

    digests: frozenset[str]
    message: bytes
    signature: bytes
    payload_hash: bytes | None = None
    certificate: bytes | None = None
    chain: tuple[bytes, ...] = ()
    entries: tuple[LogEntry, ...] = ()
    timestamps: tuple[bytes, ...] = ()


def pae(payload_type: str, payload: bytes) -> bytes:
    """What a signature in a DSSE envelope is over."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def read_bundle(raw: bytes) -> Signed:
    """A bundle of cosign 3.  Refused for what is none, or says something else than that an image is signed."""
    wire = _decode(raw, _Bundle, "the bundle")
    if wire.dsse_envelope is None:
        raise Refused("the bundle signs bytes, and no statement about an image")
    envelope, material = wire.dsse_envelope, wire.verification_material
    if envelope.payload_type != STATEMENT_TYPE or len(envelope.signatures) != 1:
        raise Refused("the bundle's envelope is not one statement of in-toto with one signature")
    entries, stamps = material.tlog_entries, material.timestamp_verification_data
    timestamps = () if stamps is None else tuple(each.signed_timestamp for each in stamps.rfc3161_timestamps)
    chain = material.x509_certificate_chain
    certificates = [] if chain is None else chain.certificates
    if material.certificate is not None:
        certificates = [material.certificate]
    if len(entries) > MAX_LOG_ENTRIES or len(timestamps) > MAX_TIMESTAMPS or len(certificates) > MAX_CHAIN:
        raise Refused("the bundle has more log entries, timestamps or certificates than any needs")
    return Signed(
        digests=_subjects(envelope.payload),
        message=pae(envelope.payload_type, envelope.payload),
        signature=envelope.signatures[0].sig,
        payload_hash=hashlib.sha256(envelope.payload).digest(),
        certificate=certificates[0].raw_bytes if certificates else None,
        chain=tuple(each.raw_bytes for each in certificates[1:]),
        entries=tuple(entries),
        timestamps=timestamps,
    )


def read_simple(payload: bytes, annotations: Mapping[str, str]) -> Signed:
    """A signature of cosign before 3: a payload, and the rest in its descriptor's annotations."""
    digest = _decode(payload, _Simple, "the signature's payload").critical.image.docker_manifest_digest
    signature = _base64(annotations.get("dev.cosignproject.cosign/signature", ""))
    certificates = _pem_certificates(annotations, "certificate") + _pem_certificates(annotations, "chain")
    entries: tuple[LogEntry, ...] = ()
    if old := annotations.get("dev.sigstore.cosign/bundle"):
        entries = (_old_entry(_decode(old.encode(), _OldEntry, "the signature's log entry")),)
    return Signed(
        digests=frozenset([digest]),
        message=payload,
        signature=signature,
        certificate=certificates[0] if certificates else None,
        chain=tuple(certificates[1:]),
        entries=entries,
    )


def _subjects(payload: bytes) -> frozenset[str]:
    statement = _decode(payload, _Statement, "the bundle's statement")
    if not statement.type.startswith("https://in-toto.io/Statement/"):
        raise Refused(f"the bundle's statement is a {statement.type[:80]!r}")
    if statement.predicate_type != SIGNED:
        raise Refused(f"the bundle is an attestation ({statement.predicate_type[:120]!r}), not a signature")
    if len(statement.subject) > MAX_SUBJECTS:
        raise Refused(f"the bundle's statement has more than {MAX_SUBJECTS} subjects")
    return frozenset(
        f"{name}:{value}" for subject in statement.subject for name, value in subject.digest.items()
    )


def _old_entry(old: _OldEntry) -> LogEntry:
    try:
        log = bytes.fromhex(old.payload.log_id)
    except ValueError as error:
        raise Refused("the signature's log entry names no log") from error
    return LogEntry(
        log_id=LogId(log),
        canonicalized_body=old.payload.body,
        log_index=old.payload.log_index,
        integrated_time=old.payload.integrated_time,
        inclusion_promise=Promise(old.signed_entry_timestamp),
    )


def _pem_certificates(annotations: Mapping[str, str], name: str) -> list[bytes]:
    text = annotations.get(f"dev.sigstore.cosign/{name}", "")
    if not text.strip():
        return []
    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise Refused(f"the signature's {name} cannot be read") from error
    if len(found) > MAX_CHAIN:
        raise Refused(f"the signature's {name} has more than {MAX_CHAIN} certificates")
    return [each.public_bytes(Encoding.DER) for each in found]


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("the signature is not base64") from error


def _decode(raw: bytes, kind: type[_T], what: str) -> _T:
    if len(raw) > MAX_BUNDLE_BYTES:
        raise Refused(f"{what} has more than {MAX_BUNDLE_BYTES} bytes")
    try:
        return msgspec.json.decode(raw, type=kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Refused(f"{what}: {why(error)}") from error
    except RecursionError as error:
        raise Refused(f"{what} is nested too deeply") from error
