"""What the configuration may say of a vSphere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor.esx.kind import make
from hypercontainer.hypervisor.esx.settings import take
from hypercontainer.hypervisor.kinds import Host

LEAST: dict[str, Any] = {"host": "vc.example", "user": "u@v", "password_file": "/p", "line_host": "192.0.2.1"}
PRINT = ":".join(["aB"] * 32)


def test_the_least_there_is() -> None:
    settings = take(LEAST)
    assert (settings.port, settings.line_port, settings.images, settings.line_pin) == (443, 13370, 8, True)


def test_a_thumbprint_is_as_it_is_copied() -> None:
    assert take(LEAST | {"thumbprint": PRINT}).thumbprint == "ab" * 32
    assert take(LEAST | {"thumbprint": "AB" * 32}).thumbprint == "ab" * 32


@pytest.mark.parametrize("key", LEAST)
def test_what_is_needed_is_named(key: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{key} is missing"):
        take({name: value for name, value in LEAST.items() if name != key})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hots": "x"}, "unknown key 'hots'"),
        ({"host": "https://vc"}, "host = "),
        ({"host": 5}, "host = "),
        ({"port": 0}, "port = 0"),
        ({"port": "443"}, "port = "),
        ({"password_file": "p"}, "password_file = 'p'"),
        ({"thumbprint": "ab"}, "thumbprint = 'ab'"),
        ({"insecure": 1}, "insecure = 1"),
        ({"ca": "/ca", "insecure": True}, "only one of ca, thumbprint and insecure"),
        ({"line_key": "/k"}, "line_certificate and line_key go together"),
        ({"folder": "a\nb"}, "folder = "),
        ({"images": -1}, "images = -1"),
        ({"line_port": 70000}, "line_port = 70000"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        take(LEAST | change)


def test_a_driver_is_made_and_connects_to_nothing(tmp_path: Path) -> None:
    driver = make("esx", LEAST, Host(tmp_path / "facts", tmp_path / "state"))
    assert driver.name == "esx" and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), (b"", "it is empty"), (b"\xff", "no text")]
)
def test_a_password_is_never_in_an_error(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidArgument, match=words):
        take(LEAST | {"password_file": str(path)}).password()


def test_a_password_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(" a pass word \r\n")
    assert take(LEAST | {"password_file": str(path)}).password() == " a pass word "
