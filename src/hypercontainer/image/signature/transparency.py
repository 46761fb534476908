"""Whether a transparency log has a signature, and since when.

Sources: sigstore's client specification; Rekor's entries hashedrekord and dsse, 0.0.1 and 0.0.2; RFC 6962 for the
tree; C2SP's signed notes for checkpoints.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from hypercontainer.image.signature import keys
from hypercontainer.image.signature.bundle import MAX_PROOF_HASHES, LogEntry, Proof, Signed
from hypercontainer.image.signature.refusal import Refused
from hypercontainer.image.signature.trusted_root import Log

MAX_NOTE_SIGNATURES = 16
MAX_NOTE_CHARS = 64 << 10
_NOTE_SIGNATURE = re.compile("\N{EM DASH} ([^ \n]+) ([^ \n]+)\n")


@dataclass(frozen=True)
class _Claim:
    """What a log's entry says: who signed what.  ``signer``: DER of a key or of a certificate."""

    digest: bytes
    signature: bytes
    signer: bytes


def check(signed: Signed, signer: bytes, logs: tuple[Log, ...]) -> list[datetime.datetime]:
    """The moments at which one of ``logs`` vouches to have taken the signature up; may be none, where a log vouches
    for the fact alone.  ``signer``: DER of the key, or of the certificate.  Refused where no log has it."""
    if not signed.entries:
        raise Refused("it is in no transparency log")
    problem = Refused("it is in no transparency log that the trusted root has")
    for entry in signed.entries:
        log = next((log for log in logs if log.identifier == entry.log_id.key_id), None)
        if log is not None:
            try:
                return _vouched(entry, log, signed, signer)
            except Refused as refused:
                problem = refused
    raise problem


def _vouched(entry: LogEntry, log: Log, signed: Signed, signer: bytes) -> list[datetime.datetime]:
    _check_body(entry.canonicalized_body, signed, signer)
    if entry.inclusion_promise is None and entry.inclusion_proof is None:
        raise Refused("its log entry has neither a promise nor a proof")
    if entry.inclusion_proof is not None:
        _check_proof(entry.inclusion_proof, entry.canonicalized_body, log)
    if entry.inclusion_promise is None:
        return []
    promise = entry.inclusion_promise.signed_entry_timestamp
    if not keys.verifies(log.key, promise, _promised(entry)):
        raise Refused("the promise of its log entry is not the log's")
    try:
        moment = datetime.datetime.fromtimestamp(entry.integrated_time, datetime.UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise Refused("its log entry has no time") from error
    if not log.period.covers(moment):
        raise Refused(f"its log entry is of {moment:%Y-%m-%d}, when the log's key was not in use")
    return [moment]


def _promised(entry: LogEntry) -> bytes:
    """Canonical JSON (RFC 8785): sorted names, no spaces; the values need no escapes."""
    return json.dumps(
        {
            "body": base64.b64encode(entry.canonicalized_body).decode(),
            "integratedTime": entry.integrated_time,
            "logID": entry.log_id.key_id.hex(),
            "logIndex": entry.log_index,
        },
        sort_keys=True,
        separators=(",", ":"),
    ).encode()


# What an entry says


def _check_body(body: bytes, signed: Signed, signer: bytes) -> None:
    try:
        kind, claims = _claims(body)
    except (KeyError, TypeError, ValueError, AttributeError, msgspec.MsgspecError, RecursionError) as error:
        raise Refused("its log entry is of a kind that is not known here") from error
    digest = signed.payload_hash if kind == "dsse" else hashlib.sha256(signed.message).digest()
    if _Claim(digest or b"", signed.signature, signer) not in claims:
        raise Refused("its log entry is of another signature")


def _claims(body: bytes) -> tuple[str, list[_Claim]]:
    """By kind and version; raises what a document raises that is of another form."""
    document = msgspec.json.decode(body)
    kind, version, spec = document["kind"], document["apiVersion"], document["spec"]
    return kind, list(_READERS[kind, version](spec))


def _record_1(spec: Any) -> Iterator[_Claim]:
    signature = spec["signature"]
    digest = _sha256(spec["data"]["hash"])
    yield _Claim(digest, _bytes(signature["content"]), _from_pem(_bytes(signature["publicKey"]["content"])))


def _envelope_1(spec: Any) -> Iterator[_Claim]:
    for each in spec["signatures"]:
        verifier = _from_pem(_bytes(each["verifier"]))
        yield _Claim(_sha256(spec["payloadHash"]), _bytes(each["signature"]), verifier)


def _record_2(spec: Any) -> Iterator[_Claim]:
    record = spec["hashedRekordV002"]
    yield _claim_2(record["data"], record["signature"])


def _envelope_2(spec: Any) -> Iterator[_Claim]:
    envelope = spec["dsseV002"]
    for each in envelope["signatures"]:
        yield _claim_2(envelope["payloadHash"], each)


_READERS: dict[tuple[str, str], Callable[[Any], Iterator[_Claim]]] = {
    ("hashedrekord", "0.0.1"): _record_1,
    ("dsse", "0.0.1"): _envelope_1,
    ("hashedrekord", "0.0.2"): _record_2,
    ("dsse", "0.0.2"): _envelope_2,
}


def _claim_2(data: Any, signature: Any) -> _Claim:
    if data["algorithm"] != "SHA2_256":
        raise ValueError("another hash")
    verifier = signature["verifier"]
    signer = verifier.get("x509Certificate") or verifier["publicKey"]
    return _Claim(_bytes(data["digest"]), _bytes(signature["content"]), _bytes(signer["rawBytes"]))


def _sha256(data: Any) -> bytes:
    if data["algorithm"] != "sha256":
        raise ValueError("another hash")
    return bytes.fromhex(data["value"])


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _from_pem(text: bytes) -> bytes:
    """The DER of one PEM block, whatever it is."""
    lines = text.strip().splitlines()
    if not lines[0].startswith(b"-----BEGIN ") or not lines[-1].startswith(b"-----END "):
        raise ValueError("no PEM block")
    return base64.b64decode(b"".join(lines[1:-1]), validate=True)


# The log's tree


def _check_proof(proof: Proof, body: bytes, log: Log) -> None:
    size, root = _checkpoint(proof, log)
    if (size, root) != (proof.tree_size, proof.root_hash):
        raise Refused("the proof of its log entry is of another tree than its checkpoint")
    leaf = hashlib.sha256(b"\0" + body).digest()
    if root_of(leaf, proof.log_index, proof.tree_size, proof.hashes) != proof.root_hash:
        raise Refused("the proof of its log entry does not lead to the log's root")


def root_of(leaf: bytes, index: int, size: int, hashes: list[bytes]) -> bytes | None:
    """The root of a tree of ``size`` leaves in which ``leaf`` stands at ``index`` (RFC 9162, 2.1.3.2); None where
    ``hashes`` are not those of such a place."""
    if not 0 <= index < size or len(hashes) > MAX_PROOF_HASHES:
        return None
    place, last, root = index, size - 1, leaf
    for sibling in hashes:
        if last == 0:
            return None
        if place & 1 or place == last:
            root = hashlib.sha256(b"\1" + sibling + root).digest()
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            root = hashlib.sha256(b"\1" + root + sibling).digest()
        place, last = place >> 1, last >> 1
    return root if last == 0 else None


def _checkpoint(proof: Proof, log: Log) -> tuple[int, bytes]:
    """The size and root that ``log`` has signed."""
    note = proof.checkpoint.envelope if proof.checkpoint else ""
    text, blank, signatures = note.partition("\n\n")
    text += "\n"
    if not blank or len(note) > MAX_NOTE_CHARS:
        raise Refused("the proof of its log entry has no checkpoint")
    if not any(keys.verifies(log.key, each, text.encode()) for each in _note_signatures(signatures, log)):
        raise Refused("the checkpoint of its log entry is not signed by the log")
    try:
        _, size, root = text.split("\n")[:3]
        return int(size), _bytes(root)
    except (ValueError, binascii.Error) as error:
        raise Refused("the checkpoint of its log entry cannot be read") from error


def _note_signatures(text: str, log: Log) -> Iterator[bytes]:
    """Those that say to be the log's: four bytes of its identifier, and the signature."""
    for _, encoded in _NOTE_SIGNATURE.findall(text)[:MAX_NOTE_SIGNATURES]:
        try:
            signature = _bytes(encoded)
        except ValueError:
            continue
        if signature[:4] == log.identifier[:4]:
            yield signature[4:]
