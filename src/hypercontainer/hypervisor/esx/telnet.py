"""A serial port over telnet, as ESX speaks it to a concentrator of serial ports: what is said, and no I/O.

ESX connects, says by VMware's extension of telnet which service its VM's port is to be led to, and sends the port's
bytes when it is told that this is done ("Using a Proxy with vSphere Virtual Serial Ports").  We are the service
ourselves.
"""

from __future__ import annotations

from collections.abc import Callable

from hypercontainer.errors import HypervisorError

# RFC 854 and 855; the options of RFC 856 and 858, and VMware's.
IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
BINARY, SUPPRESS_GO_AHEAD, EXTENSION = 0, 3, 232
KNOWN_1, KNOWN_2, UNKNOWN_2, DO_PROXY, WILL_PROXY, WONT_PROXY = 0, 1, 3, 70, 71, 73
# Of the extension, what we may send or take.  Without VMware's words for a move, a VM that moves connects anew.
_SUBOPTIONS = bytes((KNOWN_1, KNOWN_2, UNKNOWN_2, DO_PROXY, WILL_PROXY, WONT_PROXY))
_WANTED = frozenset({BINARY, SUPPRESS_GO_AHEAD, EXTENSION})
MAX_SUBNEGOTIATION = 4096


class Telnet:
    """One connection.  ``known``: whether there is such a service, which is asked once."""

    def __init__(self, known: Callable[[str], bool]) -> None:
        self._known = known
        self._left = b""
        self._theirs: dict[int, bool] = {}  # of the other side's options, what was agreed on
        self._ours = {BINARY: True, SUPPRESS_GO_AHEAD: True}
        self._said = b""
        self.service = ""  # what it is led to, once it is
        for option in (BINARY, SUPPRESS_GO_AHEAD):
            self._say(WILL, option)
            self._say(DO, option)
            self._theirs[option] = True

    def receive(self, data: bytes) -> bytes:
        """The port's bytes in what has come.  Raises ``HypervisorError`` for what no ESX says."""
        data, self._left = self._left + data, b""
        out, at = [], 0
        while at < len(data):
            escape = data.find(IAC, at)
            if escape < 0:
                out.append(data[at:])
                break
            out.append(data[at:escape])
            end = self._command(data, escape)
            if end < 0:
                self._left = data[escape:]
                break
            if end == escape + 2 and data[escape + 1] == IAC:
                out.append(b"\xff")
            at = end
        if len(self._left) > MAX_SUBNEGOTIATION:
            raise HypervisorError("a serial port's telnet says too much at once")
        found = b"".join(out)
        if found and not self.service:
            raise HypervisorError("a serial port sends before it was led anywhere")
        return found

    def to_send(self) -> bytes:
        """What has to be answered."""
        said, self._said = self._said, b""
        return said

    def _command(self, data: bytes, at: int) -> int:
        """Where what begins there with IAC has its end; -1 where that is still to come."""
        if len(data) < at + 2:
            return -1
        verb = data[at + 1]
        if verb == SB:
            end = _end(data, at + 2)
            if end >= 0:
                self._subnegotiated(data[at + 2 : end - 2].replace(b"\xff\xff", b"\xff"))
            return end
        if verb not in (WILL, WONT, DO, DONT):
            return at + 2  # a byte of 255, or a word without a meaning here
        if len(data) < at + 3:
            return -1
        self._negotiate(verb, data[at + 2])
        return at + 3

    def _negotiate(self, verb: int, option: int) -> None:
        """An answer only where something changes, or two would answer each other for ever."""
        state, agree, refuse = (self._theirs, DO, DONT) if verb in (WILL, WONT) else (self._ours, WILL, WONT)
        wish = verb in (WILL, DO) and option in _WANTED and (verb == WILL or option != EXTENSION)
        if state.get(option, None if verb in (WILL, DO) else False) != wish:
            state[option] = wish
            self._say(agree if wish else refuse, option)

    def _subnegotiated(self, content: bytes) -> None:
        if content[:1] != bytes((EXTENSION,)) or len(content) < 2:
            return
        code, rest = content[1], content[2:]
        if code == KNOWN_1:
            self._extend(KNOWN_2, _SUBOPTIONS)
        elif code == DO_PROXY:
            service = rest[1:].decode("utf-8", "replace")
            if self.service or not self._known(service):
                self._extend(WONT_PROXY)
                return
            self.service = service
            self._extend(WILL_PROXY)
        elif code != UNKNOWN_2:
            self._extend(UNKNOWN_2, bytes((code,)))

    def _extend(self, code: int, content: bytes = b"") -> None:
        body = bytes((EXTENSION, code)) + content
        self._said += bytes((IAC, SB)) + escaped(body) + bytes((IAC, SE))

    def _say(self, verb: int, option: int) -> None:
        self._said += bytes((IAC, verb, option))


def escaped(data: bytes) -> bytes:
    """As it goes over the wire."""
    return data.replace(b"\xff", b"\xff\xff")


def _end(data: bytes, at: int) -> int:
    """Behind the IAC SE of what begins there; -1 where it is still to come."""
    while True:
        at = data.find(IAC, at)
        if at < 0 or at + 1 >= len(data):
            return -1
        if data[at + 1] == SE:
            return at + 2
        at += 2
