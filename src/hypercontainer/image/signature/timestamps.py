"""Signed timestamps (RFC 3161): when a signature was there, where its log does not say."""

from __future__ import annotations

import datetime

from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

from hypercontainer.image.signature.trusted_root import Authority

MAX_TIMESTAMP_BYTES = 64 << 10


def moments(
    timestamps: tuple[bytes, ...], signature: bytes, authorities: tuple[Authority, ...]
) -> list[datetime.datetime]:
    """Of those timestamps of ``signature`` that one of ``authorities`` made."""
    found = []
    for raw in timestamps:
        for authority in authorities:
            moment = _moment(raw, signature, authority) if len(raw) <= MAX_TIMESTAMP_BYTES else None
            if moment is not None:
                found.append(moment)
                break
    return found


def _moment(raw: bytes, signature: bytes, authority: Authority) -> datetime.datetime | None:
    try:
        response = decode_timestamp_response(raw)
        builder = VerifierBuilder(
            roots=[authority.chain[-1]],
            intermediates=list(authority.chain[1:-1]),
            tsa_certificate=authority.chain[0],
        )
        builder.build().verify_message(response, signature)
        moment = response.tst_info.gen_time
    except (VerificationError, ValueError):
        return None
    return moment if authority.period.covers(moment) else None
