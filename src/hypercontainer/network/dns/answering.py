"""What becomes of a question, however it came: an answer at once where we know one, else one from name servers."""

from __future__ import annotations

import logging
from collections.abc import Callable

from hypercontainer.network.dns import message, records
from hypercontainer.network.dns.fairness import Buckets
from hypercontainer.network.dns.message import BadQuery, Query, Rcode
from hypercontainer.network.dns.upstream import Upstream
from hypercontainer.network.dns.zone import Zone

LOCAL_TTL_S = 5  # a container that is gone, or has another address, is not remembered for long

log = logging.getLogger(__name__)


class Answering:
    """For the askers of one network.  ``buckets`` are all networks', of questions of any kind."""

    def __init__(self, zone: Zone, upstream: Upstream, buckets: Buckets) -> None:
        self._zone = zone
        self._upstream = upstream
        self._buckets = buckets

    def admits(self, asker: str) -> bool:
        """Of each question, and of each connection, which costs as much and more."""
        return self._buckets.take((self, asker))

    def answer(self, asker: str, packet: bytes, *, stream: bool, answered: Callable[[bytes], None]) -> bool:
        """Of one that is admitted.  False: there will be none.  Else ``answered`` is called once, now or later."""
        try:
            query = message.parse(packet)
        except BadQuery as bad:
            if bad.answer is None:
                return False
            answered(bad.answer)
            return True
        limit = message.MAX_ANSWER if stream else query.room
        answer = self._own(asker, query, limit)
        if answer is not None:
            answered(answer)
        elif not self._zone.may_forward(asker, query.name or ""):
            # Not SERVFAIL, as from Docker, nor REFUSED: musl takes neither for an answer, and waits until its time is
            # over.  There is no such name on this network, and a client goes on with the next suffix.
            answered(message.reply(query, rcode=Rcode.NXDOMAIN))
        else:
            self._upstream.ask(
                (self, asker),
                query,
                self._zone.servers(asker),
                lambda whole: self._pass_on(asker, query, whole, limit, answered),
            )
        return True

    def _pass_on(
        self, asker: str, query: Query, whole: bytes, limit: int, answered: Callable[[bytes], None]
    ) -> None:
        self._zone.learns(asker, whole)
        answered(records.shortened(whole, query, limit))

    def _own(self, asker: str, query: Query, limit: int) -> bytes | None:
        """None: it is not ours to say."""
        if not query.name:
            return None
        if query.kind == message.PTR:
            address = message.reversed_address(query.name)
            if address is not None:
                return self._whose(asker, query, address)
        found = self._zone.lookup(asker, query.name)
        if found is None:
            return None
        made = message.addresses_of(query.kind, found, LOCAL_TTL_S)
        if len(made) > 1:  # many take the first: each has its turn, as ids are drawn
            first = query.id % len(made)
            made = made[first:] + made[:first]
        return message.reply(query, made, limit)

    def _whose(self, asker: str, query: Query, address: str) -> bytes | None:
        name = self._zone.reverse(asker, address)
        if name is None:
            return None
        try:
            found = [message.name_of(name, LOCAL_TTL_S)] if name else []
        except ValueError as error:
            log.debug("the name of %s: %s", address, error)
            found = []
        return message.reply(query, found, rcode=Rcode.NOERROR if found else Rcode.NXDOMAIN)
