"""Pods with a name: made, found, asked for by name; what one of them may be asked is its own to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypercontainer.contract.answers import PodCreated, PodSummary
from hypercontainer.contract.spec import PodSpec
from hypercontainer.engine.creation import Asker, Creation
from hypercontainer.engine.directory import Directory
from hypercontainer.engine.filters import question
from hypercontainer.engine.interface import Credentials, ProgressSink
from hypercontainer.engine.pod import views
from hypercontainer.engine.pod.pod import Pod


class PodService:
    """A container that was created alone has a pod too, which is not shown here."""

    def __init__(self, directory: Directory, creation: Creation) -> None:
        self._directory = directory
        self._creation = creation

    async def create(
        self,
        spec: PodSpec,
        *,
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
    ) -> PodCreated:
        """The pod and all its containers, or nothing.  ``asked_by`` as of containers."""
        return await self._creation.pod(spec, Asker(asked_by, credentials, progress))

    async def held(self, ref: str, *, also_of_one: bool = False) -> Pod:
        """By name, ID or the beginning of an ID, once it has been taken back from an earlier hyperd; ``also_of_one``:
        or that of a container that is alone, by its whole ID."""
        return await self._directory.held_pod(ref, also_of_one=also_of_one)

    async def find(self, *, filters: Mapping[str, Sequence[str]] | None = None) -> list[PodSummary]:
        """Newest first.  Filters: see `views.READERS`."""
        wanted = question("pods", views.READERS, filters)
        shown = [pod.summary() for pod in self._directory.named_pods()]
        return [one for one in reversed(shown) if wanted(one)]
