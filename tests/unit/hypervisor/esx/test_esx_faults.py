"""What vSphere says is wrong: each as an error that names the thing and what helps."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyVmomi", reason="pyvmomi is not installed")

from pyVmomi import vim, vmodl

from hypercontainer.errors import Conflict, DiskFull, HyperError, HypervisorError, NotSupported, Unavailable
from hypercontainer.hypervisor.esx.faults import Gone, Unreachable, of_answer, translated
from hypercontainer.hypervisor.esx.settings import Settings

SETTINGS = Settings("vc.example", "me", Path("/secret"), "192.0.2.1")

FAULTS: list[tuple[Any, type[HyperError], str, str]] = [
    (vim.fault.InvalidLogin(), Unavailable, "does not know user 'me'", "/secret"),
    (vim.fault.NoPermission(privilegeId="VApp.Import"), Unavailable, "may not: VApp.Import", "docs/esx.md"),
    (vim.fault.DuplicateName(name="web"), Conflict, "of this name already", "another name"),
    (vim.fault.NoDiskSpace(datastore="ds"), DiskFull, "datastore is full", "make room"),
    (vim.fault.InsufficientMemoryResourcesFault(), Unavailable, "not the resources", "smaller VM"),
    (vim.fault.InsufficientCpuResourcesFault(), Unavailable, "not the resources", "smaller VM"),
    (vim.fault.InvalidHostState(), Unavailable, "cannot run VMs now", "maintenance"),
    (vmodl.fault.HostNotConnected(), Unavailable, "cannot run VMs now", "disconnected"),
    (vim.fault.InvalidDatastore(name="ds"), Unavailable, "datastore cannot be used", "datastore"),
    (vim.fault.RestrictedVersion(), NotSupported, "licence", "licence"),
    (vmodl.fault.ManagedObjectNotFound(), Gone, "has it no more", ""),
    (vmodl.fault.NotSupported(), NotSupported, "cannot do this", ""),
    (vim.fault.TaskInProgress(), HypervisorError, "launching", ""),
    (TimeoutError(), Unreachable, "does not answer", "is it up"),
    (ConnectionRefusedError(111, "Connection refused"), Unreachable, "Connection refused", "host and port"),
    (ssl.SSLCertVerificationError(1, "x"), Unavailable, "is not trusted", "thumbprint"),
    (ValueError("a surprise"), HypervisorError, "ValueError: a surprise", ""),
]


@pytest.mark.parametrize(("fault", "kind", "words", "hint"), FAULTS, ids=lambda each: type(each).__name__)
def test_a_fault_is_an_error_of_ours(fault: Any, kind: type[HyperError], words: str, hint: str) -> None:
    error = translated("launching VM web", fault, SETTINGS)
    assert type(error) is kind
    assert words in error.message and hint in (error.hint or "")
    assert "web" in error.message or "vc.example" in error.message


def test_our_own_stay_as_they_are() -> None:
    own = Conflict("mine")
    assert translated("x", own, SETTINGS) is own


def test_what_a_server_says_is_short_and_printable() -> None:
    fault = vim.fault.TaskInProgress()
    fault.msg = "a\x1b[31m\nb" + "c" * 5000
    message = translated("x", fault, SETTINGS).message
    assert "\x1b" not in message and "\n" not in message and len(message) < 400


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Unavailable), (403, Unavailable), (404, HypervisorError), (507, DiskFull), (500, HypervisorError)],
)
def test_an_answer_is_an_error_of_ours(status: int, kind: type[HyperError]) -> None:
    assert type(of_answer("writing x", status, SETTINGS)) is kind
