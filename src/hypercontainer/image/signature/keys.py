"""Public keys: read from PEM, and asked whether a signature is theirs.

ECDSA on P-256 and P-384, Ed25519, RSA from 2048 bits (PKCS #1 v1.5), as cosign makes them; SHA-256, and SHA-384 for
P-384.  With an Ed25519 key cosign signs an image's statement by Ed25519ph, and anything else by Ed25519: either counts,
since no message has the same signature by both.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)
from nacl import bindings
from nacl.exceptions import CryptoError as NaClError

MAX_KEY_BYTES = 64 << 10
MIN_RSA_BITS = 2048

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


def from_pem(data: bytes) -> PublicKey:
    """ValueError where it is none of those above."""
    if len(data) > MAX_KEY_BYTES:
        raise ValueError(f"more than {MAX_KEY_BYTES} bytes")
    return _taken(lambda: load_pem_public_key(data))


def from_der(data: bytes) -> PublicKey:
    """ValueError where it is none of those above."""
    return _taken(lambda: load_der_public_key(data))


def checked(key: object) -> PublicKey:
    """ValueError where ``key`` is none of those above."""
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise ValueError(f"an RSA key of {key.key_size} bits, at least {MIN_RSA_BITS} are wanted")
        return key
    raise ValueError("not a public key of ECDSA (P-256, P-384), Ed25519 or RSA")


def verifies(key: PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            return _verifies_ed25519(key, signature, message)
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        else:
            wide = isinstance(key.curve, ec.SECP384R1)
            key.verify(signature, message, ec.ECDSA(hashes.SHA384() if wide else hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _verifies_ed25519(key: ed25519.Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    """RFC 8032's Ed25519 or, of the message's hash, Ed25519ph."""
    with contextlib.suppress(InvalidSignature):
        key.verify(signature, message)
        return True
    state = bindings.crypto_sign_ed25519ph_state()
    bindings.crypto_sign_ed25519ph_update(state, message)
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    try:
        return bindings.crypto_sign_ed25519ph_final_verify(state, signature, raw)
    except (NaClError, ValueError):
        return False


def spki(key: PublicKey) -> bytes:
    """The key's DER, by which keys are compared."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def identifier(key: PublicKey) -> str:
    """In hexadecimal digits, for people and for what is written down."""
    return hashlib.sha256(spki(key)).hexdigest()


def _taken(load: Callable[[], object]) -> PublicKey:
    try:
        return checked(load())
    except UnsupportedAlgorithm as error:
        raise ValueError("not a public key of a kind that is known here") from error
