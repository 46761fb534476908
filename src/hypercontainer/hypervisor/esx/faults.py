"""What vSphere says is wrong, as errors of ours that name the thing and what helps."""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Mapping
from xml.parsers.expat import ExpatError

from pyVmomi import vim, vmodl

from hypercontainer.errors import (
    Conflict,
    DiskFull,
    HyperError,
    HypervisorError,
    InvalidArgument,
    NotSupported,
    Unavailable,
)
from hypercontainer.hypervisor.esx.settings import Settings
from hypercontainer.hypervisor.text import printable

MAX_WORDS = 300
UNREACHABLE = (OSError, http.client.HTTPException, ExpatError)


class Gone(HypervisorError):
    """What was asked for is not in the inventory."""


class Unreachable(Unavailable):
    """The server does not answer: what it has is not known, and may be again."""


def translated(what: str, error: BaseException, settings: Settings) -> HyperError:
    """``what`` was being done, as a phrase that says to what."""
    if isinstance(error, HyperError):
        return error
    said = _words(error)
    match error:
        case vim.fault.InvalidLogin():
            return Unavailable(
                f"{settings.where} does not know user {settings.user!r} with this password",
                hint=f"user and the contents of {settings.password_file}",
            )
        case vim.fault.NoPermission():
            return Unavailable(
                f"{what}: user {settings.user!r} may not: {_privilege(error)}",
                hint="docs/esx.md lists what its role needs",
            )
        case vim.fault.DuplicateName() | vim.fault.AlreadyExists():
            return Conflict(
                f"{what}: {settings.where} has something of this name already, which is not ours to touch",
                hint="another name, or a folder of its own for these VMs",
            )
        case vim.fault.NoDiskSpace() | vim.fault.InsufficientStorageSpace():
            return DiskFull(
                f"{what}: the datastore is full: {said}", hint="make room there, or configure another one"
            )
        case _:
            return _of_hosts(what, error, said, settings)


def _of_hosts(what: str, error: BaseException, said: str, settings: Settings) -> HyperError:
    match error:
        case vim.fault.InsufficientResourcesFault():
            return Unavailable(
                f"{what}: the hosts have not the resources: {said}",
                hint="a smaller VM, or another cluster or pool",
            )
        case vim.fault.InvalidHostState() | vim.fault.HostConnectFault() | vmodl.fault.HostCommunication():
            return Unavailable(
                f"{what}: its host cannot run VMs now: {said}", hint="is it in maintenance, or disconnected?"
            )
        case vim.fault.InvalidDatastore() | vim.fault.InaccessibleDatastore():
            return Unavailable(
                f"{what}: the datastore cannot be used: {said}", hint="datastore, in the configuration"
            )
        case vim.fault.RestrictedVersion():
            return NotSupported(
                f"{what}: its licence allows no changes by the API: {said}", hint="a licence that does"
            )
        case vmodl.fault.ManagedObjectNotFound():
            return Gone(f"{what}: {settings.where} has it no more: {said}")
        case vmodl.fault.NotSupported() | vmodl.fault.MethodNotFound() | vmodl.fault.NotImplemented():
            return NotSupported(f"{what}: {settings.where} cannot do this: {said}")
        case vmodl.MethodFault():
            return HypervisorError(f"{what}: {said}")
        case _:
            return _unheard(what, error, settings)


def _unheard(what: str, error: BaseException, settings: Settings) -> HyperError:
    """Of what is no answer of vSphere's."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = getattr(error, "verify_message", error)
        return Unavailable(
            f"{settings.where}: its certificate is not trusted: {why}",
            hint="ca, or thumbprint, in the configuration",
        )
    if isinstance(error, TimeoutError):
        return Unreachable(
            f"{what}: {settings.where} does not answer", hint="is it up, and can it be reached?"
        )
    if isinstance(error, UNREACHABLE):
        return Unreachable(
            f"{what}: {settings.where} cannot be reached: {_words(error)}",
            hint="host and port, in the configuration; is it up?",
        )
    return HypervisorError(f"{what}: {type(error).__name__}: {_words(error)}")


def of_answer(what: str, status: int, settings: Settings) -> HyperError:
    """Of an upload's or a download's status."""
    known: Mapping[int, HyperError] = {
        401: Unavailable(f"{what}: {settings.where} wants a session", hint="try again"),
        403: Unavailable(
            f"{what}: user {settings.user!r} may not", hint="Datastore.FileManagement, in its role"
        ),
        404: HypervisorError(f"{what}: there is no such file or datastore"),
        507: DiskFull(f"{what}: the datastore is full", hint="make room there, or configure another one"),
    }
    return known.get(status, HypervisorError(f"{what}: {settings.where} answered with status {status}"))


def unconfigured(settings: Settings, key: str, have: list[str]) -> InvalidArgument | Unavailable:
    """That the configuration's ``key`` names nothing, or nothing when it has to."""
    named, there = getattr(settings, key), ", ".join(sorted(have)[:10]) or "none"
    if named:
        return Unavailable(f"{settings.where} has no {key} {named!r}", hint=f"there is {there}")
    return InvalidArgument(f"{settings.where} has not one {key}", hint=f"configure one of {there}")


def _words(error: BaseException) -> str:
    said = getattr(error, "localizedMessage", None) or getattr(error, "msg", None) or str(error)
    plain = re.sub(r"\s+", " ", printable(str(said).encode())).strip()
    return plain[:MAX_WORDS] or type(error).__name__.rpartition(".")[2]


def _privilege(error: vim.fault.NoPermission) -> str:
    return str(error.privilegeId or "a privilege is missing")[:MAX_WORDS]
