"""What the fake engine's containers have changed, and images that are made of it."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import msgspec

from hypercontainer.contract import answers as a
from hypercontainer.contract import images
from hypercontainer.contract.spec import ContainerSpec, RestartPolicy
from hypercontainer.engine.pipes import pieces_of
from hypercontainer.errors import InvalidArgument


class Changed:
    spec: ContainerSpec

    async def export(self) -> AsyncGenerator[bytes, None]:
        return pieces_of(b"tar of a container")

    async def changes(self) -> list[a.Change]:
        return [a.Change("/etc/passwd", "modified")]

    async def check_user(self, user: str) -> None:
        if user == "nosuch":
            raise InvalidArgument(f"unable to find user {user}")

    async def update(
        self,
        *,
        restart: RestartPolicy | None = None,
        memory_bytes: int | None = None,
        cpus: float | None = None,
        cpu_shares: int | None = None,
        pids_limit: int | None = None,
    ) -> None:
        wished = {"restart": restart, "memory_bytes": memory_bytes, "cpus": cpus}
        wished |= {"cpu_shares": cpu_shares, "pids_limit": pids_limit}
        said = {name: value for name, value in wished.items() if value is not None}
        self.spec = msgspec.structs.replace(self.spec, **said)


class Committed:
    _images: Any

    async def commit(
        self,
        container: str,
        *,
        reference: str | None = None,
        change: Sequence[str] = (),
        message: str = "",
        author: str = "",
        pause: bool = True,
        config: Mapping[str, Any] | None = None,
    ) -> images.ImageSummary:
        made: images.ImageSummary = await self._images.import_(
            io.BytesIO(b"layer"), reference=reference, change=change
        )
        return made
