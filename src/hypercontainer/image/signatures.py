"""The signatures that a registry has of an image, and the image's trial by them.

    GET referrers/DIGEST        cosign 3: manifests of bundles
    sha256-HEX                  the same as a tag, of registries that have no referrers
    sha256-HEX.sig              cosign before 3: a manifest whose layers are signatures

Whoever may push can put anything there: all of it is bounded, and looked at until one signature is as the rule asks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from hypercontainer.errors import DigestMismatch, ImageError, NotFound, RegistryError, Unauthorized, Untrusted
from hypercontainer.image.documents import OCI_MANIFEST, Descriptor, decode
from hypercontainer.image.model import Verified
from hypercontainer.image.reference import is_digest
from hypercontainer.image.registry import Repository
from hypercontainer.image.signature.bundle import (
    BUNDLE_TYPE,
    MAX_BUNDLE_BYTES,
    SIMPLE_SIGNING_TYPE,
    Signed,
    read_bundle,
    read_simple,
)
from hypercontainer.image.signature.check import check
from hypercontainer.image.signature.policy import Rule
from hypercontainer.image.signature.refusal import Refused

MAX_REFERRERS = 32  # of an image, those that are looked at
MAX_SIGNATURES = 32  # of one source
MAX_REASONS = 5  # that an error tells

NOTATION_TYPE = "application/vnd.cncf.notary.signature"
# What the fallback tag of cosign 3.1 says of its bundles: the type of their config, which is empty.
UNTOLD = ("", OCI_MANIFEST, "application/vnd.oci.empty.v1+json")

_T = TypeVar("_T")
Read = Callable[[], Signed]  # raises Refused


class _Referrer(msgspec.Struct, frozen=True, rename="camel"):
    digest: str
    artifact_type: str = ""


class _Referrers(msgspec.Struct, frozen=True):
    manifests: list[_Referrer] = []


class _Artifact(msgspec.Struct, frozen=True, rename="camel"):
    artifact_type: str = ""
    layers: list[Descriptor] = []


def verify(rule: Rule, name: str, sources: Sequence[Repository], digests: Sequence[str]) -> Verified:
    """Untrusted unless one of ``sources`` has a signature of one of ``digests`` as ``rule`` asks; it names the image
    ``name``, the rule, and what was found."""
    if rule.require == "refuse":
        raise Untrusted(f"image {name}: refused by {rule}")
    reasons: dict[str, None] = {}
    for source in sources:
        for read in _all(source, digests, is_origin=source is sources[-1]):
            try:
                signer, digest = check(read(), rule, digests)
            except Refused as refused:
                reasons[str(refused)] = None
            else:
                return Verified(rule.requirement, digest, signer)
    found = "; ".join(itertools.islice(reasons, MAX_REASONS)) or "none"
    raise Untrusted(
        f"image {name}: {rule} asks for {rule.asks_for}; of {digests[0]} was found: {found}",
        hint="have the image signed, or change the rule in the configuration",
    )


def _all(source: Repository, digests: Sequence[str], *, is_origin: bool) -> Iterator[Read]:
    """Every signature that ``source`` has; a mirror that fails has none."""
    try:
        for digest in digests:
            yield from itertools.islice(_of(source, digest), MAX_SIGNATURES)
    except (RegistryError, Unauthorized):
        if is_origin:
            raise


def _of(source: Repository, digest: str) -> Iterator[Read]:
    for referrer in _referrers(source, digest):
        artifact = None if referrer.artifact_type == NOTATION_TYPE else _artifact(source, referrer.digest)
        if NOTATION_TYPE in (referrer.artifact_type, artifact and artifact.artifact_type):
            yield partial(_refuse, "a signature of notation, which are not checked yet")
        for layer in artifact.layers if artifact else ():
            if layer.media_type.startswith(BUNDLE_TYPE):
                yield partial(_bundle, source, layer)
    older = _artifact(source, f"{_tag(digest)}.sig")
    for layer in older.layers if older else ():
        if layer.media_type == SIMPLE_SIGNING_TYPE:
            yield partial(_simple, source, layer)


def _referrers(source: Repository, digest: str) -> list[_Referrer]:
    """Those that say to be signatures first, then those that say nothing."""
    pages = source.referrers(digest)
    if pages is None:
        try:
            pages = [source.manifest(_tag(digest)).raw]
        except NotFound:
            return []
    found = [
        each for page in pages for each in _decoded(page, _Referrers).manifests if is_digest(each.digest)
    ]
    told = [each for each in found if each.artifact_type.startswith((BUNDLE_TYPE, NOTATION_TYPE))]
    return [*told, *(each for each in found if each.artifact_type in UNTOLD)][:MAX_REFERRERS]


def _artifact(source: Repository, reference: str) -> _Artifact | None:
    try:
        return _decoded(source.manifest(reference).raw, _Artifact)
    except (NotFound, DigestMismatch):
        return None


def _decoded(raw: bytes, kind: type[_T]) -> _T:
    """Empty where it is something else."""
    try:
        return decode(raw, kind, "")
    except ImageError:
        return kind()


def _tag(digest: str) -> str:
    """The distribution specification's "referrers tag schema"."""
    algorithm, _, value = digest.partition(":")
    return f"{algorithm}-{value[:64]}"


def _bundle(source: Repository, layer: Descriptor) -> Signed:
    return read_bundle(_blob(source, layer))


def _simple(source: Repository, layer: Descriptor) -> Signed:
    return read_simple(_blob(source, layer), layer.annotations or {})


def _blob(source: Repository, layer: Descriptor) -> bytes:
    if layer.size > MAX_BUNDLE_BYTES or not is_digest(layer.digest):
        raise Refused(f"a signature of more than {MAX_BUNDLE_BYTES} bytes, or without a digest")
    try:
        return source.small_blob(layer, f"signature {layer.digest} of {source}")
    except (NotFound, DigestMismatch) as error:
        raise Refused(error.message) from error


def _refuse(why: str) -> Signed:
    raise Refused(why)
