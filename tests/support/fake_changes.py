"""What the fake engine's containers have changed, and images that are made of it."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from hypercontainer.contract import answers as a
from hypercontainer.contract import images
from hypercontainer.engine.pipes import pieces_of


class Changed:
    async def export(self) -> AsyncGenerator[bytes, None]:
        return pieces_of(b"tar of a container")

    async def changes(self) -> list[a.Change]:
        return [a.Change("/etc/passwd", "modified")]


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
    ) -> images.ImageSummary:
        made: images.ImageSummary = await self._images.import_(
            io.BytesIO(b"layer"), reference=reference, change=change
        )
        return made
