"""A network's operations: its plugins one after another, each told what the one before it has said.

Source: the CNI specification 1.1.0, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.network.cni import execution, requests, results
from hypercontainer.network.cni.config import VERSIONS, NetworkConfig, Tree
from hypercontainer.network.cni.requests import Attached

_spoken: dict[tuple[Path, int], frozenset[str]] = {}  # by a program and when it was written


async def _versions(path: Path, what: str) -> frozenset[str]:
    key = (path, path.stat().st_mtime_ns)
    if key not in _spoken:
        told = {"cniVersion": VERSIONS[-1]}
        output = await execution.run(path, requests.environment(requests.VERSION, (), None), told, what)
        _spoken[key] = results.versions(output, what)
    return _spoken[key]


@dataclass(frozen=True)
class Chain:
    """``directories``: where plugins are looked for, in this order."""

    config: NetworkConfig
    directories: tuple[Path, ...]

    async def validate(self) -> None:
        """PluginError where a plugin is not there, or speaks another version."""
        for plugin in self.config.plugins:
            what = self._what(requests.VERSION, plugin)
            path = execution.program(str(plugin["type"]), self.directories, what)
            if self.config.version not in await _versions(path, what):
                raise results.PluginError(what, f"{path} does not speak CNI {self.config.version}", 1)

    async def add(self, attached: Attached) -> Tree:
        """The last plugin's result.  PluginError: then DEL is to be done all the same."""
        former: Tree | None = None
        for plugin in self.config.plugins:
            output = await self._call(requests.ADD, plugin, attached, former)
            former = results.result(output, self._what(requests.ADD, plugin))
        assert former is not None  # there is one plugin at least
        return former

    async def check(self, attached: Attached, former: Tree) -> None:
        """That it is all as it was when it was added; nothing happens where the configuration cannot or may not."""
        if self.config.checked and self.config.since(requests.CHECK_SINCE):
            for plugin in self.config.plugins:
                await self._call(requests.CHECK, plugin, attached, former)

    async def delete(self, attached: Attached, former: Tree | None) -> None:
        """From the last plugin to the first.  ``former``: what ADD has said, None where it came to nothing.  All are
        asked; PluginError of the first that failed."""
        known = former if self.config.since(requests.CHECK_SINCE) else None
        failed: results.PluginError | None = None
        for plugin in reversed(self.config.plugins):
            try:
                await self._call(requests.DEL, plugin, attached, known)
            except results.PluginError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    async def status(self) -> None:
        """PluginError where one is not ready for ADD.  Of an older configuration nothing is asked."""
        if self.config.since(requests.GC_SINCE):
            for plugin in self.config.plugins:
                await self._call(requests.STATUS, plugin, None)

    async def collect(self, attachments: Iterable[tuple[str, str]]) -> None:
        """Nothing is left but of these, (container, interface).  All plugins are asked; PluginError of the first that
        failed."""
        if not self.config.collected or not self.config.since(requests.GC_SINCE):
            return
        valid, failed = tuple(attachments), None
        for plugin in self.config.plugins:
            try:
                await self._call(requests.GC, plugin, None, valid=valid)
            except results.PluginError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    async def _call(
        self,
        command: str,
        plugin: Tree,
        attached: Attached | None,
        former: Tree | None = None,
        valid: tuple[tuple[str, str], ...] | None = None,
    ) -> bytes:
        what = self._what(command, plugin)
        told = requests.configuration(
            self.config, plugin, attached.capabilities if attached else {}, former, valid
        )
        path = execution.program(str(plugin["type"]), self.directories, what)
        environment = requests.environment(command, self.directories, attached)
        return await execution.run(path, environment, told, what)

    def _what(self, command: str, plugin: Tree) -> str:
        return f"{self.config.what}: {command} by {plugin['type']}"
