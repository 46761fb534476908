"""Who is called what in a network: what its name server answers with.

A pod is found by the names of its containers, its own, the beginning of its ID, its aliases there, and each of these
with the network's name behind it; by those who are in that network too, whichever of theirs they ask in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hypercontainer.engine.state import Attachment

DNS_PORT = 53
_NOBODY = ("", "", "")


@dataclass(frozen=True)
class Known:
    """What there is to say of a pod: ``names`` in every network, the name ``servers`` that it wants asked, and its
    ``links``: what it calls others by names of its own."""

    names: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Index:
    """``places``: by the name and the network's ID; ``services``: by the name and the network's name; ``pods``: by the
    address, whose pod, its name there, and the network's ID."""

    places: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    services: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    pods: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def add(self, pod: str, attachment: Attachment, names: Sequence[str]) -> None:
        for name in dict.fromkeys(each.lower() for each in names):
            for called in (name, f"{name}.{attachment.network.lower()}"):
                self.places.setdefault((called, attachment.network_id), []).extend(attachment.hosts)
        for address in attachment.hosts:
            name = f"{names[0]}.{attachment.network}" if names else ""
            self.pods[address] = pod, name, attachment.network_id


class Watch(Protocol):
    """Who decides what a pod may hear of the world's names: `policing.Policing`."""

    def may_ask(self, pod: str, name: str) -> bool: ...
    def learns(self, pod: str, answer: bytes) -> None: ...


class Names:
    """``Zone`` of all networks.  ``attached``: the pods that run, where; ``known``: of one of these; ``internal``:
    whether a network, by its ID, has no way out; ``services``: what else has a name, in which network, and addresses.
    ``changed`` is to be called when an answer may be another."""

    def __init__(
        self,
        attached: Callable[[], Mapping[str, tuple[Attachment, ...]]],
        known: Callable[[str], Known],
        internal: Callable[[str], bool],
        services: Callable[[], Iterable[tuple[str, str, tuple[str, ...]]]] = lambda: (),
        watch: Watch | None = None,
    ) -> None:
        self._attached, self._known, self._internal, self._services = attached, known, internal, services
        self._watch = watch
        self._made: _Index | None = None

    def changed(self) -> None:
        self._made = None

    @property
    def _index(self) -> _Index:
        if self._made is None:
            made = _Index()
            for pod, attachments in self._attached().items():
                names = (*self._known(pod).names, pod[:12])
                for each in attachments:
                    made.add(pod, each, (*names, *each.aliases))
            for (
                name,
                network,
                addresses,
            ) in self._services():  # a pod that is called as one is not found by that
                made.services[name.lower(), network] = list(addresses)
            self._made = made
        return self._made

    def _networks(self, asker: str) -> Iterable[Attachment]:
        pod, _, _ = self._index.pods.get(asker, _NOBODY)
        return self._attached().get(pod, ())

    def lookup(self, asker: str, name: str) -> Sequence[str] | None:
        index = self._index
        pod, _, _ = index.pods.get(asker, _NOBODY)
        name = self._known(pod).links.get(name, name)
        found = [
            those
            for each in self._networks(asker)
            if (those := index.services.get((name, each.network))) is not None
            or (those := index.places.get((name, each.network_id))) is not None
        ]
        return [address for those in found for address in those] if found else None

    def reverse(self, asker: str, address: str) -> str | None:
        _, name, network = self._index.pods.get(address, _NOBODY)
        return name if any(each.network_id == network for each in self._networks(asker)) else None

    def may_forward(self, asker: str, name: str) -> bool:
        if all(self._internal(each.network_id) for each in self._networks(asker)):
            return False
        return self._watch is None or self._watch.may_ask(self._index.pods[asker][0], name)

    def learns(self, asker: str, answer: bytes) -> None:
        pod, _, _ = self._index.pods.get(asker, _NOBODY)
        if pod and self._watch is not None:
            self._watch.learns(pod, answer)

    def servers(self, asker: str) -> Sequence[tuple[str, int]] | None:
        pod, _, _ = self._index.pods.get(asker, _NOBODY)
        servers = self._known(pod).servers if pod else ()
        return [(text, DNS_PORT) for text in servers] or None
