"""Images: from and to registries, archives and names.

Made of sdk/aio/images.py by tools/make_sync.py; change it there.
"""

# ruff: noqa: A002, RUF100, E501
from __future__ import annotations

import builtins
import os
from collections.abc import Mapping, Sequence
from typing import BinaryIO, Literal

from hypercontainer.contract.images import HistoryLine, ImageInspect, ImageSummary, Removed
from hypercontainer.image.credentials import Credentials
from hypercontainer.sdk.aio import images as aio
from hypercontainer.sdk.aio.archives import Archive
from hypercontainer.sdk.aio.building import OnText
from hypercontainer.sdk.aio.calls import Filters
from hypercontainer.sdk.portal import Facade
from hypercontainer.sdk.transport import OnProgress


class Images(Facade[aio.AsyncImages]):
    """All images."""

    def pull(
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
                hyper.images.pull("127.0.0.1:1/nothing", timeout_s=60)
            except hypercontainer.RegistryError as error:
                print(error)
        """
        return self._portal.call(
            self._async.pull(
                reference, platform=platform, credentials=credentials, progress=progress, timeout_s=timeout_s
            )
        )

    def build(
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
                image = hyper.images.build("no-such-directory", tags=["localhost/shop:1"])
            except hypercontainer.InvalidArgument as error:
                print(error)
        """
        return self._portal.call(
            self._async.build(
                path,
                file=file,
                dockerfile=dockerfile,
                tags=tags,
                target=target,
                args=args,
                labels=labels,
                secrets=secrets,
                platform=platform,
                no_cache=no_cache,
                pull=pull,
                network=network,
                out=out,
                format=format,
                on_text=on_text,
                progress=progress,
                timeout_s=timeout_s,
            )
        )

    def push(
        self,
        reference: str,
        *,
        credentials: Credentials | None = None,
        progress: OnProgress | None = None,
        timeout_s: float | None = None,
    ) -> str:
        """Sends an image to its registry; the digest of its manifest there.

        Example::

            hyper.images.tag("busybox", "127.0.0.1:1/busybox")
            try:
                hyper.images.push("127.0.0.1:1/busybox", timeout_s=60)
            except hypercontainer.RegistryError as error:
                print(error)
        """
        return self._portal.call(
            self._async.push(reference, credentials=credentials, progress=progress, timeout_s=timeout_s)
        )

    def list(self, *, filters: Filters | None = None) -> builtins.list[ImageSummary]:
        """The images that are here.  Filters: as of ``hyper images``.

        Example::

            for image in hyper.images.list():
                print(image.references, image.size_bytes)
        """
        return self._portal.call(self._async.list(filters=filters))

    def inspect(self, ref: str) -> ImageInspect:
        """One image, with its whole configuration.

        Example::

            assert hyper.images.inspect("busybox").os == "linux"
        """
        return self._portal.call(self._async.inspect(ref))

    def history(self, ref: str) -> builtins.list[HistoryLine]:
        """How it was built, newest step first.

        Example::

            for line in hyper.images.history("busybox"):
                print(line.created_by)
        """
        return self._portal.call(self._async.history(ref))

    def tag(self, source: str, target: str) -> None:
        """Gives an image one more name.

        Example::

            hyper.images.tag("busybox", "localhost/mine:1")
        """
        self._portal.call(self._async.tag(source, target))

    def remove(self, ref: str, *, force: bool = False) -> builtins.list[Removed]:
        """Takes a name away, and with its last name the image.

        Example::

            hyper.images.tag("busybox", "localhost/short-lived")
            removed = hyper.images.remove("localhost/short-lived")
            assert removed[0].untagged == "localhost/short-lived:latest"
        """
        return self._portal.call(self._async.remove(ref, force=force))

    def load(
        self, archive: Archive, *, platform: str | None = None, progress: OnProgress | None = None
    ) -> builtins.list[ImageSummary]:
        """The images of a tar that ``save`` or ``docker save`` has written: a path, bytes, or an open file.  Each has
        the names that the archive has for it.

        Example::

            hyper.images.save(["busybox"], "busybox.tar")
            loaded = hyper.images.load("busybox.tar")
            assert loaded[0].id == hyper.images.inspect("busybox").id
        """
        return self._portal.call(self._async.load(archive, platform=platform, progress=progress))

    def save(
        self,
        refs: Sequence[str],
        out: str | os.PathLike[str] | BinaryIO,
        *,
        format: str = "docker",
    ) -> None:
        """Writes images into a tar; ``format``: "docker" or "oci".  A repository without a tag is all of its tags.

        Example::

            hyper.images.save(["busybox"], "busybox.tar")
        """
        self._portal.call(self._async.save(refs, out, format=format))

    def import_(
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
            made = hyper.images.import_(root.getvalue(), reference="localhost/empty")
            assert made.references == ("localhost/empty:latest",)
        """
        return self._portal.call(
            self._async.import_(
                archive, reference=reference, changes=changes, message=message, platform=platform
            )
        )
