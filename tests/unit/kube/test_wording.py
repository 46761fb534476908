"""What the engine refuses, in a manifest's words."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from lightkube.models import core_v1, meta_v1

from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.errors import InvalidArgument, Remedy
from hypercontainer.kube.schema import fields_of
from hypercontainer.surfaces.kube import wording


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("working_dir", "workingDir"),
        ("sysctls", "securityContext.sysctls"),
        ("dns", "dnsConfig.nameservers"),
        ("entrypoint", "command"),
        ("command", "args"),
    ],
)
def test_a_field_is_a_path(field: str, path: str) -> None:
    error = wording.in_manifest(InvalidArgument("'x' is wrong", field=field, takes="y"), "Deployment/web")
    assert (error.message, error.hint) == (f"Deployment/web: {path}: 'x' is wrong", "y")


def test_what_would_be_right_is_what_a_manifest_says() -> None:
    refused = InvalidArgument("user root is root", field="run_as_non_root", takes="a user other than 0")
    assert str(wording.in_manifest(refused, "Pod/web")) == (
        "Pod/web: securityContext.runAsNonRoot: user root is root (a number other than 0 in runAsUser)"
    )


def test_what_no_manifest_says_stays() -> None:
    refused = InvalidArgument("no", field="mac_address", remedies=[Remedy("pods.remove", "p")])
    error = wording.in_manifest(refused, "Pod/web")
    assert (error.message, error.remedies) == ("Pod/web: mac_address: no", refused.remedies)
    plain = InvalidArgument("no command specified", hint="name one")
    assert wording.in_manifest(plain, "Pod/web") is plain


def _leads_somewhere(kind: Any, path: str) -> bool:
    """In Kubernetes' own types; what has no fields of a name, such as limits, may have any."""
    name, _, rest = path.partition(".")
    known = fields_of(kind)
    if name not in known:
        return False
    inner = [one for one in typing.get_args(known[name]) if hasattr(one, "__struct_fields__")]
    return not rest or not inner or any(_leads_somewhere(one, rest) for one in inner)


@pytest.mark.parametrize(("field", "path"), wording._PATHS.items())
def test_fields_and_paths_are_there(field: str, path: str) -> None:
    assert field in {*ContainerSpec.__struct_fields__, *PodSpec.__struct_fields__}
    if path.startswith("metadata."):
        assert _leads_somewhere(meta_v1.ObjectMeta, path.removeprefix("metadata."))
    else:
        assert _leads_somewhere(core_v1.PodSpec, path) or _leads_somewhere(core_v1.Container, path)
