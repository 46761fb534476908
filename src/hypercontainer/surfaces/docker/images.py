"""What is asked of images that are here, and of registries beside pulls and pushes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from hypercontainer.contract.calls import CredentialsBody
from hypercontainer.engine.filters import question, truth
from hypercontainer.errors import Conflict, HyperError, ImageInUse, InvalidArgument, NoSuchImage
from hypercontainer.image.reference import DOCKER_HUB
from hypercontainer.semantics import image_shape
from hypercontainer.surfaces.docker import image_views, versions
from hypercontainer.surfaces.docker.call import Call, done, found
from hypercontainer.surfaces.docker.layer_words import short
from hypercontainer.surfaces.docker.names import instructions, platform_of, tagged
from hypercontainer.surfaces.docker.registry_auth import AuthConfig, credentials_of
from hypercontainer.surfaces.http.answers import Reply

SEARCH_LIMITS = range(1, 101)
SEARCH_LIMIT = 25


async def find(call: Call) -> Reply:
    """The newest first."""
    images = await call.engine.images.find(filters=call.query.filters())
    shared = await call.engine.images.shared_bytes() if call.query.flag("shared-size") else {}
    users = await _containers(call) if call.query.flag("manifests") else None
    shown = [
        image_views.summary(image, shared.get(image.id, -1), users)
        for image in sorted(images, key=lambda image: image_views.seconds(image.created), reverse=True)
    ]
    return found(versions.shaped("images", shown, call.version))


async def _containers(call: Call) -> image_views.Containers:
    users: dict[str, list[str]] = {}
    for each in await call.engine.containers.find(all=True):
        users.setdefault(each.image_id, []).append(each.id)
    return users


async def inspect(call: Call) -> Reply:
    platform, wanted = platform_of(call.query.text("platform")), call.query.flag("manifests")
    if platform and wanted:
        raise InvalidArgument("conflicting options: manifests and platform cannot both be given")
    try:
        await call.engine.images.get(call.name, platform=platform)
        image = await call.engine.images.inspect(call.name)
    except (
        InvalidArgument
    ):  # clients look for networks and volumes by this call, too, and go on after a 404 alone
        raise NoSuchImage(call.name) from None
    users = await _containers(call) if wanted else None
    shown = image_views.inspected(image, image_shape.image(msgspec.to_builtins(image)), users)
    return found(versions.shaped("image", shown, call.version))


async def history(call: Call) -> Reply:
    await call.engine.images.get(call.name, platform=platform_of(call.query.text("platform")))
    return found(image_views.history(await call.engine.images.history(call.name)))


async def tag(call: Call) -> Reply:
    await call.engine.images.tag(call.name, tagged(call.query.text("repo"), call.query.text("tag")))
    return done(201)


async def remove(call: Call) -> Reply:
    """``noprune`` says nothing: what an image was made of is none itself here."""
    for platform in map(platform_of, call.query.many("platforms")):
        await call.engine.images.get(call.name, platform=platform)
    force = call.query.flag("force")
    try:
        gone = await call.engine.images.remove(call.name, force=force)
    except ImageInUse as error:
        raise await _in_use(call, error, force) from None
    except Conflict:
        image = short((await call.engine.images.get(call.name)).id)  # or it is what several IDs begin with
        raise Conflict(
            f"conflict: unable to delete {image} (must be forced) - image is referenced in multiple repositories"
        ) from None
    return found(image_views.removed(gone))


async def _in_use(call: Call, error: ImageInUse, force: bool) -> Conflict:
    """In words that clients know; as it is, of what uses it and is no container."""
    try:
        container = await call.engine.containers.held(error.users[0])
    except HyperError:
        return error
    image, user = short(error.image_id), short(container.id)
    if not error.image_id.partition(":")[2].startswith(error.name.removeprefix("sha256:")):
        return Conflict(
            f'conflict: unable to remove repository reference "{error.name}" (must force) - container {user} is '
            f"using its referenced image {image}"
        )
    how, state = (
        ("cannot" if force or container.alive else "must"),
        "running" if container.alive else "stopped",
    )
    return Conflict(
        f"conflict: unable to delete {image} ({how} be forced) - image is being used by {state} container {user}"
    )


async def prune(call: Call) -> Reply:
    filters = call.query.filters(pruning=True)
    named = filters.pop("dangling", ("true",))
    gone = await call.engine.system.prune_images(
        all=not any(value in ("true", "1") for value in named), filters=filters
    )
    lines = image_views.removed(gone.removed)
    return found({"ImagesDeleted": lines or None, "SpaceReclaimed": gone.space_reclaimed_bytes})


# Registries


async def search(call: Call) -> Reply:
    term, limit = call.query.text("term"), call.query.number("limit") or SEARCH_LIMIT
    if limit not in SEARCH_LIMITS:
        raise InvalidArgument(f"limit {limit} is outside the range of [1, {SEARCH_LIMITS[-1]}]")
    registry, slash, rest = term.partition("/")
    own = bool(slash) and ("." in registry or ":" in registry or registry == "localhost")
    wanted = question("search", _SEARCH_READERS, call.query.filters())
    results = await call.engine.images.search(
        registry if own else DOCKER_HUB,
        rest if own else term,
        limit=limit,
        credentials=credentials_of(call),
    )
    return found(image_views.search([each for each in results if wanted(each)]))


def _at_least(value: str) -> Any:
    if not (value.isascii() and value.isdigit()):
        raise ValueError("is no number")
    return lambda result: result.stars >= int(value)


_SEARCH_READERS: dict[str, Any] = {
    "stars": _at_least,
    "is-official": truth(lambda result: result.official),
    "is-automated": truth(lambda _: False),
}


async def distribution(call: Call) -> Reply:
    described = await call.engine.images.describe(call.name, credentials=credentials_of(call))
    return found(image_views.distribution(described))


async def authenticate(call: Call) -> Reply:
    asked = call.json(AuthConfig)
    credentials = asked.credentials() or CredentialsBody()
    answer = await call.engine.images.authenticate(asked.serveraddress or DOCKER_HUB, credentials)
    return found({"Status": answer.status, "IdentityToken": answer.identity_token})


# Made of a container


Words = list[str] | Annotated[str, msgspec.Meta(max_length=1 << 16)] | None
Set = dict[str, dict[str, Any]] | None


class CommitConfig(msgspec.Struct, rename="pascal"):
    """What of a container's configuration is one of an image's."""

    user: str | None = None
    exposed_ports: Set = None
    env: list[str] | None = None
    entrypoint: Words = None
    cmd: Words = None
    volumes: Set = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    healthcheck: dict[str, Any] | None = None
    shell: list[str] | None = None
    on_build: list[str] | None = None

    def said(self) -> dict[str, Any]:
        """By their names in an image's configuration, without what is not said; a word alone is a list of it."""
        given = msgspec.to_builtins(self)
        for name in ("Entrypoint", "Cmd"):
            given[name] = [given[name]] if isinstance(given[name], str) else given[name]
        return {name: value for name, value in given.items() if value}


async def commit(call: Call) -> Reply:
    query = call.query
    config = call.json(CommitConfig | None, empty=True)  # type: ignore[arg-type]  # of a client that says null
    repository = query.text("repo")
    container = await call.entered(query.text("container"))
    made = await call.engine.containers.commit(
        container.id,
        reference=tagged(repository, query.text("tag")) if repository else None,
        change=instructions(query),
        message=query.text("comment"),
        author=query.text("author"),
        pause=query.flag("pause", True),
        config=config.said() if config else {},
    )
    return found({"Id": made.id}, 201)
