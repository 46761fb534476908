"""What the configuration asks of images: a rule for each kind of name.

The first rule whose pattern fits a repository's name is the one that counts; a repository that none fits may have any
image.  Light: most have no rule, and then nothing of what checks signatures is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hypercontainer.image.signature.keys import PublicKey
    from hypercontainer.image.signature.trusted_root import TrustedRoot

EVERYTHING = "*"
BELOW = "/*"


@dataclass(frozen=True)
class Rule:
    """``number`` counts from 1, as they stand in the configuration.  ``require``: none, refuse, key or keyless.
    ``asks_for`` is that for people.  ``requirement`` is the same for two rules that ask for the same, whatever they are
    for."""

    number: int
    match: str
    require: str
    asks_for: str = ""
    requirement: str = ""
    keys: tuple[PublicKey, ...] = ()
    identities: tuple[str, ...] = ()
    issuer: str = ""
    root: TrustedRoot | None = None

    def __str__(self) -> str:
        return f'[[images.policy]] {self.number} (match = "{self.match}")'

    def fits(self, name: str) -> bool:
        """``name``: a repository's, complete (docker.io/library/debian); "" is that of images without one."""
        if self.match == EVERYTHING:
            return True
        if self.match.endswith(BELOW):
            return name.startswith(self.match[:-1])
        return name == self.match


@dataclass(frozen=True)
class Policy:
    rules: tuple[Rule, ...] = ()

    def rule_for(self, name: str) -> Rule | None:
        """Of the repository ``name``; None where nothing is asked of it."""
        rule = next((rule for rule in self.rules if rule.fits(name)), None)
        return None if rule is None or rule.require == "none" else rule
