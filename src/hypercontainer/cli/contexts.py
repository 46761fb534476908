"""Contexts of Docker's command line, each a place where it finds a daemon: files beside its configuration, which all of
Docker's clients read.

    contexts/meta/SHA256(NAME)/meta.json    {"Name": .., "Metadata": {"Description": ..}, "Endpoints": {"docker": ..}}
    contexts/tls/SHA256(NAME)/docker/       ca.pem, cert.pem, key.pem, of those that are reached over TLS
    config.json                             "currentContext": NAME

Only those that were made here are changed and removed: their description says so.
"""

from __future__ import annotations

from hypercontainer.errors import Conflict, InvalidArgument, NotFound
from hypercontainer.image import docker_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

NAME = "hyper"
DOCKERS_OWN = "default"
OURS = "Hyper: a virtual machine for each container"
_CURRENT = "currentContext"
_NAME_MAX = 255


def make(name: str, host: str, material: Mapping[str, bytes] | None = None) -> None:
    """That leads to ``host``; ``material``: by its file's name what TLS is made of.  Conflict where there is one of
    this name that was not made here."""
    _check_ours(name, making=True)
    _forget_material(name)
    for file, data in (material or {}).items():
        docker_config.replace(_material(name) / file, data)
    endpoint = {"Host": host, "SkipTLSVerify": False}
    document = {"Name": name, "Metadata": {"Description": OURS}, "Endpoints": {"docker": endpoint}}
    docker_config.write(_file(name), document)


def remove(name: str) -> None:
    """NotFound; Conflict where it was not made here."""
    _check_ours(name, making=False)
    config = docker_config.read(docker_config.config_path())
    if config.get(_CURRENT) == name:
        del config[_CURRENT]
        docker_config.write(docker_config.config_path(), config)
    _forget_material(name)
    file = _file(name)
    file.unlink(missing_ok=True)
    file.parent.rmdir()


def use(name: str) -> None:
    """From now on it is the one that Docker's clients take."""
    config = docker_config.read(docker_config.config_path())
    docker_config.write(docker_config.config_path(), {**config, _CURRENT: name})


def _check_ours(name: str, *, making: bool) -> None:
    known = _known(name)
    if known is None:
        if not making:
            raise NotFound(f"there is no context {name}", hint="`docker context ls` lists them")
        return
    metadata = known.get("Metadata")
    if not isinstance(metadata, dict) or metadata.get("Description") != OURS:
        hint = "choose another name" if making else f"`docker context rm {name}` removes it"
        raise Conflict(f"context {name} was not made by Hyper", hint=hint)


def _known(name: str) -> dict[str, Any] | None:
    file = _file(name)
    return docker_config.read(file) if file.exists() else None


def _forget_material(name: str) -> None:
    from shutil import rmtree

    rmtree(_material(name).parent, ignore_errors=True)


def _file(name: str) -> Path:
    """What there is to say of it."""
    return _folder("meta", name) / "meta.json"


def _material(name: str) -> Path:
    return _folder("tls", name) / "docker"


def _folder(part: str, name: str) -> Path:
    from hashlib import sha256

    letters = name.replace("_", "").replace(".", "").replace("+", "").replace("-", "")
    good = letters.isascii() and letters.isalnum() and name[0].isalnum() and 1 < len(name) <= _NAME_MAX
    if not good or name == DOCKERS_OWN:
        raise InvalidArgument(
            f"invalid context name {name[:_NAME_MAX]!r}",
            hint="2 or more of [a-zA-Z0-9_.+-], beginning with a letter or digit",
        )
    return docker_config.config_path().parent / "contexts" / part / sha256(name.encode()).hexdigest()
