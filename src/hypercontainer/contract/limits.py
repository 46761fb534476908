"""Limits that both sides of a seam keep."""

from __future__ import annotations

CONTAINERS_MAX = 64
