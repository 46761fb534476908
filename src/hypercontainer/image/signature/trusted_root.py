"""``trusted_root.json``: whose certificates, logs and clocks are believed.

Source: sigstore's protobuf-specs, trusted root 0.1; cosign's `trusted-root create` and sigstore's TUF repository give
such files.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from cryptography import x509

from hypercontainer.contract.reading import why
from hypercontainer.image.signature import keys

MAX_ROOT_BYTES = 1 << 20
MEDIA_TYPE = "application/vnd.dev.sigstore.trustedroot"

_T = TypeVar("_T")
_Taken = TypeVar("_Taken")


class _Wire(msgspec.Struct, frozen=True, rename="camel"):
    pass


class _Period(_Wire, frozen=True):
    start: datetime.datetime | None = None
    end: datetime.datetime | None = None


class _Key(_Wire, frozen=True):
    raw_bytes: bytes
    valid_for: _Period = _Period()


class _LogId(_Wire, frozen=True):
    key_id: bytes


class _Log(_Wire, frozen=True):
    public_key: _Key
    log_id: _LogId
    base_url: str = ""


class _Certificate(_Wire, frozen=True):
    raw_bytes: bytes


class _Chain(_Wire, frozen=True):
    certificates: list[_Certificate]


class _Authority(_Wire, frozen=True):
    cert_chain: _Chain
    valid_for: _Period = _Period()


class _Root(_Wire, frozen=True):
    media_type: str
    tlogs: list[_Log] = []
    certificate_authorities: list[_Authority] = []
    ctlogs: list[_Log] = []
    timestamp_authorities: list[_Authority] = []


@dataclass(frozen=True)
class Period:
    """None: without end on that side.  Times have a zone."""

    start: datetime.datetime | None
    end: datetime.datetime | None

    def covers(self, moment: datetime.datetime) -> bool:
        return (self.start is None or self.start <= moment) and (self.end is None or moment <= self.end)


@dataclass(frozen=True)
class Log:
    """``name`` is for people; ``identifier`` is the one that entries and timestamps have."""

    name: str
    identifier: bytes
    key: keys.PublicKey
    period: Period


@dataclass(frozen=True)
class Authority:
    """``chain`` from the one that signs to the root."""

    chain: tuple[x509.Certificate, ...]
    period: Period


@dataclass(frozen=True)
class TrustedRoot:
    """``certificate_logs`` empty: a signer's certificate need be in none."""

    logs: tuple[Log, ...]
    authorities: tuple[Authority, ...]
    certificate_logs: tuple[Log, ...]
    timestamp_authorities: tuple[Authority, ...]


def read(raw: bytes) -> TrustedRoot:
    """ValueError where it is none."""
    if len(raw) > MAX_ROOT_BYTES:
        raise ValueError(f"more than {MAX_ROOT_BYTES} bytes")
    try:
        wire = msgspec.json.decode(raw, type=_Root)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(why(error)) from error
    if not wire.media_type.startswith(MEDIA_TYPE):
        raise ValueError(f"its media type is {wire.media_type[:80]!r}, not {MEDIA_TYPE}")
    return TrustedRoot(
        logs=_each("tlogs", wire.tlogs, _log),
        authorities=_each("certificateAuthorities", wire.certificate_authorities, _authority),
        certificate_logs=_each("ctlogs", wire.ctlogs, _log),
        timestamp_authorities=_each("timestampAuthorities", wire.timestamp_authorities, _authority),
    )


def _each(field: str, items: list[_T], take: Callable[[_T], _Taken]) -> tuple[_Taken, ...]:
    taken = []
    for number, item in enumerate(items):
        try:
            taken.append(take(item))
        except ValueError as error:
            raise ValueError(f"{field}[{number}]: {error}") from error
    return tuple(taken)


def _log(wire: _Log) -> Log:
    key = keys.from_der(wire.public_key.raw_bytes)
    return Log(wire.base_url, wire.log_id.key_id, key, _period(wire.public_key.valid_for))


def _authority(wire: _Authority) -> Authority:
    chain = tuple(x509.load_der_x509_certificate(each.raw_bytes) for each in wire.cert_chain.certificates)
    if not chain:
        raise ValueError("it has no certificate")
    return Authority(chain, _period(wire.valid_for))


def _period(wire: _Period) -> Period:
    for moment in (wire.start, wire.end):
        if moment is not None and moment.tzinfo is None:
            raise ValueError("a time without a zone")
    return Period(wire.start, wire.end)
