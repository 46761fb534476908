"""The configuration of a user's Docker command line: ``$DOCKER_CONFIG/config.json``, or ``~/.docker/config.json``.

What else is in it is kept when it is written.  The command line imports this: only the standard library, and most of
that late.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypercontainer.errors import InvalidArgument, Unavailable

MAX_CONFIG_BYTES = 4 << 20


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where Docker's configuration file is for this user."""
    if folder := environ.get("DOCKER_CONFIG"):
        return Path(folder, "config.json")
    return Path(environ.get("HOME") or "~").expanduser() / ".docker" / "config.json"


def read(path: Path) -> dict[str, Any]:
    import json

    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise Unavailable(f"read {path}: {error.strerror}") from error
    if len(text) > MAX_CONFIG_BYTES:
        raise InvalidArgument(f"{path}: larger than {MAX_CONFIG_BYTES} bytes")
    try:
        document = json.loads(text or b"{}")
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidArgument(f"{path}: not a JSON object")
    return document


def dump(document: Mapping[str, Any]) -> bytes:
    import json

    return json.dumps(document, indent="\t").encode()


def write(path: Path, document: Mapping[str, Any]) -> None:
    replace(path, dump(document))


def replace(path: Path, data: bytes) -> None:
    """The file is replaced atomically, readable by its owner only; a symbolic link stays one."""
    import tempfile

    target = path.resolve()
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".config-", delete=False) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(target)
            except BaseException:
                Path(file.name).unlink()
                raise
    except OSError as error:
        raise Unavailable(f"write {path}: {error.strerror}") from error
