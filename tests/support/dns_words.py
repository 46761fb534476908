"""Questions and answers of tests, made and read with dnspython, which knows nothing of ours."""

from __future__ import annotations

from dataclasses import dataclass

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

Message = dns.message.Message


@dataclass(frozen=True)
class Asked:
    """What a name server was asked: by "udp" or "tcp", and from which port."""

    packet: bytes
    by: str
    port: int

    @property
    def message(self) -> Message:
        return dns.message.from_wire(self.packet)

    @property
    def name(self) -> str:
        return str(self.message.question[0].name).rstrip(".")

    def answer(
        self, *records: str, rcode: dns.rcode.Rcode = dns.rcode.NOERROR, soa: str = "", cut: bool = False
    ) -> bytes:
        """``records``: "60 A 1.2.3.4", of the name that was asked for, or "60 A 1.2.3.4 other.name"."""
        made = dns.message.make_response(self.message, recursion_available=True)
        made.set_rcode(rcode)
        for record in records:
            ttl, kind, data, owner, *_ = (*record.split(" "), self.name)
            made.answer.append(dns.rrset.from_text(f"{owner}.", int(ttl), "IN", kind, data))
        if soa:
            made.authority.append(
                dns.rrset.from_text("test.", 900, "IN", "SOA", f"a.test. b.test. 1 2 3 4 {soa}")
            )
        if cut:
            made.flags |= dns.flags.TC
        return made.to_wire(max_size=65535)


def question(name: str, kind: str = "A", *, edns: int | None = None) -> bytes:
    made = dns.message.make_query(f"{name}.", kind)
    if edns is not None:
        made.use_edns(0, payload=edns)
    return made.to_wire()


def said(answer: Message) -> tuple[str, list[str]]:
    return dns.rcode.to_text(answer.rcode()), [str(data) for each in answer.answer for data in each]
