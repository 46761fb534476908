"""Where built and fetched assets are kept, and what of the guest comes with this package."""

from __future__ import annotations

import os
from pathlib import Path

import hypercontainer
from hypercontainer.errors import InvalidArgument, Unavailable
from hypercontainer.linux.architectures import AMD64


def cache_dir() -> Path:
    """``$HYPER_CACHE``, else ``$XDG_CACHE_HOME/hyper``, else ``~/.cache/hyper``; it need not exist."""
    if named := os.environ.get("HYPER_CACHE"):
        path = Path(named)
        if not path.is_absolute():
            raise InvalidArgument(f"HYPER_CACHE={named}: not an absolute path")
        return path
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a path that is not absolute is to be ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "hyper"


def hyperstart_path(architecture: str = AMD64) -> Path:
    """The guest's init, a static binary; raises Unavailable where it was not built."""
    other = "" if architecture == AMD64 else f"-{architecture}"
    path = _packaged() / f"hyperstart{other}"
    if not path.is_file():
        hint = f"build it with `make guest{other}`"
        raise Unavailable(f"the guest's init {path} is missing", hint=hint)
    return path


def packaged_program() -> Path:
    """Where the User Mode Linux of a wheel is; who builds here has none in the package."""
    return _packaged() / "uml"


def _packaged() -> Path:
    return Path(hypercontainer.__file__).parent / "_guest"
