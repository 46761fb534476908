"""What clients of BuildKit ask of it, as far as hyperd has to know and to change it; no input or output here.

``Control/Solve`` says what becomes of a build, and of whom its files come.  The frontend that reads the Dockerfile is
asked for there or, as buildx does, by a call of its own, ``LLBBridge/Solve``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hypercontainer.engine import protobuf
from hypercontainer.engine.protobuf import Field, Message
from hypercontainer.errors import NotSupported
from hypercontainer.image.reference import parse

CONTROL_STATUS = "/moby.buildkit.v1.Control/Status"
CONTROL_SOLVE = "/moby.buildkit.v1.Control/Solve"
BRIDGE_SOLVE = "/moby.buildkit.v1.frontend.LLBBridge/Solve"
BUILD_ID = b"buildkit-controlapi-buildid"  # of a call of the bridge: whose

# Numbers of fields.  Of what is said of exporters twice, older servers read the first, which is of one.
REF, SESSION = 1, 5
EXPORTER, EXPORTER_ATTRS, EXPORTERS = 3, 4, 13
ENTITLEMENTS = 9
TYPE, ATTRS = 1, 2  # of one of the exporters
FRONTENDS = {CONTROL_SOLVE: (6, 7), BRIDGE_SOLVE: (2, 3)}  # name, options
ANSWER, ANSWERS, DATA = (
    1,
    2,
    2,
)  # of an answer: what an exporter says; the same of several, each with its data

IMAGES = frozenset({"image", "moby"})  # exporters whose result stays where the builder is
IMAGE = "image"
NAME, DIGEST, CONFIG_DIGEST = "image.name", "containerimage.digest", "containerimage.config.digest"
PROVENANCE = "attest:provenance"
NAMING = "naming to "  # begins what an exporter says of an image's name
STATUSES, STATUS_ID, STATUS_NAME = 2, 1, 3  # of news of a build: how far something is, and what it is called
RESOLVE, NETWORK = "image-resolve-mode", "force-network-mode"
HOST_NETWORK = "network.host"


@dataclass(frozen=True)
class Job:
    """A build.  ``images``: its result is to be an image here, under ``tags``, and ``pushed`` under these."""

    ref: str
    session: str
    images: bool = False
    tags: tuple[str, ...] = ()
    pushed: bool = False

    @property
    def names(self) -> list[str]:
        """Its tags in full, as Docker tells of them."""
        return [parse(tag).canonical for tag in self.tags]


@dataclass(frozen=True)
class Frontend:
    """What reads the Dockerfile, "" where nothing does; and its options."""

    name: str = ""
    options: dict[str, str] = field(default_factory=dict)

    @property
    def pulls(self) -> bool:
        return self.options.get(RESOLVE) == "pull"

    @property
    def dockerfile(self) -> tuple[str, str]:
        """Of which of the client's directories, and the path in it."""
        return self.options.get("dockerfilekey", "dockerfile"), self.options.get("filename") or "Dockerfile"

    @property
    def remote(self) -> bool:
        """The Dockerfile is where the context is, which is no directory of the client's."""
        return "://" in self.options.get("context", "") and "dockerfilekey" not in self.options

    @property
    def args(self) -> dict[str, str]:
        return self._after("build-arg:")

    def named(self) -> list[str]:
        """Images that stand for names of the Dockerfile's."""
        contexts = self._after("context:").values()
        return [each.removeprefix(IMAGE_CONTEXT) for each in contexts if each.startswith(IMAGE_CONTEXT)]

    def _after(self, prefix: str) -> dict[str, str]:
        options = self.options.items()
        return {name.removeprefix(prefix): value for name, value in options if name.startswith(prefix)}


IMAGE_CONTEXT = "docker-image://"


def job(message: bytes) -> Job:
    """NotSupported."""
    said = protobuf.read(message)
    exporters = [(each.kind, each.attrs) for each in _exporters(said)]
    images = [attrs for kind, attrs in exporters if kind in IMAGES]
    if any(attrs.get("push-by-digest") == "true" for attrs in images):
        raise NotSupported("push-by-digest: an image is pushed by its name")
    tags = {tag: None for attrs in images for tag in attrs.get("name", "").split(",") if tag}
    return Job(
        protobuf.last_text(said, REF),
        protobuf.last_text(said, SESSION),
        bool(images),
        tuple(tags),
        any(attrs.get("push") == "true" for attrs in images),
    )


def redirected(message: bytes, name: str) -> bytes:
    """The same build, whose image the builder is to have under ``name``."""
    said = protobuf.read(message)
    changed = [each for each in said if each.number not in (EXPORTER, EXPORTER_ATTRS, EXPORTERS)]
    old, new = _old_exporter(said), [_exporter(each) for each in protobuf.all_of(said, EXPORTERS)]
    if old is not None:
        kind, attrs = _to(name, old)
        changed += [protobuf.text(EXPORTER, kind), *protobuf.table_fields(EXPORTER_ATTRS, attrs)]
    for raw, exporter in zip(protobuf.all_of(said, EXPORTERS), new, strict=True):
        kind, attrs = _to(name, exporter)
        rest = [each for each in protobuf.read(raw) if each.number not in (TYPE, ATTRS)]
        fields = [protobuf.text(TYPE, kind), *protobuf.table_fields(ATTRS, attrs), *rest]
        changed.append(Field(EXPORTERS, protobuf.written(fields)))
    return protobuf.written(changed)


def facts(answer: bytes) -> dict[str, str]:
    """What the exporters say of what they have made."""
    said = protobuf.read(answer)
    found = protobuf.table(said, ANSWER)
    for each in protobuf.all_of(said, ANSWERS):
        found |= protobuf.table(protobuf.read(each), DATA)
    return found


def settled(answer: bytes, name: str, job: Job, identifier: str, digest: str) -> bytes:
    """The same answer, of the image of this ID under its tags.  ``digest``: as which a registry has it."""

    def table(message: Message, number: int) -> Message:
        values = protobuf.table(message, number)
        if values.get(NAME) == name:
            values[NAME] = ",".join(job.names)
            if not job.tags:
                del values[NAME]
        for key, value in ((DIGEST, digest), (CONFIG_DIGEST, identifier)):
            if key in values:
                values[key] = value
        rest = [each for each in message if each.number != number]
        return [*rest, *protobuf.table_fields(number, values)]

    said = table(protobuf.read(answer), ANSWER)
    return protobuf.written(
        Field(ANSWERS, protobuf.written(table(protobuf.read(each.value), DATA)))
        if each.number == ANSWERS and isinstance(each.value, bytes)
        else each
        for each in said
    )


def reworded(news: bytes, names: Mapping[str, Sequence[str]]) -> bytes:
    """News of a build in which an image gets the names that it has here.  ``names``: these, by what the builder calls
    it.  What is no message stays as it is."""
    found = {f"{NAMING}{name}": tags for name, tags in names.items() if name.encode() in news}
    if not found:
        return news
    try:
        return protobuf.written(each for field in protobuf.read(news) for each in _reworded(field, found))
    except protobuf.Malformed:
        return news


def _reworded(field: Field, names: Mapping[str, Sequence[str]]) -> Message:
    if field.number != STATUSES or not isinstance(field.value, bytes):
        return [field]
    status = protobuf.read(field.value)
    if (said := protobuf.last_text(status, STATUS_ID)) not in names:
        return [field]

    def of(tag: str) -> Field:
        changed = [
            protobuf.text(each.number, f"{NAMING}{tag}")
            if each.number in (STATUS_ID, STATUS_NAME) and each.value == said.encode()
            else each
            for each in status
        ]
        return Field(STATUSES, protobuf.written(changed))

    return [of(tag) for tag in names[said]]


def frontend(path: str, message: bytes) -> Frontend:
    """Of a call of CONTROL_SOLVE or BRIDGE_SOLVE."""
    name, options = FRONTENDS[path]
    said = protobuf.read(message)
    return Frontend(protobuf.last_text(said, name), protobuf.table(said, options))


def with_options(path: str, message: bytes, options: Mapping[str, str]) -> bytes:
    _, number = FRONTENDS[path]
    rest = [each for each in protobuf.read(message) if each.number != number]
    return protobuf.written([*rest, *protobuf.table_fields(number, dict(options))])


def entitled(message: bytes) -> bytes:
    """The same build, whose steps may have the network of the builder's VM: it has no other."""
    return message + protobuf.written([protobuf.text(ENTITLEMENTS, HOST_NETWORK)])


def as_here(options: Mapping[str, str], *, resolved: bool) -> dict[str, str]:
    """What a Dockerfile is read with.  ``resolved``: the builder has all images as they are to be.

    Without the provenance that buildx asks for by itself: two builds of the same are the same image.
    """
    said = dict(options)
    if "inline-only=true" in said.get(PROVENANCE, ""):
        del said[PROVENANCE]
    if resolved and RESOLVE in said:
        said[RESOLVE] = "local"
    if said.get(NETWORK, "default") == "default":
        said[NETWORK] = "host"
    return said


@dataclass(frozen=True)
class _Exporter:
    kind: str
    attrs: dict[str, str]


def _exporter(raw: bytes) -> _Exporter:
    said = protobuf.read(raw)
    return _Exporter(protobuf.last_text(said, TYPE), protobuf.table(said, ATTRS))


def _old_exporter(said: Message) -> _Exporter | None:
    kind = protobuf.last_text(said, EXPORTER)
    return _Exporter(kind, protobuf.table(said, EXPORTER_ATTRS)) if kind else None


def _exporters(said: Message) -> list[_Exporter]:
    new = [_exporter(each) for each in protobuf.all_of(said, EXPORTERS)]
    old = _old_exporter(said)
    return new or ([old] if old is not None else [])


def _to(name: str, exporter: _Exporter) -> tuple[str, dict[str, str]]:
    if exporter.kind not in IMAGES:
        return exporter.kind, exporter.attrs
    kept = {key: value for key, value in exporter.attrs.items() if not key.startswith("push")}
    return IMAGE, kept | {"name": name, "push": "false", "unpack": "false"}
