"""Whether one signature is what a rule asks for."""

from __future__ import annotations

from collections.abc import Collection

from hypercontainer.image.signature import certificates, keys, timestamps, transparency
from hypercontainer.image.signature.bundle import Signed
from hypercontainer.image.signature.policy import Rule
from hypercontainer.image.signature.refusal import Refused


def check(signed: Signed, rule: Rule, digests: Collection[str]) -> tuple[str, str]:
    """(who signed, which of ``digests``), where ``signed`` is as ``rule`` asks; Refused says what is amiss."""
    of = next((digest for digest in digests if digest in signed.digests), None)
    if of is None:
        raise Refused("it is of another image")
    by = _by_key(signed, rule) if rule.require == "key" else _by_identity(signed, rule)
    return by, of


def _by_key(signed: Signed, rule: Rule) -> str:
    key = next((key for key in rule.keys if keys.verifies(key, signed.signature, signed.message)), None)
    if key is None:
        raise Refused("it is by none of these keys")
    if rule.root is not None:
        transparency.check(signed, keys.spki(key), rule.root.logs)
    return f"key {keys.identifier(key)}"


def _by_identity(signed: Signed, rule: Rule) -> str:
    root = rule.root
    assert root is not None, "the configuration has seen to it"
    if signed.certificate is None:
        raise Refused("it is by a key, and by no identity")
    certificate = certificates.read(signed.certificate)
    try:
        key = keys.checked(certificate.public_key())
    except ValueError as error:
        raise Refused(f"its certificate has {error}") from error
    if not keys.verifies(key, signed.signature, signed.message):
        raise Refused("it is not by the certificate that it comes with")
    moments = transparency.check(signed, signed.certificate, root.logs)
    moments += timestamps.moments(signed.timestamps, signed.signature, root.timestamp_authorities)
    certificates.check(certificate, root, moments)
    names, issuer = certificates.identities(certificate), certificates.issuer(certificate)
    by = f"{', '.join(names)[:300] or 'nobody'}, of {issuer[:200] or 'an issuer that is not named'}"
    if issuer != rule.issuer or not any(fits(name, wanted) for name in names for wanted in rule.identities):
        raise Refused(f"it is by {by}")
    return by


def fits(name: str, wanted: str) -> bool:
    """``*`` in ``wanted`` stands for any characters."""
    first, *others = wanted.split("*")
    if not others:
        return name == wanted
    if not name.startswith(first):
        return False
    at = len(first)
    for part in others[:-1]:
        found = name.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(name) - at >= len(others[-1]) and name.endswith(others[-1])
