"""Makes what a guest or a hypervisor wrote fit to be printed on a terminal."""

from __future__ import annotations

import re

# Escape sequences (ECMA-48), whole; other control characters but newline and tab; C1 controls.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[ -/]*[0-~])|[\0-\x08\x0b-\x1f\x7f-\x9f]")


def printable(data: bytes) -> str:
    """``data`` as text, without anything that a terminal would act on."""
    return _ESCAPES.sub("", data.decode(errors="replace"))
