"""One container of a podfile."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hypercontainer.contract.spec import ContainerSpec, LogConfig, RestartPolicy, Ulimit
from hypercontainer.podfile.fields import Table
from hypercontainer.podfile.ports import Ports
from hypercontainer.podfile.storage import Files, Volumes, check_cache
from hypercontainer.podfile.tree import shown

_POLICIES = {
    "never": "no",
    "no": "no",
    "onfailure": "on-failure",
    "on-failure": "on-failure",
    "always": "always",
}
_SIGNAL = re.compile(r"[A-Za-z0-9+-]{1,20}")
_IMAGE = re.compile(r"[!-~]{1,512}")
_MAX_LIMIT = 2**64 - 1
_UNLIMITED = 2**63  # and what is above: RLIM_INFINITY, however it was rounded


@dataclass
class Shared:
    """What the pod gives its containers, and gets from them."""

    tty: bool
    restart: str | None
    log: LogConfig
    files: Files
    volumes: Volumes
    ports: Ports
    sysctls: dict[str, str] = field(default_factory=dict)


def policy(table: Table) -> str | None:
    text = table.text("restartPolicy")
    name = _POLICIES.get(text.lower()) if text else None
    if text and name is None:
        raise table.error("restartPolicy", f"{shown(text)} is not known", "never, onFailure or always")
    return name


def container_spec(table: Table, shared: Shared) -> ContainerSpec:
    image = table.needed("image")
    if not _IMAGE.fullmatch(image):
        raise table.error("image", f"{shown(image)} is no name of an image")
    tty = table.flag("tty") or shared.tty
    user, groups = _user(table)
    _sysctls(table, shared)
    shared.ports.add_container(table)
    spec = ContainerSpec(
        image,
        name=_name(table),
        command=table.words("command"),
        entrypoint=_entrypoint(table),
        env=_environment(table),
        working_dir=table.text("workdir") or None,
        user=user,
        groups=groups,
        tty=tty,
        stdin_open=True,  # so that a shell waits for whoever attaches
        labels=table.pairs("labels"),
        read_only=table.flag("readOnly"),
        mounts=shared.volumes.mounts(table),
        files=shared.files.injected(table),
        ulimits=_ulimits(table),
        stop_signal=_stop_signal(table),
        restart=RestartPolicy(policy(table) or shared.restart or "no"),
        log=shared.log,
    )
    _ignored(table)
    table.done()
    return spec


def _name(table: Table) -> str | None:
    """``id`` is what hyperd writes in its own descriptions of containers; a name all the same."""
    name, identifier = table.name("name"), table.name("id")
    if name and identifier and name != identifier:
        table.warn("id", f"ignored beside name {name}")
    return name or identifier


def _entrypoint(table: Table) -> tuple[str, ...] | None:
    words = table.words("entrypoint")
    return () if words == ("",) else words


def _environment(table: Table) -> tuple[str, ...]:
    settings: dict[str, str] = {}
    for item in table.tables("envs"):
        name = item.needed("env")
        if "=" in name:
            raise item.error("env", f"{shown(name)} has a = in it")
        if name in settings:
            raise item.error("env", f"a second value for {shown(name)}")
        settings[name] = item.text("value")
        item.done()
    return tuple(f"{name}={value}" for name, value in settings.items())


def _user(table: Table) -> tuple[str | None, tuple[str, ...]]:
    if isinstance(table.raw("user"), str):  # as Docker has it
        return table.text("user") or None, ()
    user = table.table("user")
    if user is None:
        return None, ()
    name, group, groups = user.text("name"), user.text("group"), user.texts("additionalGroups")
    for key, text in (("name", name), ("group", group)):
        if ":" in text:
            raise user.error(key, f"{shown(text)} has a : in it")
    if group and not name:
        raise user.error("name", "missing, and a group is named", "the image's user, or root")
    if "" in groups:
        raise user.error("additionalGroups", "an empty one")
    user.done()
    return (f"{name}:{group}" if group else name) or None, groups


def _sysctls(table: Table, shared: Shared) -> None:
    for name, value in table.pairs("sysctl").items():
        if shared.sysctls.setdefault(name, value) != value:
            raise table.error(
                f"sysctl.{shown(name)}", f"{shown(value)}, and another container of the pod says otherwise"
            )


def _ulimits(table: Table) -> tuple[Ulimit, ...]:
    limits: list[Ulimit] = []
    for item in table.tables("ulimits"):
        name = item.needed("name").lower()
        soft = item.number("soft", -1, _MAX_LIMIT)
        hard = item.number("hard", -1, _MAX_LIMIT, soft)
        if any(limit.name == name for limit in limits):
            raise item.error("name", f"a second limit {shown(name)}")
        limits.append(Ulimit(name, *(-1 if n >= _UNLIMITED else n for n in (soft, hard))))
        item.done()
    return tuple(limits)


def _stop_signal(table: Table) -> str | None:
    signal = table.text("StopSignal")
    if signal and not _SIGNAL.fullmatch(signal):
        raise table.error("StopSignal", f"{shown(signal)} is no signal", "such as SIGTERM or 15")
    return signal or None


def _ignored(table: Table) -> None:
    if table.said("logPath"):
        table.warn("logPath", "ignored: hyperd keeps the logs")
    check_cache(table)
