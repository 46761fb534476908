"""Images that something needs and that may have to be fetched first, with the user's own credentials.

hyperd itself is told never to pull, so credentials are looked for (and helpers run) only when something is fetched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from msgspec.structs import replace

from hypercontainer.contract.images import ImageInspect, ImageSummary
from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.contract.volumes import ImageVolume, Volume
from hypercontainer.errors import NotFound
from hypercontainer.image.credentials import Credentials, lookup
from hypercontainer.image.reference import parse
from hypercontainer.sdk.transport import Api, OnProgress

T = TypeVar("T")


async def credentials_for(reference: str) -> dict[str, str] | None:
    """The user's credentials for the registry of ``reference``, as the API takes them."""
    found = await asyncio.to_thread(lookup, parse(reference).registry)
    return None if found is None else as_json(found)


def as_json(credentials: Credentials) -> dict[str, str]:
    names = ("username", "password", "identity_token", "registry_token")
    return {name: getattr(credentials, name) for name in names}


async def pull(
    api: Api,
    reference: str,
    *,
    platform: str | None = None,
    credentials: Credentials | None = None,
    progress: OnProgress | None = None,
    artifacts: bool = True,
    whole: bool = False,
) -> ImageSummary:
    """To be used at once; ``whole``: when all of it is here.  ``artifacts`` False: it is to be a container's image."""
    found = as_json(credentials) if credentials is not None else await credentials_for(reference)
    body: dict[str, Any] = {
        "reference": reference,
        "platform": platform,
        "credentials": found,
        "whole": whole,
    }
    body |= {} if artifacts else {"artifacts": False}
    return await api.operation("images.pull", ImageSummary, body=body, progress=progress)


async def with_image(
    api: Api,
    spec: ContainerSpec,
    act: Callable[[ContainerSpec], Awaitable[T]],
    progress: OnProgress | None,
) -> T:
    """Does ``act(spec)``, with the image fetched before (``pull`` always) or after hyperd said that it has none."""
    local = replace(spec, pull="never", volumes=await _with_volumes(api, spec.volumes, progress))
    if spec.pull != "always":
        try:
            return await act(local)
        except NotFound:
            if spec.pull == "never" or (not spec.platform and await is_there(api, spec.image)):
                raise
    await pull(api, spec.image, platform=spec.platform, progress=progress, artifacts=False)
    return await act(local)


async def with_images(api: Api, spec: PodSpec, progress: OnProgress | None) -> PodSpec:
    """``spec`` with its images fetched; one that is for a platform is left to hyperd, which knows what it has."""
    members = []
    for member in spec.containers:
        member = replace(member, volumes=await _with_volumes(api, member.volumes, progress))
        local = replace(member, pull="never")
        if member.pull == "always" or (
            member.pull == "missing" and not member.platform and not await is_there(api, member.image)
        ):
            await pull(api, member.image, platform=member.platform, progress=progress, artifacts=False)
        members.append(member if member.platform and member.pull == "missing" else local)
    volumes = await _with_volumes(api, spec.volumes, progress)
    return replace(spec, containers=tuple(members), volumes=volumes)


async def _with_volumes(
    api: Api, volumes: tuple[Volume, ...], progress: OnProgress | None
) -> tuple[Volume, ...]:
    """With the images fetched that some of them are."""
    found = []
    for volume in volumes:
        source = volume.source
        if isinstance(source, ImageVolume) and source.pull != "never":
            if source.pull == "always" or not await is_there(api, source.reference):
                await pull(api, source.reference, progress=progress)
            volume = replace(volume, source=replace(source, pull="never"))
        found.append(volume)
    return tuple(found)


async def is_there(api: Api, reference: str) -> bool:
    try:
        await api.call("images.inspect", ImageInspect, query={"ref": reference})
    except NotFound:
        return False
    return True
