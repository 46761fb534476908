"""Programs that come with this package, and may have lost the right to be run on their way into a file system."""

from __future__ import annotations

import os
from pathlib import Path

from hypercontainer.errors import Unavailable


def mended(path: Path) -> Path:
    """``path``, which may be run now.  Raises ``FileNotFoundError``, and ``Unavailable`` where it may not be."""
    mode = path.stat().st_mode
    if not mode & 0o111 or not os.access(path, os.X_OK):
        try:
            path.chmod(mode & 0o777 | (mode & 0o444) >> 2)  # for whom may read it
        except OSError as error:
            hint = f"make it executable: chmod a+x {path}"
            raise Unavailable(f"{path} may not be run: {error.strerror}", hint=hint) from error
    return path
