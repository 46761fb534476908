"""What a build begins with: the images that its Dockerfile names are pulled by hyperd where they are missing, and given
to the builder."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from hypercontainer.engine.build.exchange import CredentialsOf, Exchange
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.images import ImageService
from hypercontainer.errors import HyperError, NotFound
from hypercontainer.image.reference import parse

log = logging.getLogger(__name__)

NAMES_MAX = 64


class Bases:
    def __init__(self, images: ImageService, exchange: Exchange) -> None:
        self._images, self._exchange = images, exchange

    async def bring(
        self,
        builder: Container,
        names: Iterable[str],
        credentials: CredentialsOf,
        *,
        pull: bool = False,
        platform: str | None = None,
    ) -> bool:
        """Whether the builder has them all now.  ``pull``: also those that are here are asked for anew.  What cannot be
        had, and what is no image's name, is for the builder to find, and to say that it is missing."""
        found, complete = [], True
        for name in list(dict.fromkeys(names))[:NAMES_MAX]:
            try:
                await self._here(name, credentials, pull=pull, platform=platform)
            except HyperError as error:
                log.info("%s, of which an image is to be made, is not to be had: %s", name[:200], error)
                complete = False
            else:
                found.append(name)
        await self._exchange.hand_over(builder, found)
        return complete

    async def _here(self, name: str, credentials: CredentialsOf, *, pull: bool, platform: str | None) -> None:
        reference = parse(name)
        if not pull:
            try:
                await self._images.get(name, platform=platform)
            except NotFound:
                pass
            else:
                return
        await self._images.fetch(
            name, platform=platform, credentials=await credentials(reference.registry), artifacts=False
        )
