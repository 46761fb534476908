"""Containers that run: events, exit statuses, logs by time, and what a container is given, beside Docker's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import busybox_image
from pair import Case, Pair, agree

IMAGE = busybox_image.REFERENCE
SEEN = ("type=container", "type=volume", "type=image")
NOT_COMPARED = {
    "timings": "Hyper's own",
    "save": "reading changes nothing",
}


def events(lines: str) -> Iterator[str]:
    """As "container die exitCode=3 ...", without what is another one each time."""
    for line in lines.splitlines():
        event: dict[str, Any] = json.loads(line)
        action = event["Action"].strip()
        if action in NOT_COMPARED:
            continue
        attributes = {
            name: re.sub(r"(sha256:)?[0-9a-f]{64}", "ID", value)
            for name, value in sorted(event["Actor"]["Attributes"].items())
            if name not in ("vm", "timings", "execDuration")  # which Docker has from 23 on
        }
        identifier = re.sub(r"(sha256:)?[0-9a-f]{64}", "ID", event["Actor"]["ID"])
        yield " ".join(
            [event["Type"], action, identifier, *(f"{name}={value}" for name, value in attributes.items())]
        )


def clocks(pair: Pair) -> list[str]:
    """Each one's own, which its events bear."""
    return [each("info", "--format", "{{.SystemTime}}").stdout.decode().strip() for each in pair.each]


def test_events(pair: Pair) -> None:
    begun = clocks(pair)
    for words in (
        ("volume", "create", "data"),
        ("run", "-d", "--name", "old", "-l", "a=b", IMAGE, "sleep", "1000"),
        ("rename", "old", "web"),
        ("exec", "web", "true"),
        ("pause", "web"),
        ("unpause", "web"),
        ("stop", "-t", "0", "web"),
        ("start", "web"),
        ("kill", "web"),
        ("wait", "web"),
        ("rm", "web"),
        ("volume", "rm", "data"),
        ("tag", IMAGE, "localhost/other:1"),
        ("rmi", "localhost/other:1"),
    ):
        pair.make(*words)
    told = []
    for each, since, until in zip(pair.each, begun, clocks(pair), strict=True):
        filters = [word for wish in SEEN for word in ("--filter", wish)]
        done = each("events", "--since", since, "--until", until, *filters, "--format", "{{json .}}")
        told.append(list(events(done.stdout.decode())))
    theirs, ours = told
    untagged = "image untag ID name="
    assert [line for line in theirs if not line.startswith(untagged)] == [
        line for line in ours if not line.startswith(untagged)
    ]
    # Docker's name of what has lost one is the image's ID; ours is the name that it has lost.
    assert [line for line in theirs + ours if line.startswith(untagged)] == [
        f"{untagged}ID",
        f"{untagged}localhost/other:1",
    ]


def test_statuses(pair: Pair) -> None:
    pair.make("run", "-d", "--name", "web", IMAGE, "sleep", "1000")
    agree(pair, STATUSES, DIFFERENT_STATUSES)


_RUN, _EXEC = ("run", "--rm", IMAGE), ("exec", "web")
STATUSES: list[Case] = [
    (*_RUN, "nosuch"),
    (*_RUN, "/etc/passwd"),
    (*_RUN, "/etc"),
    (*_RUN, "sh", "-c", "exit 3"),
    (*_RUN, "sh", "-c", "kill -9 $$"),
    ("run", "--rm", "-w", "/etc/passwd", IMAGE, "true"),
    ("run", "--rm", "-u", "nosuch", IMAGE, "true"),
    ("run", "--rm", "--entrypoint", "nosuch", IMAGE),
    ("run", "--name", "web", IMAGE, "true"),
    (*_EXEC, "sh", "-c", "exit 7"),
    (*_EXEC, "nosuch"),
    (*_EXEC, "/etc/passwd"),
    ("exec", "-w", "/nope", "web", "true"),
    ("exec", "-u", "nosuch", "web", "true"),
    ("exec", "-e", "A=1", "web", "sh", "-c", "echo $A"),
    ("inspect", "-f", "{{.State.Status}} {{.State.Running}} {{.State.ExitCode}} {{.RestartCount}}", "web"),
    ("top", "none"),
    ("port", "web"),
    ("pause", "web"),
    ("pause", "web"),
    (*_EXEC, "true"),
    ("unpause", "web"),
    ("unpause", "web"),
    ("rm", "web"),
    ("kill", "web"),
    ("wait", "web"),
    ("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "web"),
    ("kill", "web"),
    ("rm", "web"),
]
DIFFERENT_STATUSES: dict[Case, str] = {
    (
        "run",
        "--rm",
        "-u",
        "nosuch",
        IMAGE,
        "true",
    ): "126, as for all that keeps a program from being executed",
    (*_EXEC, "nosuch"): "127, as with run",
    ("exec", "-w", "/nope", "web", "true"): "127, as dockerd 28 has it",
}


def test_logs_by_time(pair: Pair) -> None:
    pair.make("run", "--name", "web", IMAGE, "echo", "line")
    cases: list[Case] = [
        ("logs", option, form, "web") for option in ("--since", "--until") for form in MOMENTS
    ]
    agree(pair, cases, {("logs", "--until", "0", "web"): "Docker takes it for no end at all"})


MOMENTS = """
0 1 1.5 1h 90m 1h30m 3600s 3600000ms 1.5h -1h 2000-01-01 2000-01-01T10 2000-01-01T10:00 2000-01-01T10:00:00
2000-01-01T10:00:00.5 2000-01-01Z 2000-01-01T10:00:00Z 2000-01-01T10:00:00.123456789+02:00 2100-01-01
2100-01-01T10:00:00+14:00 garbage 1d 2000-1-1 2000-02-30 10:00 1e3 2000-01-01T25:00:00
""".split()


def test_env_and_label_files(pair: Pair, tmp_path: Path) -> None:
    env, labels = tmp_path / "env", tmp_path / "labels"
    env.write_bytes(b"# none\n\nA=1\nB= two \n  C=3\nD\nE=\nF=a=b\nG=a\fb\nH=\xc2\x85x\nI='q'\r\nJ=\"q\"\n")
    labels.write_bytes(b"a=1\nb\nc= x \nd=a\xe2\x80\xa8b\n")
    words = (
        "-e",
        "K",
        "-e",
        "L=",
        "-l",
        "e",
        "-l",
        "f=",
        "--env-file",
        str(env),
        "--label-file",
        str(labels),
    )
    pair.make("create", "--name", "web", *words, IMAGE)
    theirs, ours = pair.documents("inspect", "web")
    # Docker keeps the names of variables that are to be taken away, and does it at the start.
    assert sorted(one for one in theirs["Config"]["Env"] if "=" in one) == sorted(ours["Config"]["Env"])
    # A line of a label file without "=" is a label here, as it is behind -l; Docker drops it.
    assert {**theirs["Config"]["Labels"], "b": ""} == ours["Config"]["Labels"]


PORTS = """
80 8080:80 127.0.0.1:8080:80 127.0.0.1::80 80/udp 8080:80/tcp 8080-8082:80-82 80-82 0:80 8080-8085:80 [::1]:8080:80 ::80
:80 8080: a:80 99999:80 80:99999 20-10 8080-8081:80-82 8080:80/sctp 8080:80/x 1.2.3:80:80 -1 80:80:80
""".split()
DIFFERENT_PORTS = {
    "[::1]:8080:80": "no way leads from IPv6's loopback address to a guest",
    "8080:80/sctp": "guests have no SCTP",
}


def test_forms_of_ports(pair: Pair) -> None:
    found = {}
    for number, form in enumerate(PORTS):
        name = f"port{number}"
        theirs, ours = pair("create", "--name", name, "-p", form, IMAGE)
        bound: list[Any] = [None, None]
        if theirs.status == ours.status == 0:
            bound = [ports(one["HostConfig"]["PortBindings"]) for one in pair.documents("inspect", name)]
        if (theirs.status, bound[0]) != (ours.status, bound[1]):
            found[form] = (theirs.status, bound[0], ours.status, bound[1])
    assert found.keys() == DIFFERENT_PORTS.keys(), found


def ports(bindings: dict[str, list[dict[str, str]]]) -> list[tuple[str, str, str]]:
    """(port, address, port of the host), "" for any."""
    return sorted(
        (port, each["HostIp"].replace("0.0.0.0", ""), each["HostPort"].replace("0", "") and each["HostPort"])
        for port, all_ in bindings.items()
        for each in all_
    )
