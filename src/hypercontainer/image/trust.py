"""The policy applied: what a pull must find, and what must have been found before an image is used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from hypercontainer.errors import Remedy, Untrusted
from hypercontainer.image.model import Image, Verified
from hypercontainer.image.pull import Resolved
from hypercontainer.image.reference import Reference
from hypercontainer.image.registry import Repository
from hypercontainer.image.signature.policy import Policy

log = logging.getLogger(__name__)


def at_pull(
    policy: Policy, wanted: Reference, resolved: Resolved, sources: Sequence[Repository]
) -> Verified | None:
    """Before anything large is fetched: Untrusted, or what was found; None where nothing is asked.

    A signature of the index that the reference leads to is as good as one of the image's own manifest, which the
    index names by its digest.
    """
    rule = policy.rule_for(wanted.name)
    if rule is None:
        return None
    from hypercontainer.image.signatures import verify  # a fifth of a second's work for those who have rules

    digests = dict.fromkeys([resolved.named_digest, resolved.digest])
    found = verify(rule, wanted.familiar(), sources, list(digests))
    log.info("image %s is signed by %s: as %s asks", wanted.familiar(), found.signer, rule)
    return found


def at_use(
    policy: Policy, image: Image, reference: Reference | None, is_verified: Callable[[str, str], bool]
) -> None:
    """Untrusted unless every name by which ``image`` is asked for, all that it has where that is by its ID, asks for
    nothing that was not found."""
    names = [reference.name] if reference else [_repository(name) for name in _names(image)]
    for name in dict.fromkeys(names):
        rule = policy.rule_for(name)
        if rule is None or is_verified(image.id, rule.requirement):
            continue
        called = reference.familiar() if reference else f"{image.short_id} ({name or 'without a name'})"
        if rule.require == "refuse":
            raise Untrusted(f"image {called}: refused by {rule}")
        raise Untrusted(
            f"image {called}: {rule} asks for {rule.asks_for}, and none was found when it came",
            remedies=[Remedy("images.pull", called if reference else name, aim="to have it looked for")],
        )


def _names(image: Image) -> Sequence[str]:
    return (*image.references, *image.repo_digests) or ("",)


def _repository(name: str) -> str:
    """Of a canonical reference."""
    head = name.partition("@")[0]
    return head[: head.rfind(":")] if head.rfind(":") > head.rfind("/") else head
