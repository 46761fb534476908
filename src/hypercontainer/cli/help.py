"""Help texts, made from the command table and the options."""

from __future__ import annotations

from hypercontainer.cli import table
from hypercontainer.cli.options import LIST, REFUSED, TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hypercontainer.cli.options import Command, Option

WIDTH = 110


def columns(rows: Iterable[tuple[str, str]], *, indent: int = 2) -> list[str]:
    """Two aligned columns, the second one wrapped."""
    import textwrap

    rows = list(rows)
    left = max((len(first) for first, _ in rows), default=0)
    lines = []
    for first, second in rows:
        wrapped = textwrap.wrap(second, WIDTH - indent - left - 3) or [""]
        lines.append(f"{' ' * indent}{first:<{left}}   {wrapped[0]}".rstrip())
        lines += [" " * (indent + left + 3) + line for line in wrapped[1:]]
    return lines


def _option_rows(options: Sequence[Option]) -> Iterable[tuple[str, str]]:
    for option in sorted(options, key=lambda option: option.name):
        if option.kind == REFUSED:
            continue
        names = f"-{option.short}, " if option.short else "    "
        names += f"--{option.name}" + (f" {option.metavar}" if option.takes_value else "")
        default = ""
        if option.kind == TEXT and option.default:
            default = f" (default {option.default})"
        elif option.default is True:
            default = " (default true)"
        yield names, option.help + (" (repeatable)" if option.kind == LIST else "") + default


def _summary(name: str) -> str:
    first, _, second = name.partition(" ")
    if not second:
        return table.verbs()[first][2]
    place = table.FAMILIES[first][1][second]
    return table.verbs()[place][2] if isinstance(place, str) else place[2]


def command_help(name: str, command: Command) -> str:
    lines = [f"Usage: hyper {name} {command.arguments}".rstrip(), "", _summary(name) + "."]
    if command.text:
        lines += ["", *command.text.strip().splitlines()]
    if rows := list(_option_rows(command.options)):
        lines += ["", "Options:", *columns(rows)]
    lines += ["", "Examples:" if len(command.examples) > 1 else "Example:"]
    lines += [f"  {example}" for example in command.examples]
    return "\n".join(lines) + "\n"


def family_help(name: str) -> str:
    summary, members = table.FAMILIES[name]
    lines = [f"Usage: hyper {name} COMMAND", "", f"{summary}.", "", "Commands:"]
    lines += columns((member, _summary(f"{name} {member}")) for member in members)
    lines += ["", "Example:", f"  hyper {name} {next(iter(members))}"]
    return "\n".join(lines) + "\n"


def overview(options: Sequence[Option]) -> str:
    lines = [
        "Usage: hyper [OPTIONS] COMMAND",
        "",
        "Runs Docker and OCI images directly on a hypervisor.",
    ]
    for group, verbs in table.VERBS.items():
        lines += ["", f"{group}:", *columns((verb, place[2]) for verb, place in verbs.items())]
    lines += ["", "Families:", *columns((name, family[0]) for name, family in table.FAMILIES.items())]
    lines += ["", "Global options:", *columns(_option_rows(options))]
    lines += [
        "",
        "Examples:",
        "  hyper run --rm -it debian:12 bash",
        "  hyper run -d --name web -p 8080:80 nginx",
        "",
        "hyper COMMAND --help says more about a command.",
    ]
    return "\n".join(lines) + "\n"
