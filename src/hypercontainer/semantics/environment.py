"""The environment of a container's processes."""

from __future__ import annotations

from collections.abc import Iterable

from hypercontainer.contract.answers import Effective
from hypercontainer.errors import InvalidArgument
from hypercontainer.semantics import trust

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def merged_env(*layers: Iterable[str]) -> tuple[str, ...]:
    """Later settings replace earlier ones in place; a name without "=" removes it."""
    merged: dict[str, str] = {}
    for setting in (setting for layer in layers for setting in layer):
        name, equals, value = setting.partition("=")
        if not name or "\0" in setting:
            raise InvalidArgument(
                f"{setting!r} is no setting", field="env", takes="NAME=value, or NAME to remove it"
            )
        if equals:
            merged[name] = value
        else:
            merged.pop(name, None)
    return tuple(f"{name}={value}" for name, value in merged.items())


def environment(
    made: Effective, *, tty: bool, extra: Iterable[str] = (), trusts: bool = False
) -> tuple[str, ...]:
    """What a process gets; HOME is added in the guest, which can look it up.  ``trusts``: its pod has
    an authority of its own."""
    basic = [PATH, f"HOSTNAME={made.hostname}", *(trust.VARIABLES if trusts else ())]
    basic += ["TERM=xterm"] if tty else []
    return merged_env(basic, made.env, extra)
