"""Podfiles: Hyper's own description of a pod, JSON or YAML, read on the side of whoever has the file.

``read`` is pure but for ``fetch``, which the caller gives (``fetching.py`` has the real one): so a URI in a podfile is
opened with the rights of the user who runs it, and hyperd opens none.
"""

from __future__ import annotations

from hypercontainer.podfile.pod import read
from hypercontainer.podfile.storage import Fetch

__all__ = ["Fetch", "read"]
