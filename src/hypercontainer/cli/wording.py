"""Errors in the words of the command line: a field is the flag that says it, an operation that helps is a command.

A message about a field begins with it (errors.py): "cpu_shares: 1 is out of range" is "--cpu-shares: 1 is out of range"
for whoever can type that.  Loaded only where there is an error.
"""

from __future__ import annotations

from hypercontainer.cli.options import Values
from hypercontainer.cli.session import tell
from hypercontainer.cli.table import FAMILIES, find
from hypercontainer.errors import Remedy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from hypercontainer.errors import HyperError

# Calls whose command is not the collection's and the method's name; kernels.fetch has no call: this program does it.
_COMMANDS = {
    "containers.exec_create": "exec",
    "images.authenticate": "login",
    "manifests.cron_jobs": "cronjob ls",
    "manifests.down": "down",
    "manifests.generate": "generate kube",
    "manifests.play": "play",
    "manifests.run_cron_job": "cronjob run",
    "pods.add_ports": "ports add",
    "pods.exec_create": "exec --vm",
    "pods.ports": "ports ls",
    "pods.remove_ports": "ports delete",
    "system.disk_usage": "system df",
    "system.doctor": "doctor",
    "system.kernels": "kernel ls",
    "volumes.remove_snapshot": "snapshot rm",
    "volumes.snapshot": "snapshot create",
    "volumes.snapshots": "snapshot ls",
    "system.shutdown": "system stop",
    "system.version": "version",
}
_METHODS = {"find": "ls", "remove": "rm"}


def word(error: HyperError, given: Iterable[Values] = ()) -> None:
    """Puts ``error`` into the words of a command that was ``given`` these options; a field that no option is for
    stays as it is."""
    details = getattr(error, "details", {})  # of an error that hyperd answered with
    field = getattr(error, "field", "") or details.get("field", "")
    given = list(given)
    if field and any("podfile" in values.names() for values in given):  # no flag has said it
        _in_podfile(error, field)
        given = []
    option = next(filter(None, (values.option_of(field) for values in given)), None)
    if option and error.message.startswith(f"{field}: "):
        error.message = f"--{option.name}{error.message.removeprefix(field)}"
    helps, clause = ", or ".join(map(_phrase, error.remedies)), any(each.aim for each in error.remedies)
    error.remedies = ()
    if helps and error.hint:
        between = " " if error.hint.endswith("?") else "; " if clause else ", e.g. with "
        error.hint += between + helps
    elif helps:
        error.hint = helps


def _in_podfile(error: HyperError, field: str) -> None:
    from hypercontainer.podfile import FIELDS

    if error.message.startswith(f"{field}: "):
        error.message = FIELDS.get(field, field) + error.message.removeprefix(field)


def complain(error: HyperError) -> None:
    """What went wrong, and the remedy, where a command goes on after it."""
    word(error)
    tell(f"hyper: {error.message}")
    if error.hint:
        tell(f"  hint: {error.hint}")


def command_of(call: str) -> str:
    """As "stop" for "containers.stop", "pod stop" for "pods.stop"; "" where there is none."""
    if call in _COMMANDS:
        return _COMMANDS[call]
    collection, _, method = call.partition(".")
    family, verb = collection.removesuffix("s"), _METHODS.get(method, method)
    place = FAMILIES[family][1].get(verb, "") if family in FAMILIES else ""
    if isinstance(place, str):  # the short form, of which Docker's long one is another name
        return place
    return f"{family} {verb}"


def flags_of(command: str, options: dict[str, Any]) -> Iterator[str]:
    """``options``: what a call is given, by the names that these have there."""
    from importlib import import_module

    _, place, _ = find(command.split())
    assert place is not None
    known = Values(getattr(import_module(f"hypercontainer.cli.commands.{place[0]}"), place[1]).options)
    for name, value in options.items():
        option = known.option_of(name)
        flag = f"--{option.name if option else name.replace('_', '-')}"
        yield flag if value is True else f"{flag}={value}"


def _phrase(remedy: Remedy) -> str:
    """As "`hyper stop web`", and what for; of a call without a command, the call."""
    command = command_of(remedy.call)
    if not command:
        return str(remedy)
    flags = flags_of(command, remedy.options) if remedy.options else ()
    words = " ".join(filter(None, ("hyper", command, *flags, remedy.of)))
    return f"`{words}` {remedy.aim}".rstrip()
