"""The key sequence that leaves an attached container alone, as Docker's --detach-keys has it."""

from __future__ import annotations

from hypercontainer.errors import InvalidArgument

DEFAULT = "ctrl-p,ctrl-q"
_SPECIAL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse_keys(text: str) -> bytes:
    """``ctrl-p,ctrl-q`` or ``a,b`` as bytes; "" means the default, as with Docker."""
    keys = bytearray()
    for key in (text or DEFAULT).split(","):
        if len(key) == 1 and key.isascii():
            keys += key.encode("ascii")
            continue
        letter = key.removeprefix("ctrl-")
        if len(letter) != 1 or letter == key:
            raise InvalidArgument(
                f"detach keys {text!r}: {key!r} is no key", hint="such as ctrl-p,ctrl-q or a,b"
            )
        if "a" <= letter.lower() <= "z":
            keys.append(ord(letter.lower()) - 96)
        elif letter in _SPECIAL:
            keys.append(_SPECIAL[letter])
        else:
            raise InvalidArgument(
                f"detach keys {text!r}: there is no {key!r}", hint="ctrl- takes a-z or one of @[\\]^_"
            )
    return bytes(keys)


class DetachKeys:
    """Looks for the sequence in typed input, wherever reads cut it.

    Keys that may begin the sequence are held back until the next one decides.
    """

    __slots__ = ("_held", "_keys")

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(what to pass on, whether the sequence is complete)."""
        data = self._held + data
        at = data.find(self._keys)
        if at >= 0:
            self._held = b""
            return data[:at], True
        for length in range(min(len(self._keys) - 1, len(data)), 0, -1):
            if data.endswith(self._keys[:length]):
                self._held = data[-length:]
                return data[:-length], False
        self._held = b""
        return data, False
