"""What VBoxManage prints, read: pure, and kept by recorded output of the real one."""

from __future__ import annotations

import re
from dataclasses import dataclass

# A key may be in quotation marks; a value that is has "\" before those and itself, and may go over several lines.
_LINE = re.compile(
    r'^(?:"((?:[^"\\]|\\.)*)"|([^"=\n]+))=(?:"((?:[^"\\]|\\.)*)"|([^"\n]*))$', re.MULTILINE | re.DOTALL
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_CODE = re.compile(r"\bcode ([A-Z][A-Z0-9_]+) \(0x", re.IGNORECASE)
_ERROR = re.compile(r"^VBoxManage: (?:fatal error|error|warning): (?!Details: |Context: )(.+)$", re.MULTILINE)
_VERSION = re.compile(r"^([0-9]+)\.([0-9]+)\.([0-9]+)", re.MULTILINE)
MAX_WORDS = 300

# Of `Refused.code`.
NOT_FOUND = "VBOX_E_OBJECT_NOT_FOUND"
OBJECT_STATE = "VBOX_E_INVALID_OBJECT_STATE"  # locked by a session
FILE_ERROR = "VBOX_E_FILE_ERROR"
VM_STATE = "VBOX_E_INVALID_VM_STATE"
INVALID = "NS_ERROR_INVALID_ARG"
NO_ACCESS = "E_ACCESSDENIED"  # its settings cannot be read

Version = tuple[int, int, int]


@dataclass(frozen=True)
class Refusal:
    """``code`` is VirtualBox's name for it, "" where there is none."""

    code: str
    words: str


def machine_readable(text: str) -> dict[str, str]:
    """Of ``--machinereadable``; a line that is none is passed over, and of a key that is there twice the last one
    counts."""
    found = {}
    for quoted, bare, value, plain in _LINE.findall(text):
        found[_plain(quoted) or bare] = _plain(value) if value else plain
    return found


def _plain(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def refusal(stderr: str) -> Refusal:
    code = _CODE.search(stderr)
    said = _ERROR.findall(stderr)
    words = said[0] if said else stderr.strip().rpartition("\n")[2]
    return Refusal(code[1] if code else "", words.strip()[:MAX_WORDS])


def version(text: str) -> Version | None:
    """Of ``--version``, before which a distribution's script may have warnings; None where that is none."""
    found = _VERSION.search(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
