"""Which images a Dockerfile names."""

from __future__ import annotations

import pytest

from hypercontainer.image.dockerfile import images


@pytest.mark.parametrize(
    ("text", "args", "wanted"),
    [
        ("FROM debian:12", {}, ["debian:12"]),
        (
            "# syntax=docker/dockerfile:1\nFROM --platform=$BUILDPLATFORM go AS b\nFROM scratch\nCOPY --from=b / /",
            {},
            ["go"],
        ),
        ("ARG V=12\nFROM debian:${V}\nFROM x:$V", {}, ["debian:12", "x:12"]),
        ("ARG V=12\nFROM debian:${V}", {"V": "13"}, ["debian:13"]),
        ("ARG V\nFROM debian:$V\nFROM a:${V:-7}\nFROM b${V:+x}", {}, ["a:7", "b"]),
        ("FROM a AS One\nFROM one\nCOPY --from=0 x y\nCOPY --link --from=nginx:1 x y", {}, ["a", "nginx:1"]),
        ("FROM a\nRUN --mount=type=bind,from=tools,target=/t --mount=from=a2 x", {}, ["a", "tools", "a2"]),
        ("FROM a\nRUN <<EOT sh\nFROM no\nEOT\nFROM \\\n  # between\n  yes", {}, ["a", "yes"]),
        ("# escape=`\nFROM `\n a", {}, ["a"]),
        ("FROM a\nRUN <<-'E' cat\n\tFROM no\n\tE\nFROM b", {}, ["a", "b"]),
        ("from a as b\nfrom b", {}, ["a"]),
        ("", {}, []),
        ("FROM", {}, []),
        ("FROM a \\", {}, ["a"]),
    ],
)
def test_images(text: str, args: dict[str, str], wanted: list[str]) -> None:
    assert images(text, args) == wanted
