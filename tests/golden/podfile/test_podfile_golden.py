"""Every shape of podfile, and the pod that it becomes: what differs from the defaults, and what the user is told.

A difference is either a mistake or meant; then `HYPER_UPDATE_GOLDEN=1 pytest tests/golden/podfile` writes it down,
and the review shows it.
"""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hypercontainer import podfile
from hypercontainer.contract.spec import PodSpec

HERE = Path(__file__).parent
PODFILES = sorted([*HERE.glob("*.json"), *HERE.glob("*.yaml")])
ADDRESSES = {
    "file:///etc/resolv.conf": b"nameserver 192.0.2.53\n",
    "http://files.example/logo.png": b"\x89PNG\r\n\x1a\n",
    "https://files.example/key.b64": b"c2VjcmV0\n",
}


def said(value: Any) -> Any:
    """Structs as mappings of what is not a default; bytes as text, or base64 where they are none."""
    if isinstance(value, msgspec.Struct):
        fields = {
            field.name: said(getattr(value, field.name))
            for field in msgspec.structs.fields(value)
            if field.required or getattr(value, field.name) != default(field)
        }
        if "mode" in fields:
            fields["mode"] = f"{fields['mode']:04o}"
        kind = value.__struct_config__.tag
        return {"kind": kind} | fields if kind else fields
    if isinstance(value, tuple):
        return [said(item) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    return value


def default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


@pytest.mark.parametrize("path", PODFILES, ids=lambda path: path.name)
def test_a_podfile_becomes_its_pod(path: Path) -> None:
    spec, warnings = podfile.read(path.read_bytes(), where=path.name, fetch=ADDRESSES.__getitem__)
    found = json.dumps({"pod": said(spec), "warnings": warnings}, indent=2) + "\n"
    expected = HERE / "expected" / f"{path.name}.json"
    if os.environ.get("HYPER_UPDATE_GOLDEN"):
        expected.parent.mkdir(exist_ok=True)
        expected.write_text(found)
    assert found == expected.read_text()


@pytest.mark.parametrize("path", PODFILES, ids=lambda path: path.name)
def test_its_pod_survives_the_wire(path: Path) -> None:
    spec, _ = podfile.read(path.read_bytes(), where=path.name, fetch=ADDRESSES.__getitem__)
    assert msgspec.json.decode(msgspec.json.encode(spec), type=PodSpec) == spec


def test_there_is_nothing_without_a_podfile() -> None:
    assert len(PODFILES) >= 16
    assert {path.name for path in (HERE / "expected").iterdir()} == {f"{path.name}.json" for path in PODFILES}


def test_the_manual_shows_a_podfile_that_is_read() -> None:
    manual = (HERE.parents[2] / "docs" / "podfile.md").read_text()
    examples = re.findall(r"^```yaml\n(.*?)^```", manual, re.DOTALL | re.MULTILINE)
    assert examples
    for example in examples:
        spec, warnings = podfile.read(example, where="podfile.md", fetch=ADDRESSES.__getitem__)
        assert spec.containers[0].files[0].mode == 0o644
        assert not warnings
