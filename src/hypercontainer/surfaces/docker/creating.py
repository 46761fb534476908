"""A container is created, and asked for in other words afterwards."""

from __future__ import annotations

import msgspec

from hypercontainer.contract.answers import Inspect
from hypercontainer.contract.networks import DEFAULT
from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.contract.volumes import HostPath
from hypercontainer.engine.names import NAME
from hypercontainer.errors import Conflict, HyperError, InvalidArgument, NameTaken, NotFound, NotSupported
from hypercontainer.image.reference import parse
from hypercontainer.surfaces.docker.call import Call, found
from hypercontainer.surfaces.docker.create import fields, mounts, resources
from hypercontainer.surfaces.docker.create.body import Body, HostConfig, Resources
from hypercontainer.surfaces.docker.create.spec import Wish, restart_policy, translated
from hypercontainer.surfaces.http.answers import Reply

NO_WIDE_MAC = (1, 52)  # from here on the address is said of a place in a network


async def create(call: Call) -> Reply:
    given = call.json(Body)
    if call.version >= NO_WIDE_MAC:
        given.mac_address = None
    name = call.query.text("name").removeprefix("/")
    if name and not NAME.fullmatch(name):
        raise InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    platform, others = call.query.text("platform"), await _others(call, given.host_config)
    wish = translated(given, name=name, platform=platform, others=others)
    identifier, warnings = await _created(call, wish)
    return found({"Id": identifier, "Warnings": [*wish.warnings, *warnings]}, 201)


async def _others(call: Call, host: HostConfig | None) -> dict[str, ContainerSpec]:
    """The containers that VolumesFrom names."""
    typed = (host.volumes_from if host else None) or ()
    named = [name for name, _ in mounts.others(typed)]
    return {name: (await _inspected(call, name)).spec for name in named}


async def _inspected(call: Call, name: str) -> Inspect:
    """Another container.  Where there is none that is no 404: of this call clients take one for a missing image."""
    try:
        return await (await call.container(name)).inspect()
    except NotFound as error:
        raise InvalidArgument(error.message) from None


async def _created(call: Call, wish: Wish) -> tuple[str, tuple[str, ...]]:
    """Its ID, and warnings."""
    spec = wish.spec
    if wish.joins:
        other = await _inspected(call, wish.joins)
        if spec.pid_mode and spec.pid_mode != other.spec.pid_mode:
            raise NotSupported(
                f"HostConfig.PidMode container:{wish.joins}: it keeps its processes to itself since it was created"
            )
        spec = msgspec.structs.replace(spec, pod=other.pod)
    spec = await _linked(call, spec)
    try:
        made = await call.engine.containers.create(
            spec, asked_by=call.peer_uid, said=wish.said, networks_later=True, couple=_pod(wish)
        )
    except NotFound as error:
        raise await _missing(call, spec, error) from error
    except NameTaken as error:
        raise await name_taken(call, spec.name or "") from error
    return made.id, made.warnings


async def _linked(call: Call, spec: ContainerSpec) -> ContainerSpec:
    """In the default network a link is to a container that is there, whatever it is called by."""
    if spec.networks and spec.networks[0].name != DEFAULT:
        return spec
    links = []
    for name, _, alias in (link.partition(":") for link in spec.links):
        try:
            other = await _inspected(call, name)
        except InvalidArgument as error:
            raise InvalidArgument(f"could not get container for {name}: {error.message}") from None
        links.append(f"{other.name}:{alias or name}")
    return msgspec.structs.replace(spec, links=tuple(links))


async def _missing(call: Call, spec: ContainerSpec, error: NotFound) -> HyperError:
    """Any 404 of this call means to clients that they are to pull the image: so it is not said of a directory."""
    image = next((remedy.of for remedy in error.remedies if remedy.call == "images.pull"), "")
    if not image:
        try:
            await call.engine.images.inspect(spec.image)
        except NotFound:
            image = spec.image
        else:
            return InvalidArgument(_no_directory(spec, error) or error.message, hint=error.hint)
    return NotFound(f"No such image: {_shown(image)}" + (f" ({error.message})" if spec.platform else ""))


def _no_directory(spec: ContainerSpec, error: NotFound) -> str:
    """As Docker says it; "" where it is something else that is missing."""
    places = [volume.source.path for volume in spec.volumes if isinstance(volume.source, HostPath)]
    missing = [place for place in places if error.message.startswith(f"{place}: ")]
    what = 'invalid mount config for type "bind": bind source path does not exist'
    return f"{what}: {missing[0]}" if missing else ""


def _shown(image: str) -> str:
    try:
        return parse(image).familiar()
    except InvalidArgument:  # of an ID
        return image


def _pod(wish: Wish) -> PodSpec | None:
    """The one that it is coupled into."""
    vm = wish.vm
    if not vm.pod:
        return None
    return PodSpec(name=vm.pod, memory_bytes=vm.memory_bytes, cpus=vm.cpus)


async def name_taken(call: Call, name: str) -> Conflict:
    """As Docker says it."""
    try:
        by = f'container "{(await _inspected(call, name)).id}"'
    except HyperError:
        by = "a container that is being created"
    return Conflict(
        f'Conflict. The container name "/{name}" is already in use by {by}. You have to remove (or rename) that '
        "container to be able to reuse that name."
    )


async def update(call: Call) -> Reply:
    """Nothing and 0 leave things as they are."""
    given = call.json(Resources)
    said = fields.given(given)
    policy = said.pop("RestartPolicy", {}).get("Name")
    fields.check_refused(said)
    container = await call.container()
    restart = restart_policy(given.restart_policy) if policy and given.restart_policy else None
    await container.update(restart=restart, **resources.fields(given))
    return found({"Warnings": [*fields.warnings(said), *resources.warnings(given)] or None})
