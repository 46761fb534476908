"""Identifiers and names: made, checked, resolved."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping

from hypercontainer.contract.spec import NAME_MAX
from hypercontainer.errors import InvalidArgument, NotFound, Remedy

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
HOST_NAME_MAX = 64  # Linux's

_QUALITIES = (
    "amber bold brisk calm candid clever cosy crisp deft eager early even fair fleet fond frank fresh gentle glad "
    "golden grand handy happy hardy honest jolly keen kind late light lively lucid mellow merry mild neat nimble "
    "noble plain proud quick quiet rapid ready sharp silent smart snug sober solid spry steady still sunny swift "
    "tidy true vivid warm wise witty"
).split()
_THINGS = (
    "alder anvil apex arch aspen badger basin beacon birch bobbin brook canyon cedar comet coral crane delta dune "
    "ember falcon fern fjord flint gable glade grove harbor hazel heron inlet iris jasper kestrel lagoon lantern "
    "larch linden loom lynx maple marten meadow mesa orchard osprey otter pebble pine plover quarry quartz raven "
    "reef ridge robin rowan sparrow spruce summit tern thistle tundra vale walnut willow wren"
).split()


def new_id() -> str:
    """64 hexadecimal digits that are no number, so that a short form is never taken for one."""
    while True:
        identifier = secrets.token_hex(32)
        if not identifier[:12].isdigit():
            return identifier


def new_name(taken: Collection[str]) -> str:
    for _ in range(100):
        name = f"{secrets.choice(_QUALITIES)}_{secrets.choice(_THINGS)}"
        if name not in taken:
            return name
    return f"{name}_{secrets.token_hex(4)}"


def check_name(name: str, *, kind: str = "container") -> str:
    if not NAME.fullmatch(name) or len(name) > NAME_MAX:
        shown = name if len(name) <= NAME_MAX else f"{name[:NAME_MAX]}..."
        raise InvalidArgument(
            f"invalid {kind} name {shown!r}",
            hint=f"1 to {NAME_MAX} of [a-zA-Z0-9_.-], beginning with a letter or digit",
        )
    return name


def host_name(name: str, identifier: str) -> str:
    """Of what is called ``name``, if that is one; otherwise the ID's short form, as Docker has it."""
    fits = len(name) <= HOST_NAME_MAX and HOST_NAME.fullmatch(name)
    return name if fits else identifier[:12]


def resolve(
    ref: str,
    ids_by_name: Mapping[str, str],
    ids: Collection[str],
    *,
    kind: str = "container",
) -> str:
    """The ID of the ``kind`` called ``ref``: a full ID, a name, or an unambiguous prefix of an ID."""
    if ref in ids:
        return ref
    if ref in ids_by_name:
        return ids_by_name[ref]
    found = [identifier for identifier in ids if ref and identifier.startswith(ref)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidArgument(f"{ref} is the beginning of {len(found)} {kind}s' IDs", hint="use more digits")
    everything = {"all": True} if kind == "container" else {}
    remedy = Remedy(f"{kind}s.find", aim="lists them", options=everything)
    raise NotFound(f"no such {kind}: {ref}", remedies=(remedy,))
