"""Secrets of pods, each pod's in a file that hyperd alone reads, for as long as the pod is; checked when they come."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from hypercontainer.contract.egress import SecretHeader
from hypercontainer.contract.networks import Join
from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.engine import files
from hypercontainer.engine.network.cni import is_cni
from hypercontainer.engine.network.wishes import SPECIAL
from hypercontainer.errors import InvalidArgument
from hypercontainer.network.egress import rules

FIELD = "secret_headers"
MOST, VALUE_MAX = 64, 8192  # headers of a pod, characters of one
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")  # a token (RFC 9110, section 5.6.2)
_VALUE = re.compile(r"[!-~\x80-\xff]([\t -~\x80-\xff]*[!-~\x80-\xff])?")
# What a message is framed and led by is no secret.
_FRAMING = frozenset(
    "connection content-length expect host keep-alive proxy-connection te trailer transfer-encoding upgrade".split()
)


class Kept(Struct, frozen=True):
    """``certificate``, ``key``: of the pod's authority, PEM, from its first start on."""

    secrets: tuple[SecretHeader, ...] = ()
    certificate: str = ""
    key: str = ""

    def __repr__(self) -> str:
        return f"Kept({self.secrets})"


class Secrets:
    """Owner of ``folder``, which nobody else may enter."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, Kept] = {}

    def open(self, pods: Collection[str]) -> None:
        """Takes back what these have; of others nothing is left."""
        if not self._folder.exists():
            return
        for path in self._folder.iterdir():
            if path.name in pods:
                with contextlib.suppress(msgspec.MsgspecError):  # cut off when the machine was
                    self._kept[path.name] = msgspec.json.decode(path.read_bytes(), type=Kept)
            else:
                path.unlink()

    def get(self, pod: str) -> Kept:
        return self._kept.get(pod, Kept())

    def put(self, pod: str, kept: Kept) -> None:
        files.make_private(self._folder)
        new = self._folder / f"{pod}.new"
        with contextlib.ExitStack() as undo:
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            undo.callback(new.unlink, missing_ok=True)
            with os.fdopen(fd, "wb") as file:
                file.write(msgspec.json.encode(kept))
            new.replace(self._folder / pod)
            undo.pop_all()
        self._kept[pod] = kept

    def drop(self, pod: str) -> None:
        """Nothing happens where there are none."""
        if self._kept.pop(pod, None) is not None:
            (self._folder / pod).unlink(missing_ok=True)

    @contextlib.contextmanager
    def made(self, pod: str, secrets: tuple[SecretHeader, ...]) -> Iterator[None]:
        """Kept afterwards, unless something fails."""
        if secrets:
            self.put(pod, Kept(secrets))
        try:
            yield
        except BaseException:
            self.drop(pod)
            raise


def check_secrets(secrets: Sequence[SecretHeader], joins: Sequence[Join]) -> None:
    """InvalidArgument, which never says a value."""
    if secrets and (is_cni(joins) or any(join.name in SPECIAL for join in joins)):
        raise InvalidArgument(
            f"a pod in network {joins[0].name!r} has no way out that a header could be set on",
            field=FIELD,
            hint="put it into a network of hyperd's, as `bridge`",
        )
    if len(secrets) > MOST:
        raise InvalidArgument(
            f"{len(secrets)} secret headers are too many", field=FIELD, takes=f"at most {MOST}"
        )
    made = tuple(_checked(each) for each in secrets)
    if len({(each.scheme, each.host, each.header.lower()) for each in made}) < len(made):
        raise InvalidArgument("a secret header comes twice", field=FIELD)


def _checked(secret: SecretHeader) -> SecretHeader:
    what = f"{secret.host[:80]}:{secret.header[:80]}"
    try:
        host = rules.host_name(secret.host)
    except rules.Refused as refused:
        raise InvalidArgument(str(refused), field=FIELD, takes="one host, as api.example.com") from None
    if secret.scheme not in rules.PORTS:
        raise InvalidArgument(
            f"{what}: {secret.scheme[:16]!r} is no scheme", field=FIELD, takes="https or http"
        )
    if not _NAME.fullmatch(secret.header) or secret.header.lower() in _FRAMING:
        raise InvalidArgument(f"{what} is no header that can be set", field=FIELD)
    if len(secret.value) > VALUE_MAX or not _VALUE.fullmatch(secret.value):
        raise InvalidArgument(
            f"{what}: its value is none", field=FIELD, takes=f"one line of at most {VALUE_MAX} characters"
        )
    return replace(secret, host=host)


def apart(
    spec: PodSpec, members: Sequence[ContainerSpec]
) -> tuple[PodSpec, list[ContainerSpec], tuple[SecretHeader, ...]]:
    """What may be written down, and what may not, of what is checked."""
    secrets = tuple(map(_checked, spec.secret_headers))
    shown = tuple(replace(each, value="") for each in secrets)
    alone = [replace(each, secret_headers=shown) if each.secret_headers else each for each in members]
    return replace(spec, secret_headers=shown), alone, secrets
