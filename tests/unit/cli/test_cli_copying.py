"""What `cp` copies to where.  What Docker does with the same is compared in tests/compat/test_cp.py."""

from __future__ import annotations

import pytest

from hypercontainer.cli.copying import Place, Plan, first_name, parsed, plan, renamed, split
from hypercontainer.errors import HyperError


@pytest.mark.parametrize(
    ("argument", "found"),
    [
        ("box:/etc/passwd", ("box", "/etc/passwd")),
        ("box:etc", ("box", "/etc")),
        ("box:", ("box", "/")),
        ("box:/a:b", ("box", "/a:b")),
        ("./a:b", ("", "./a:b")),
        ("/a:b", ("", "/a:b")),
        ("-", ("", "-")),
        ("file", ("", "file")),
    ],
)
def test_arguments(argument: str, found: tuple[str, str]) -> None:
    assert parsed(argument) == found


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/a/b", ("/a", "b")),
        ("/a/b/", ("/a", "b")),
        ("/a/b/.", ("/a", "b")),
        ("/a", ("/", "a")),
        ("a", (".", "a")),
        ("a./", (".", "a.")),
        ("/", ("/", "")),
    ],
)
def test_parts_of_a_path(path: str, parts: tuple[str, str]) -> None:
    assert split(path) == parts


def test_first_names() -> None:
    names = {path: first_name(path) for path in ("/a/b", "/a/b/", "/a/b/.", "/", "/.", "/a/..")}
    assert names == {"/a/b": "b", "/a/b/": "b", "/a/b/.": ".", "/": ".", "/.": ".", "/a/..": "."}


@pytest.mark.parametrize(
    ("path", "name", "new"),
    [
        ("a", "b", "b"),
        ("a/x/a", "b", "b/x/a"),
        ("./x", "b", "b/x"),
        (".", "b", "b"),
        ("a/x", "", "a/x"),
    ],
)
def test_new_names(path: str, name: str, new: str) -> None:
    assert renamed(path, name) == new


FILE, DIRECTORY = (
    Place("/s/file", there=True, is_directory=False),
    Place("/s/dir", there=True, is_directory=True),
)


@pytest.mark.parametrize(
    ("source", "target", "wanted"),
    [
        (FILE, Place("/t", there=True, is_directory=True), Plan("/t")),
        (FILE, Place("/t/x", there=True, is_directory=False), Plan("/t", "x")),
        (FILE, Place("/t/x", there=False, is_directory=False), Plan("/t", "x")),
        (FILE, Place("/t/x/", there=False, is_directory=False), "no such directory"),
        (FILE, Place("/t/x/", there=True, is_directory=False), "not a directory"),
        (DIRECTORY, Place("/t", there=True, is_directory=True), Plan("/t")),
        (DIRECTORY, Place("/t/x", there=True, is_directory=False), "cannot copy a directory"),
        (DIRECTORY, Place("/t/x", there=False, is_directory=False), Plan("/t", "x")),
        (DIRECTORY, Place("/t/x/", there=False, is_directory=False), Plan("/t", "x")),
        (DIRECTORY, Place("/t/x/.", there=False, is_directory=False), "no such directory"),
        (
            Place("/s/file/", there=True, is_directory=False),
            Place("/t", there=True, is_directory=True),
            "not a directory",
        ),
    ],
)
def test_plans(source: Place, target: Place, wanted: Plan | str) -> None:
    if isinstance(wanted, Plan):
        assert plan(source, target) == wanted
    else:
        with pytest.raises(HyperError, match=wanted):
            plan(source, target)
