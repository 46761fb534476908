"""Makes what a guest or a hypervisor wrote fit to be printed on a terminal."""

from __future__ import annotations

import re

# Control characters but newline and tab, C1 controls, and the rest of an escape sequence they begin.
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[@-_])|[\0-\x08\x0b-\x1f\x7f-\x9f]")


def printable(data: bytes) -> str:
    """``data`` as text, without anything that a terminal would act on."""
    return _ESCAPES.sub("", data.decode(errors="replace"))
