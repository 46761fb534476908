"""How long the seeded tests run: a little in `make test`, for long in `make soak`."""

from __future__ import annotations

import os


def rounds(*, short: int, soak: int) -> int:
    return soak if os.environ.get("HYPER_SOAK") else short
