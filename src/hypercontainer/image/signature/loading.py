"""A policy, of the configuration's rules and the files that they name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from hypercontainer.config.model import ImageRule
from hypercontainer.errors import InvalidArgument
from hypercontainer.image.reference import normalize_registry
from hypercontainer.image.signature import keys, trusted_root
from hypercontainer.image.signature.policy import Policy, Rule

KEY_DIGITS = 12  # of a key's identifier, for people

_T = TypeVar("_T")


def load(rules: Sequence[ImageRule]) -> Policy:
    """Reads the files that ``rules`` name; InvalidArgument names the rule and the file that is wrong."""
    return Policy(tuple(_load(number, rule) for number, rule in enumerate(rules, 1)))


def _load(number: int, rule: ImageRule) -> Rule:
    where = f"[[images.policy]] {number}"
    found = tuple(_read(path, where, keys.from_pem)[1] for path in rule.keys)
    raw, root = b"", None
    if rule.trusted_root is not None:
        raw, root = _read(rule.trusted_root, where, trusted_root.read)
    return Rule(
        number=number,
        match=_normalized(rule.match),
        require=rule.require,
        asks_for=_asks_for(rule, found),
        requirement=_requirement(rule, found, raw),
        keys=found,
        identities=rule.identities,
        issuer=rule.issuer,
        root=root,
    )


def _read(path: Path, where: str, take: Callable[[bytes], _T]) -> tuple[bytes, _T]:
    try:
        with path.open("rb") as file:
            data = file.read(trusted_root.MAX_ROOT_BYTES + 1)
        return data, take(data)
    except OSError as error:
        raise InvalidArgument(f"{where}: {path}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidArgument(f"{where}: {path}: {error}") from error


def _normalized(match: str) -> str:
    """With Docker Hub by the one name that complete references have."""
    registry, slash, rest = match.partition("/")
    return match if not slash else f"{normalize_registry(registry)}/{rest}"


def _asks_for(rule: ImageRule, found: Sequence[keys.PublicKey]) -> str:
    if rule.require == "key":
        names = " or ".join(keys.identifier(key)[:KEY_DIGITS] for key in found)
        return f"a signature by key {names}" + (", in a transparency log" if rule.trusted_root else "")
    return f"a signature by {' or '.join(rule.identities)}, of {rule.issuer}"


def _requirement(rule: ImageRule, found: Sequence[keys.PublicKey], root: bytes) -> str:
    parts = [
        rule.require,
        *sorted(keys.identifier(key) for key in found),
        *sorted(rule.identities),
        rule.issuer,
        hashlib.sha256(root).hexdigest(),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
