"""Certificates of signers without keys of their own: who they are, and who vouches for that.

Sources: Fulcio's certificate specification and its object identifiers; RFC 6962, 3.2, for certificate logs' timestamps;
sigstore's client specification.
"""

from __future__ import annotations

import datetime
import hashlib
import struct

from cryptography import x509
from cryptography.x509.certificate_transparency import LogEntryType, SignedCertificateTimestamp
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from hypercontainer.image.signature import keys
from hypercontainer.image.signature.refusal import Refused
from hypercontainer.image.signature.trusted_root import Log, TrustedRoot

ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")  # DER's UTF8String
OLD_ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")  # the bytes of the text
UTF8_STRING = 0x0C
MAX_NAME_BYTES = 4096


def read(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise Refused("its certificate cannot be read") from error


def check(certificate: x509.Certificate, root: TrustedRoot, moments: list[datetime.datetime]) -> None:
    """Refused unless an authority of ``root`` made it for signing, it was good at all of ``moments``, and, where
    ``root`` has certificate logs, one of them has seen it."""
    if not moments:
        raise Refused("nobody vouches for when it was made")
    for moment in moments:
        issuer = _issuer_at(certificate, root, moment)
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise Refused("its certificate is not for signing code") from error
    if not usage.digital_signature or ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
        raise Refused("its certificate is not for signing code")
    if root.certificate_logs:
        _check_seen(certificate, issuer, root.certificate_logs)


def _issuer_at(
    certificate: x509.Certificate, root: TrustedRoot, moment: datetime.datetime
) -> x509.Certificate:
    """Who made it, as it was at ``moment``."""
    ca = ExtensionPolicy.webpki_defaults_ca()
    leaf = ExtensionPolicy.webpki_defaults_ee()
    usage = x509.ExtendedKeyUsage
    problem = "the trusted root has none for that time"
    for authority in root.authorities:
        if not authority.period.covers(moment):
            continue
        verifier = (
            PolicyBuilder()
            .store(Store([authority.chain[-1]]))
            .time(moment)
            .extension_policies(
                ca_policy=ca.may_be_present(usage, Criticality.NON_CRITICAL, None),
                ee_policy=leaf.may_be_present(usage, Criticality.NON_CRITICAL, None),
            )
            .build_client_verifier()
        )
        try:
            return verifier.verify(certificate, list(authority.chain[:-1])).chain[1]
        except (VerificationError, x509.UnsupportedGeneralNameType, ValueError) as error:
            problem = str(error)[:200]
    raise Refused(f"its certificate is of no trusted authority: {problem}")


def identities(certificate: x509.Certificate) -> list[str]:
    """Mail addresses and URIs that it was made out to."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError, x509.UnsupportedGeneralNameType):
        return []
    found = [
        *names.get_values_for_type(x509.RFC822Name),
        *names.get_values_for_type(x509.UniformResourceIdentifier),
    ]
    return [name for name in found if 0 < len(name) <= MAX_NAME_BYTES]


def issuer(certificate: x509.Certificate) -> str:
    """Who had told the authority who the signer is; "" where it does not say."""
    for identifier in (ISSUER, OLD_ISSUER):
        try:
            value = certificate.extensions.get_extension_for_oid(identifier).value
        except (x509.ExtensionNotFound, ValueError, x509.UnsupportedGeneralNameType):
            continue
        assert isinstance(value, x509.UnrecognizedExtension)
        return _text(value.value) if identifier == ISSUER else value.value.decode("utf-8", "replace")
    return ""


def _text(der: bytes) -> str:
    """Of a UTF8String; "" where it is none, or longer than a name."""
    if len(der) < 2 or der[0] != UTF8_STRING or len(der) > MAX_NAME_BYTES:
        return ""
    length, at = der[1], 2
    if length & 0x80:
        at += length & 0x7F
        length = int.from_bytes(der[2:at], "big")
    return der[at:].decode("utf-8", "replace") if len(der) - at == length else ""


# Certificate logs


def _check_seen(certificate: x509.Certificate, issuer: x509.Certificate, logs: tuple[Log, ...]) -> None:
    try:
        extension = x509.PrecertificateSignedCertificateTimestamps
        stamps = list(certificate.extensions.get_extension_for_class(extension).value)
        seen = any(_is_of(stamp, certificate, issuer, log) for stamp in stamps for log in logs)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise Refused("its certificate is in no certificate log") from error
    if not seen:
        raise Refused("its certificate is in no certificate log that the trusted root has")


def _is_of(
    stamp: SignedCertificateTimestamp, certificate: x509.Certificate, issuer: x509.Certificate, log: Log
) -> bool:
    moment = stamp.timestamp.replace(tzinfo=datetime.UTC)
    if (
        stamp.log_id != log.identifier
        or stamp.entry_type is not LogEntryType.PRE_CERTIFICATE
        or not log.period.covers(moment)
    ):
        return False
    content = certificate.tbs_precertificate_bytes
    milliseconds = (moment - datetime.datetime.fromtimestamp(0, datetime.UTC)) // datetime.timedelta(
        milliseconds=1
    )
    message = (
        struct.pack("!BBQH", stamp.version.value, 0, milliseconds, stamp.entry_type.value)
        + hashlib.sha256(keys.spki(keys.checked(issuer.public_key()))).digest()
        + len(content).to_bytes(3, "big")
        + content
        + struct.pack("!H", len(stamp.extension_bytes))
        + stamp.extension_bytes
    )
    return keys.verifies(log.key, stamp.signature, message)
