"""What one hyperd is told from another by: an ID of its root directory, made once."""

from __future__ import annotations

import uuid
from pathlib import Path

from hypercontainer.linux import disk


def of(root: Path) -> str:
    """A UUID, the same at every start.  Unavailable, which names the file.  Blocks."""
    path = root / "id"
    try:
        try:
            return str(uuid.UUID(path.read_text(encoding="ascii").strip()))
        except (FileNotFoundError, ValueError):  # also one that the host's end has left empty
            made, new = str(uuid.uuid4()), path.with_name(".id-new")
            new.write_text(f"{made}\n", encoding="ascii")
            disk.flush(new)
            new.replace(path)
            return made
    except OSError as error:
        raise disk.unavailable("cannot read or write this hyperd's ID", path, error) from error
