"""Writes the guest's side of the wire contract, guest/include/hyper_wire.h, hyper_line.h and guest/init/rules.c, from
the host's.

usage: python tools/make_wire.py [--check]

The header's numbers are those of agent/wire.py, with the comments that stand behind them there, and of
contract/limits.py; those of the line below it, for carriers that lose bytes, are hypervisor/line_frames.py's.  The
rules, what hyperstart checks of a request, are the records of agent/operations.py: a field is REQUIRED where the record
has no default for it (unless ALWAYS says that the guest does without), MANY where it is a tuple.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING
from enum import IntEnum, IntFlag
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from hypercontainer.agent import wire  # noqa: E402
from hypercontainer.agent.fields import Slot, slots_of  # noqa: E402
from hypercontainer.agent.operations import REQUESTS  # noqa: E402
from hypercontainer.agent.wire import Kind  # noqa: E402
from hypercontainer.contract import limits  # noqa: E402
from hypercontainer.hypervisor import line_frames  # noqa: E402

HEADER = ROOT / "guest/include/hyper_wire.h"
LINE = ROOT / "guest/include/hyper_line.h"
RULES = ROOT / "guest/init/rules.c"
ENUMS: tuple[tuple[type[IntEnum | IntFlag], str], ...] = (
    (wire.Frame, "HYPER_"),
    (wire.Flag, "HYPER_FLAG_"),
    (wire.Stream, "HYPER_"),
    (wire.Operation, "HYPER_OP_"),
    (wire.Event, "HYPER_EVENT_"),
    (wire.Tag, "HYPER_"),
)
# To the guest, text for people is text, and a number's sign is the host's affair.
GUESTS_KIND = {Kind.SHOWN: "TEXT", Kind.I32: "U32"}
ASSIGNED = re.compile(r"(?P<indent> *)(?P<name>[A-Z]\w*)(?:: Final)? = .*?(?:  # (?P<comment>.+))?")


def source_lines(source: ModuleType | type[Any]) -> list[str]:
    return inspect.getsource(source).splitlines()


def commented(code: str, comment: str | None) -> str:
    return f"{code} /* {comment} */" if comment else code


def defines(module: ModuleType, prefix: str = "HYPER_") -> Iterator[str]:
    """A module's constants, in their order."""
    for line in source_lines(module):
        found = ASSIGNED.fullmatch(line)
        if found is None or found["indent"]:
            continue
        value = getattr(module, found["name"])
        if type(value) in (int, str, bytes):
            yield commented(f"#define {prefix}{found['name']} {literal(value)}", found["comment"])


def literal(value: int | str | bytes) -> str:
    if isinstance(value, int):
        return str(value)
    data = value.encode() if isinstance(value, str) else value
    # An octal escape ends after its third digit, whatever follows.
    printable = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}" for byte in data)
    return '"' + "".join(printable) + '"'


def enumeration(enum: type[IntEnum | IntFlag], prefix: str, name: str = "") -> Iterator[str]:
    yield f"enum {name or f'hyper_{enum.__name__.lower()}'} {{"
    for line in source_lines(enum):
        if line.startswith("    # "):
            yield f"\n\t/* {line.removeprefix('    # ')} */"
        elif (found := ASSIGNED.fullmatch(line)) is not None:
            name = found["name"]
            yield "\t" + commented(f"{prefix}{name} = {int(enum[name])},", found["comment"])
    yield "};"


def header() -> str:
    lines = [
        "/*",
        " * The wire contract between hyperd and hyperstart.  How it works: docs/wire-protocol.md.",
        " * Made of src/hypercontainer/agent/wire.py and contract/limits.py by tools/make_wire.py; change it there.",
        " */",
        "#ifndef HYPER_WIRE_H",
        "#define HYPER_WIRE_H",
        "",
        *defines(wire),
        *defines(limits),
    ]
    for enum, prefix in ENUMS:
        lines += ["", *enumeration(enum, prefix)]
    return "\n".join([*lines, "", "#endif", ""])


def line_header() -> str:
    lines = [
        "/*",
        " * What goes over a line that loses bytes.  How it works: docs/wire-protocol.md.",
        " * Made of src/hypercontainer/hypervisor/line_frames.py by tools/make_wire.py; change it there.",
        " */",
        "#ifndef HYPER_LINE_H",
        "#define HYPER_LINE_H",
        "",
        *defines(line_frames, "LINE_"),
        "",
        *enumeration(line_frames.Kind, "LINE_", "line_kind"),
    ]
    return "\n".join([*lines, "", "#endif", ""])


def table_name(record: type[Any]) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", record.__name__).lower() + "_rules"


def rule(slot: Slot) -> str:
    kind = GUESTS_KIND.get(slot.tag.kind, slot.tag.kind.name)
    required = slot.default is MISSING and not slot.always
    flags = " | ".join([*["MANY"] * slot.repeated, *["REQUIRED"] * required]) or "0"
    nested = table_name(slot.element) if slot.tag.kind is Kind.NESTED else "NULL"
    return f"\t{{HYPER_{slot.tag.name}, {kind}, {flags}, {slot.bytes_max}, {nested}}},"


def in_order(record: type[Any]) -> Iterator[type[Any]]:
    """What is nested in a record, then itself."""
    for slot in slots_of(record):
        if slot.tag.kind is Kind.NESTED:
            yield from in_order(slot.element)
    yield record


def rules() -> str:
    lines = [
        "/* Made of src/hypercontainer/agent/operations.py by tools/make_wire.py; change it there. */",
        '#include "schema.h"',
        "",
        "#define END {0, 0, 0, 0, NULL}",
    ]
    for record in dict.fromkeys(each for asked in REQUESTS.values() for each in in_order(asked)):
        fields = [rule(slot) for slot in slots_of(record)]
        lines += ["", f"static const struct rule {table_name(record)}[] = {{", *fields, "\tEND,", "};"]
    table = [
        f"\t[HYPER_OP_{operation.name}] = {table_name(record)}," for operation, record in REQUESTS.items()
    ]
    lines += ["", "static const struct rule *const operations[] = {", *table, "};", ""]
    lines += ["const struct rule *schema_of(uint16_t operation)", "{"]
    lines += [
        "\treturn operation < sizeof operations / sizeof *operations ? operations[operation] : NULL;",
        "}",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    made = {HEADER: header(), LINE: line_header(), RULES: rules()}
    if sys.argv[1:] == ["--check"]:
        stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
        sys.stderr.write(
            "".join(f"{path.relative_to(ROOT)} is not what make_wire.py makes\n" for path in stale)
        )
        return bool(stale)
    for path, text in made.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
