from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.errors import InvalidArgument
from hypercontainer.image import reference
from hypercontainer.image.reference import parse

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("debian", "docker.io/library/debian:latest", "debian:latest"),
        ("user/app", "docker.io/user/app:latest", "user/app:latest"),
        ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("index.docker.io/library/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("localhost/busybox:latest", "localhost/busybox:latest", "localhost/busybox:latest"),
        ("localhost:5000/a/b", "localhost:5000/a/b:latest", "localhost:5000/a/b:latest"),
        ("127.0.0.1:5000/x@" + DIGEST, "127.0.0.1:5000/x@" + DIGEST, "127.0.0.1:5000/x@" + DIGEST),
        ("[::1]:5000/x:1", "[::1]:5000/x:1", "[::1]:5000/x:1"),
        ("quay.io/a/b_c__d-e.f:V1.2", "quay.io/a/b_c__d-e.f:V1.2", "quay.io/a/b_c__d-e.f:V1.2"),
        ("debian:12@" + DIGEST, "docker.io/library/debian:12@" + DIGEST, "debian:12@" + DIGEST),
        # Shortened, these would be read as another registry's.
        ("docker.io/localhost/x", "docker.io/localhost/x:latest", "docker.io/localhost/x:latest"),
        ("docker.io/library/quay.io/x", "docker.io/library/quay.io/x:latest", "library/quay.io/x:latest"),
    ],
)
def test_names(text: str, canonical: str, familiar: str) -> None:
    assert parse(text).canonical == canonical
    assert parse(text).familiar() == familiar
    assert parse(canonical) == parse(text) == parse(familiar)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "empty"),
        ("Debian", "lower case"),
        ("a//b", "empty component"),
        ("a/", "empty component"),
        ("a..b", "component 'a..b'"),
        ("debian:", "tag ''"),
        ("debian:.x", "tag '.x'"),
        ("debian:" + "t" * 129, "tag"),
        ("debian@sha256:12", "digest"),
        ("debian@md5:" + HEX, "digest"),
        ("debian@", "digest"),
        ("-x.io/a", "registry"),
        ("x.io:99999/a", "port"),
        (HEX, "image ID"),
        ("a" * 256, "longer than 255"),
        ("a" * 10_000, "too long"),
        ("deb ian", "component"),
        ("debian\n", "component"),
        ("debian:12\n", "tag"),
    ],
)
def test_refused_naming_the_part(text: str, part: str) -> None:
    with pytest.raises(InvalidArgument, match="image reference") as caught:
        parse(text)
    assert part in str(caught.value)


component = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
registry = st.sampled_from(["docker.io", "localhost", "quay.io", "a.b-c.d:5000", "10.0.0.1:80", "[::1]"])
tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@given(registry, st.lists(component, min_size=1, max_size=4), st.none() | tag, st.none() | st.just(DIGEST))
def test_every_way_of_writing_a_reference_means_it(
    host: str, parts: list[str], t: str | None, d: str | None
) -> None:
    text = f"{host}/{'/'.join(parts)}" + (f":{t}" if t else "") + (f"@{d}" if d else "")
    found = parse(text)
    assert parse(found.canonical) == found
    assert parse(found.familiar()) == found
    assert len(found.familiar()) <= len(found.canonical)


@given(st.text(max_size=80))
def test_any_text_is_a_reference_or_an_invalid_argument(text: str) -> None:
    try:
        found = parse(text)
    except InvalidArgument:
        return
    assert parse(found.canonical) == found


def test_registries_as_they_stand_in_configurations() -> None:
    assert reference.normalize_registry("https://index.docker.io/v1/") == "docker.io"
    assert reference.normalize_registry("") == "docker.io"
    assert reference.normalize_registry("http://reg.local:5000/v2/") == "reg.local:5000"
    assert reference.api_host("docker.io") == "registry-1.docker.io"
    with pytest.raises(InvalidArgument):
        reference.normalize_registry("bad host")


def test_what_the_command_line_imports_is_cheap() -> None:
    code = (
        "import sys, hypercontainer.image.reference, hypercontainer.image.credentials;"
        "print([m for m in ('urllib3', 'msgspec', 'json', 'ssl', 'subprocess', 'sqlite3') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
