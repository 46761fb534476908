"""Images: from and to registries, archives and names."""

# ruff: noqa: A002 - names as in `subprocess` and the API

from __future__ import annotations

import builtins
import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Literal

from hypercontainer.client.context import Context
from hypercontainer.contract.builds import BuildSecret, BuildSpec
from hypercontainer.contract.calls import History, ImageList, Pushed, RemovedList
from hypercontainer.contract.images import HistoryLine, ImageInspect, ImageSummary, Removed
from hypercontainer.image.credentials import Credentials
from hypercontainer.sdk.aio import building, pulling
from hypercontainer.sdk.aio.archives import Archive, opened, written
from hypercontainer.sdk.aio.building import OnText
from hypercontainer.sdk.aio.calls import Filters, as_bytes, as_query
from hypercontainer.sdk.failures import deadline
from hypercontainer.sdk.transport import Api, OnProgress


class AsyncImages:
    """All images."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def pull(
        self,
        reference: str,
        *,
        platform: str | None = None,
        credentials: Credentials | None = None,
        progress: OnProgress | None = None,
        timeout_s: float | None = None,
    ) -> ImageSummary:
        """Fetches an image from its registry, with ``credentials`` or those of the user's ``docker login``.

        Example::

            try:
                await hyper.images.pull("127.0.0.1:1/nothing", timeout_s=60)
            except hypercontainer.RegistryError as error:
                print(error)
        """
        async with deadline(f"pull {reference}", timeout_s):
            return await pulling.pull(
                self._api,
                reference,
                platform=platform,
                credentials=credentials,
                progress=progress,
                whole=True,
            )

    async def build(
        self,
        path: str | os.PathLike[str] = ".",
        *,
        file: str = "",
        dockerfile: str | None = None,
        tags: Sequence[str] = (),
        target: str = "",
        args: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        secrets: Mapping[str, bytes | str] | None = None,
        platform: str | None = None,
        no_cache: bool = False,
        pull: bool = False,
        network: Literal["", "default", "none"] = "",
        out: str | os.PathLike[str] | BinaryIO | None = None,
        format: Literal["tar", "oci", "docker"] = "tar",
        on_text: OnText | None = None,
        progress: OnProgress | None = None,
        timeout_s: float | None = None,
    ) -> str:
        """Makes an image of a Dockerfile and its context, the directory ``path``; its ID.

        ``file``: the Dockerfile, in place of the one in ``path``; ``dockerfile``: its text.  With ``out`` the result is
        written there and "" returned; ``format``: "tar" of its files, "oci" or "docker" of the image.  ``on_text``:
        what the builder says, as it says it.  BuildFailed.

        Example::

            try:
                image = await hyper.images.build("no-such-directory", tags=["localhost/shop:1"])
            except hypercontainer.InvalidArgument as error:
                print(error)
        """
        context = Context(os.fspath(path), file, dockerfile)
        spec = BuildSpec(
            dockerfile=context.dockerfile,
            dockerfile_name=context.dockerfile_name,
            ignore=context.ignore,
            tags=tuple(tags),
            target=target,
            args=dict(args or {}),
            labels=dict(labels or {}),
            secrets=tuple(
                BuildSecret(name, as_bytes(value) or b"") for name, value in (secrets or {}).items()
            ),
            platform=platform,
            no_cache=no_cache,
            pull=pull,
            network=network,
            output="image" if out is None else format,
        )
        async with deadline(f"build of {os.fspath(path)}", timeout_s), contextlib.AsyncExitStack() as stack:
            spec = await building.with_images(self._api, spec, progress)
            file_out = None if out is None else await stack.enter_async_context(opened(out, "wb"))
            return await building.build(self._api, spec, os.fspath(path), context.pieces(), file_out, on_text)

    async def push(
        self,
        reference: str,
        *,
        credentials: Credentials | None = None,
        progress: OnProgress | None = None,
        timeout_s: float | None = None,
    ) -> str:
        """Sends an image to its registry; the digest of its manifest there.

        Example::

            await hyper.images.tag("busybox", "127.0.0.1:1/busybox")
            try:
                await hyper.images.push("127.0.0.1:1/busybox", timeout_s=60)
            except hypercontainer.RegistryError as error:
                print(error)
        """
        found = (
            pulling.as_json(credentials)
            if credentials is not None
            else await pulling.credentials_for(reference)
        )
        body: dict[str, Any] = {"reference": reference, "credentials": found}
        async with deadline(f"push {reference}", timeout_s):
            done = await self._api.operation("images.push", Pushed, body=body, progress=progress)
        return done.digest

    async def list(self, *, filters: Filters | None = None) -> builtins.list[ImageSummary]:
        """The images that are here.  Filters: as of ``hyper images``.

        Example::

            for image in await hyper.images.list():
                print(image.references, image.size_bytes)
        """
        query = {"filters": as_query(filters)}
        return (await self._api.call("images.find", ImageList, query=query)).images

    async def inspect(self, ref: str) -> ImageInspect:
        """One image, with its whole configuration.

        Example::

            assert (await hyper.images.inspect("busybox")).os == "linux"
        """
        return await self._api.call("images.inspect", ImageInspect, query={"ref": ref})

    async def history(self, ref: str) -> builtins.list[HistoryLine]:
        """How it was built, newest step first.

        Example::

            for line in await hyper.images.history("busybox"):
                print(line.created_by)
        """
        return (await self._api.call("images.history", History, query={"ref": ref})).history

    async def tag(self, source: str, target: str) -> None:
        """Gives an image one more name.

        Example::

            await hyper.images.tag("busybox", "localhost/mine:1")
        """
        await self._api.act("images.tag", body={"source": source, "target": target})

    async def remove(self, ref: str, *, force: bool = False) -> builtins.list[Removed]:
        """Takes a name away, and with its last name the image.

        Example::

            await hyper.images.tag("busybox", "localhost/short-lived")
            removed = await hyper.images.remove("localhost/short-lived")
            assert removed[0].untagged == "localhost/short-lived:latest"
        """
        query = {"ref": ref, "force": force}
        return (await self._api.call("images.remove", RemovedList, query=query)).removed

    async def load(
        self, archive: Archive, *, platform: str | None = None, progress: OnProgress | None = None
    ) -> builtins.list[ImageSummary]:
        """The images of a tar that ``save`` or ``docker save`` has written: a path, bytes, or an open file.  Each has
        the names that the archive has for it.

        Example::

            await hyper.images.save(["busybox"], "busybox.tar")
            loaded = await hyper.images.load("busybox.tar")
            assert loaded[0].id == (await hyper.images.inspect("busybox")).id
        """
        async with opened(archive, "rb") as stream:
            done = await self._api.operation(
                "images.load", ImageList, query={"platform": platform}, upload=stream, progress=progress
            )
        return done.images

    async def save(
        self,
        refs: Sequence[str],
        out: str | os.PathLike[str] | BinaryIO,
        *,
        format: str = "docker",
    ) -> None:
        """Writes images into a tar; ``format``: "docker" or "oci".  A repository without a tag is all of its tags.

        Example::

            await hyper.images.save(["busybox"], "busybox.tar")
        """
        query = {"ref": list(refs) if not isinstance(refs, str) else [refs], "format": format}
        async with self._api.exchange("images.save", query=query) as exchange:
            await written(exchange, out)

    async def import_(
        self,
        archive: Archive,
        *,
        reference: str | None = None,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str | None = None,
    ) -> ImageSummary:
        """Makes an image of a root file system in a tar.  ``changes``: lines such as ``CMD ["sh"]``; ``platform``: what
        its programs are for, this machine where it is None.

        Example::

            import io, tarfile
            root = io.BytesIO()
            with tarfile.open(fileobj=root, mode="w") as tar:
                tar.addfile(tarfile.TarInfo("empty"))
            made = await hyper.images.import_(root.getvalue(), reference="localhost/empty")
            assert made.references == ("localhost/empty:latest",)
        """
        query = {
            "reference": reference,
            "message": message,
            "change": list(changes),
            "platform": platform,
        }
        async with opened(archive, "rb") as stream:
            return await self._api.operation("images.import", ImageSummary, query=query, upload=stream)
