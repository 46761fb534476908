"""What a container and a pod go through, and what all handles on them have in common.

Made of sdk/aio/life.py by tools/make_sync.py; change it there.
"""

# ruff: noqa: A002, RUF100, E501
from __future__ import annotations

from typing import Self, TypeVar

from hypercontainer.sdk.aio import life as aio
from hypercontainer.sdk.portal import Facade

Held = TypeVar("Held", bound=aio.AsyncLife)


class Life(Facade[Held]):
    """A handle on a container or a pod.  As a context manager it is removed, by force, when the block is left."""

    @property
    def id(self) -> str:
        return self._async.id

    @property
    def name(self) -> str:
        return self._async.name

    @property
    def warnings(self) -> tuple[str, ...]:
        """What hyperd, and a podfile's reader, had to say when it was made."""
        return self._async.warnings

    def __enter__(self) -> Self:
        self._portal.call(self._async.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._portal.call(self._async.__aexit__(*_))

    def start(self) -> None:
        """Starts it; a container that runs already is left alone, and of a pod every container runs then that shall.

        Example::

            box.start()
        """
        self._portal.call(self._async.start())

    def stop(self, *, grace_s: int | None = None) -> None:
        """Asks it to end, and ends it after ``grace_s``.  None: as it was created, or ten seconds.

        Example::

            pod.stop(grace_s=0)
            assert pod.inspect().state != "running"
        """
        self._portal.call(self._async.stop(grace_s=grace_s))

    def restart(self, *, grace_s: int | None = None) -> None:
        """Stops and starts it.

        Example::

            box.restart(grace_s=0)
        """
        self._portal.call(self._async.restart(grace_s=grace_s))

    def kill(self, signal: str = "KILL") -> None:
        """Sends its first process a signal; of a pod, that of each container.

        Example::

            box.kill()
            assert box.wait() == 137
        """
        self._portal.call(self._async.kill(signal))

    def pause(self) -> None:
        """Makes it stand still until ``unpause``.

        Example::

            box.pause()
            assert box.inspect().state == "paused"
            box.unpause()
        """
        self._portal.call(self._async.pause())

    def unpause(self) -> None:
        """Lets it go on after ``pause``.

        Example::

            pod.pause()
            pod.unpause()
            assert pod.inspect().state == "running"
        """
        self._portal.call(self._async.unpause())

    def remove(self, *, force: bool = False) -> None:
        """Removes it with all that it has written; ``force``: also while it runs.

        Example::

            box.remove(force=True)
        """
        self._portal.call(self._async.remove(force=force))
