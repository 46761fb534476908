"""Why a signature does not count."""

from __future__ import annotations


class Refused(Exception):
    """In a few words for people: a policy's error lists them.  Nothing of it leaves the package `image`."""
