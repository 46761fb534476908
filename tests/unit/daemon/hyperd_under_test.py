"""hyperd with an engine that does nothing, for tests that need the process.  FAKE_ENGINE says what goes wrong."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from hypercontainer.config import Config
from hypercontainer.daemon import service
from hypercontainer.daemon.main import main
from hypercontainer.errors import Unavailable


class FakeEngine:
    """Notes what is asked of it in ROOT/engine.log."""

    def __init__(self, config: Config) -> None:
        self._notes = config.root / "engine.log"
        self.containers = self.images = self.system = self.state = self

    def objects(self, kind: str) -> list[bytes]:
        return []

    def open_api(self, connect: object) -> None:
        pass

    async def held(self, ref: str) -> FakeEngine:
        return self

    def _note(self, text: str) -> None:
        with self._notes.open("a") as file:
            file.write(f"{os.getpid()} {text}\n")

    async def start(self) -> None:
        self._note("start")
        if os.environ.get("FAKE_ENGINE") == "fails":
            raise Unavailable("no kernel is here", hint="make kernel")
        if os.environ.get("FAKE_ENGINE") == "hangs":
            Path(os.environ["FAKE_ENGINE_FIFO"]).write_text("starting")
            await asyncio.get_running_loop().create_future()

    async def close(self, *, stop_containers: bool = False) -> None:
        self._note(f"close stop_containers={stop_containers}")

    async def wait(self, **_: Any) -> None:
        self._note("wait")
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    service.DRAIN_S = 0.2
    sys.exit(main(sys.argv[1:], make_engine=FakeEngine))  # type: ignore[arg-type]
