"""Ports as people write them: "80", "3000-3005", "53/udp".

A ValueError says of the text what is wrong with it, as the end of a sentence that begins with the text.
"""

from __future__ import annotations

PROTOCOLS = ("tcp", "udp")
_DIGITS = 5


def numbers(text: str) -> range:
    """Of a port, or of a range of them."""
    first, dash, last = text.partition("-")
    ends = (first, last if dash else first)
    if not all(end.isascii() and end.isdigit() and len(end) <= _DIGITS for end in ends):
        raise ValueError("is no port and no range of ports")
    low, high = map(int, ends)
    if low > high:
        raise ValueError("ends before it begins")
    if not 0 < low <= high <= 65535:
        raise ValueError("is not within 1 to 65535")
    return range(low, high + 1)


def exposed(text: str) -> tuple[tuple[int, str], ...]:
    """(port, protocol) for each of "80", "53/udp", "3000-3005/tcp"."""
    ports, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in PROTOCOLS:
        raise ValueError(f"is of a protocol other than {' and '.join(PROTOCOLS)}")
    return tuple((number, protocol) for number in numbers(ports))
