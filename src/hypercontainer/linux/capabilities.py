"""Capabilities: names and bits (capabilities(7)), and the set that Docker gives a container."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hypercontainer.errors import InvalidArgument

# In the order of their numbers, from 0.
NAMES: Final = (
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID "
    "CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW "
    "CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT "
    "CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD "
    "CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG "
    "CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE"
).split()
ALL: Final = frozenset(NAMES)
DEFAULT: Final = frozenset(
    (
        "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID CAP_SETUID "
        "CAP_SETFCAP CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE"
    ).split()
)
_EVERY = "ALL"


def mask(names: Iterable[str]) -> int:
    """The bits of ``names``, which are of NAMES."""
    return sum(1 << NAMES.index(name) for name in set(names))


def granted(add: Iterable[str], drop: Iterable[str], *, privileged: bool = False) -> frozenset[str]:
    """What a container has that is given ``add`` and denied ``drop``, combined as Docker does.

    Adding ALL gives everything but what is dropped by name; dropping ALL leaves what is added by name; otherwise
    the default set is reduced first and extended then.
    """
    added = {_name(text, "cap_add") for text in add}
    dropped = {_name(text, "cap_drop") for text in drop}
    if privileged:
        return ALL
    if _EVERY in added:
        return ALL - dropped
    if _EVERY in dropped:
        return frozenset(added)
    return (DEFAULT - dropped) | added


def _name(text: str, field: str) -> str:
    name = text.strip().upper()
    if name == _EVERY:
        return name
    if not name.startswith("CAP_"):
        name = "CAP_" + name
    if name not in ALL:
        raise InvalidArgument(
            f"unknown capability {text!r}",
            field=field,
            takes="capabilities(7) lists them, as NET_ADMIN or CAP_NET_ADMIN; or ALL",
        )
    return name
