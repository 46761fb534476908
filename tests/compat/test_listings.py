"""Listings: fields, filters and formats of ps, images, volume ls; and the exit statuses of what is wrong."""

from __future__ import annotations

import busybox_image
from pair import Case, Pair, agree

IMAGE = busybox_image.REFERENCE
FIELDS = "ID Image Command State Status Ports Names Labels Mounts LocalVolumes".split()
PS_FORMATS = [
    *(f"{{{{.{name}}}}}" for name in FIELDS),
    "table {{.Names}}\t{{.Image}}\t{{.Status}}",
    'table {{.Names}}\\t{{.Label "com.example.tier-name"}}\\t{{.Labels}}',
    '{{.Label "a"}}|{{.Label "none"}}',
    "{{json .Names}} {{upper .State}} {{len .Names}}",
    "{{.Nope}}",
    "{{.Label}}",
    "{{foo}}",
]
PS_FILTERS = [
    *(
        "name=we",
        "name=^web$",
        "name=^/web$",
        "name=we.",
        "name=nope",
        "id=nope",
        "status=created",
        "status=running",
    ),
    *(
        "status=exited",
        "status=nope",
        "label=a",
        "label=a=1",
        "label=a=2",
        "label=none",
        "exited=0",
        "ancestor=localhost/busybox",
    ),
    *(
        f"ancestor={IMAGE}",
        "ancestor=nope",
        "before=web",
        "since=web",
        "before=worker",
        "since=worker",
        "before=nope",
    ),
    *(
        "volume=data",
        "volume=/data",
        "volume=none",
        "publish=80",
        "publish=18080",
        "expose=80/tcp",
        "network=none",
    ),
    *("health=none", "health=nope", "is-task=true", "nope=1", "name"),
]
IMAGE_FORMATS = [
    *(
        "{{.Repository}}",
        "{{.Tag}}",
        "{{.ID}}",
        "{{.Digest}}",
        "{{.Repository}}:{{.Tag}}",
        "table {{.Repository}}\t{{.Tag}}",
    ),
    *("{{json .Repository}} {{.Containers}}", "{{.Nope}}"),
]
IMAGE_FILTERS = [
    *(
        "reference=localhost/busybox",
        "reference=localhost/busy*",
        "reference=*/*:latest",
        "reference=nope",
        "dangling=true",
    ),
    *(
        "dangling=false",
        "dangling=nope",
        "label=a",
        "since=localhost/busybox",
        "before=localhost/busybox",
        "nope=1",
    ),
]
VOLUME_FILTERS = [
    "name=data",
    "name=^data$",
    "name=dat",
    "name=nope",
    "label=a",
    "label=a=b",
    "label=x",
    "driver=local",
    "driver=x",
]
VOLUME_FILTERS += ["dangling=true", "dangling=false", "nope=1"]
WRONG: list[Case] = [
    *(
        ("inspect", "nope"),
        ("container", "inspect", "nope"),
        ("image", "inspect", "nope"),
        ("volume", "inspect", "nope"),
    ),
    *(
        ("start", "nope"),
        ("stop", "nope"),
        ("kill", "nope"),
        ("rm", "nope"),
        ("rm", "-f", "nope"),
        ("logs", "nope"),
    ),
    *(
        ("wait", "nope"),
        ("exec", "nope", "true"),
        ("port", "nope"),
        ("rename", "nope", "x1"),
        ("rmi", "nope"),
        ("tag", "nope", "x"),
    ),
    *(
        ("exec", "web", "true"),
        ("kill", "web"),
        ("pause", "web"),
        ("top", "web"),
        ("stop", "web"),
        ("volume", "rm", "nope"),
    ),
    *(
        ("logs", "--since", "garbage", "web"),
        ("logs", "--tail", "x", "web"),
        ("kill", "-s", "NOPE", "web"),
        ("history", "nope"),
    ),
    *(
        ("run", "--nope", IMAGE),
        ("run",),
        ("ps", "--nope"),
        ("nope",),
        ("create", "--name", "web", IMAGE),
        ("rename", "web", "worker"),
    ),
    *(
        ("run", "--pull", "never", "localhost/nope"),
        ("create", "--name", "-x", IMAGE),
        ("create", "-m", "x", IMAGE),
    ),
]
DIFFERENT: dict[Case, str] = {
    ("images", "--format", "{{json .Repository}} {{.Containers}}"): "Docker counts them in system df alone",
    ("logs", "--tail", "x", "web"): "what is no number is said; Docker shows all",
}


def test_listings(pair: Pair) -> None:
    pair.make("volume", "create", "--label", "a=b", "data")
    words = ("-l", "com.example.tier-name=front", "-v", "data:/data", "-p", "18080:80")
    pair.make("create", "--name", "web", *words, IMAGE, "sleep", "100")
    pair.make("create", "--name", "worker", IMAGE, "sh", "-c", 'echo "a b"; exit 3')
    cases: list[Case] = [("ps", "-a", "--format", form) for form in PS_FORMATS]
    cases += [("ps", "-a", "-f", wish, "--format", "{{.Names}}") for wish in PS_FILTERS]
    cases += [("images", "--format", form) for form in IMAGE_FORMATS]
    cases += [("images", "-f", wish, "--format", "{{.Repository}}") for wish in IMAGE_FILTERS]
    cases += [("volume", "ls", "-f", wish, "--format", "{{.Name}}") for wish in VOLUME_FILTERS]
    cases += [("volume", "ls", "--format", '{{.Name}} {{.Driver}} {{.Labels}} {{.Label "a"}} {{.Scope}}')]
    cases += WRONG
    agree(pair, cases, DIFFERENT)
