"""Images on their way: pulled, pushed, loaded, saved, imported."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, BinaryIO

from hypercontainer.contract.images import PullTarget
from hypercontainer.engine.pipes import written
from hypercontainer.errors import HyperError, InvalidArgument, NotFound
from hypercontainer.image.reference import Reference, is_bare, parse
from hypercontainer.surfaces.docker.call import Call
from hypercontainer.surfaces.docker.layer_words import Pulled, loaded, pushed
from hypercontainer.surfaces.docker.messages import Said, streamed
from hypercontainer.surfaces.docker.names import instructions, one_platform, platform_of, tagged
from hypercontainer.surfaces.docker.registry_auth import credentials_of
from hypercontainer.surfaces.http.answers import Chunks

if TYPE_CHECKING:
    from hypercontainer.contract.calls import CredentialsBody

TAR = (("Content-Type", "application/x-tar"),)


async def create(call: Call) -> Chunks:
    return _import(call) if call.query.text("fromSrc") else _pull(call)


# Pull


def _pull(call: Call) -> Chunks:
    name, tag = call.query.text("fromImage"), call.query.text("tag")
    wanted = parse(tagged(name, tag) if tag else name)
    every = not tag and is_bare(name)
    platform, credentials = call.query.text("platform") or None, credentials_of(call)

    async def operation(said: Said) -> None:
        references = [wanted]
        if every:
            tags = await call.engine.images.tags(name, credentials=credentials)
            references = [Reference(wanted.registry, wanted.repository, each) for each in tags]
        newer = False
        for reference in references:
            await said.heard()
            newer |= await _pull_one(call, reference, platform, credentials, said)
        whole = wanted.familiar_name() if every else wanted.familiar()
        words = "Downloaded newer image for" if newer else "Image is up to date for"
        said.status(f"Status: {words} {whole}")

    return streamed(operation)


async def _pull_one(
    call: Call, reference: Reference, platform: str | None, credentials: CredentialsBody | None, said: Said
) -> bool:
    """Whether the reference did not lead to it before."""
    targets: list[PullTarget] = []
    lines: list[Pulled] = []

    def found(target: PullTarget) -> None:
        targets.append(target)
        lines.append(Pulled(said, known=target.here))
        said.status(f"Pulling from {reference.repository}", reference.digest or reference.tag or "")

    try:
        await call.engine.images.pull(
            reference.canonical,
            platform=platform,
            credentials=credentials,
            progress=lambda progress: lines[-1](progress),
            found=found,
        )
    except NotFound:
        if targets:
            raise
        raise NotFound(f"manifest for {reference.familiar()} not found: manifest unknown") from None
    said.status(f"Digest: {targets[-1].digest}")
    return not targets[-1].known


# Push


async def push(call: Call) -> Chunks:
    name, tag, credentials = call.name, call.query.text("tag"), credentials_of(call)
    platform = one_platform(call.query)
    wanted = parse(tagged(name, tag) if tag else name)

    async def operation(said: Said) -> None:
        said.status(f"The push refers to repository [{wanted.name}]")
        references = [parse(each) for each in await call.engine.images.names() if "@" not in each]
        own = [each for each in references if each.name == wanted.name]
        if not own:
            raise NotFound(f"An image does not exist locally with the tag: {wanted.familiar_name()}")
        if tag or not is_bare(name):
            own = [each for each in own if each.tag == wanted.tag]
        if not own:
            raise NotFound(f"tag does not exist: {wanted.familiar()}")
        for reference in own:
            await said.heard()
            await call.engine.images.get(reference.canonical, platform=platform)
            await _push_one(call, reference, credentials, said)

    return streamed(operation)


async def _push_one(
    call: Call, reference: Reference, credentials: CredentialsBody | None, said: Said
) -> None:
    images = call.engine.images
    digest = await images.push(reference.canonical, credentials=credentials, progress=pushed(said))
    size = 0
    with contextlib.suppress(HyperError):  # somebody has removed it meanwhile
        size = (await images.inspect(f"{reference.name}@{digest}")).manifest_bytes
    said.status(f"{reference.tag}: digest: {digest} size: {size}")
    said.say(progressDetail={}, aux={"Tag": reference.tag, "Digest": digest, "Size": size})


# Archives


async def load(call: Call) -> Chunks:
    platform, quiet = one_platform(call.query), call.query.flag("quiet")

    async def operation(said: Said) -> None:
        progress = None if quiet else loaded(said)
        for image in await call.engine.images.load(call.body, platform=platform, progress=progress):
            for reference in image.references:
                said.say(stream=f"Loaded image: {parse(reference).familiar()}\n")
            if not image.references:
                said.say(stream=f"Loaded image ID: {image.id}\n")

    return streamed(operation)


async def save(call: Call) -> Chunks:
    """Of one name in the path, or of several in the query."""
    names = list(call.names) or call.query.many("names")
    if platform := one_platform(call.query):
        for name in names:
            await call.engine.images.get(name, platform=platform)

    async def write(out: BinaryIO) -> None:
        await call.engine.images.save(names, out)

    return Chunks(200, TAR, written(write))


def _import(call: Call) -> Chunks:
    query = call.query
    if query.text("fromSrc") != "-":
        raise InvalidArgument("fromSrc takes - alone: hyperd fetches no addresses; send the archive itself")
    repository, tag = query.text("repo"), query.text("tag")

    async def operation(said: Said) -> None:
        made = await call.engine.images.import_(
            call.body,
            reference=tagged(repository, tag) if repository else None,
            change=instructions(query),
            message=query.text("message"),
            platform=platform_of(query.text("platform")),
        )
        said.status(made.id)

    return streamed(operation)
