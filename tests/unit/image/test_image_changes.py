from __future__ import annotations

from typing import Any

import pytest

from hypercontainer.errors import InvalidArgument
from hypercontainer.image.changes import apply


def applied(*changes: str, **before: Any) -> dict[str, Any]:
    config = dict(before)
    apply(config, changes)
    return config


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('CMD ["a", "b c"]', {"Cmd": ["a", "b c"]}),
        ("cmd echo hi", {"Cmd": ["/bin/sh", "-c", "echo hi"]}),
        ("CMD [not json]", {"Cmd": ["/bin/sh", "-c", "[not json]"]}),
        ('ENTRYPOINT ["/e"]', {"Entrypoint": ["/e"]}),
        ("ENV A=1 B=\"two words\" C='$x' D=a\\ b", {"Env": ["A=1", "B=two words", "C=$x", "D=a b"]}),
        ("ENV A the rest = of it", {"Env": ["A=the rest = of it"]}),
        ("LABEL a=b 'c d'=e", {"Labels": {"a": "b", "c d": "e"}}),
        ("EXPOSE 80 90-91/udp", {"ExposedPorts": {"80/tcp": {}, "90/udp": {}, "91/udp": {}}}),
        ('VOLUME ["/a b", "/c"]', {"Volumes": {"/a b": {}, "/c": {}}}),
        ("VOLUME /a /b", {"Volumes": {"/a": {}, "/b": {}}}),
        ("USER app:app", {"User": "app:app"}),
        ("WORKDIR /a/../b", {"WorkingDir": "/b"}),
        ("STOPSIGNAL SIGQUIT", {"StopSignal": "SIGQUIT"}),
        ("ONBUILD RUN make", {"OnBuild": ["RUN make"]}),
        ("HEALTHCHECK NONE", {"Healthcheck": {"Test": ["NONE"]}}),
        (
            'HEALTHCHECK --interval=1m30s --retries=2 CMD ["curl", "x"]',
            {"Healthcheck": {"Interval": 90_000_000_000, "Retries": 2, "Test": ["CMD", "curl", "x"]}},
        ),
        ("HEALTHCHECK CMD curl x", {"Healthcheck": {"Test": ["CMD-SHELL", "curl x"]}}),
    ],
)
def test_instructions(change: str, expected: dict[str, Any]) -> None:
    assert applied(change) == expected


def test_what_is_there_is_kept_or_replaced_in_place() -> None:
    config = applied(
        "ENV B=9 C=3", "LABEL x=2", "WORKDIR sub", Env=["A=1", "B=2"], Labels={"x": "1"}, WorkingDir="/w"
    )
    assert config == {"Env": ["A=1", "B=9", "C=3"], "Labels": {"x": "2"}, "WorkingDir": "/w/sub"}


@pytest.mark.parametrize(
    "change",
    [
        "",
        "RUN x",
        "CMD",
        "ENV A",
        "ENV =x",
        "ENV A=1 B",
        "EXPOSE http",
        "EXPOSE 0",
        "EXPOSE 70000",
        "EXPOSE 9-8",
        "USER 4294967296",
        'VOLUME [""]',
        "ONBUILD ONBUILD RUN x",
        "STOPSIGNAL SIGNONSENSE",
        "HEALTHCHECK curl",
        "HEALTHCHECK --interval=soon CMD x",
        "HEALTHCHECK --what=1 CMD x",
    ],
)
def test_refused(change: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^change: "):
        applied(change)
