"""``hyper build`` as it is typed, and what the API is asked for (contract/builds.py)."""

from __future__ import annotations

import os
from binascii import b2a_base64

from hypercontainer.cli import terminal
from hypercontainer.cli.options import UsageError
from hypercontainer.cli.units import bytes_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from hypercontainer.cli.options import Values

SECRET_MAX_BYTES = 500 * 1024
_KEPT_HINT = "id=NAME[,src=FILE|,env=VARIABLE]"
_SSH_HINT = "default, or ID[=SOCKET|KEYFILE]"
OUTPUTS = ("image", "local", "tar", "oci", "docker")


class Output:
    """Where a result goes: ``kind`` of OUTPUTS; ``path``: a file or directory, "-": standard output."""

    __slots__ = ("kind", "path")

    def __init__(self, kind: str, path: str = "") -> None:
        self.kind, self.path = kind, path

    @property
    def asked(self) -> str:
        """As the API has it."""
        return "tar" if self.kind == "local" else self.kind


def fields(text: str, what: str, hint: str) -> dict[str, str]:
    """``a=b,c=d``, as Go reads CSV."""
    import csv

    try:
        (row,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError):
        raise UsageError(f"invalid {what} {text!r}", hint=hint) from None
    said: dict[str, str] = {}
    for word in row:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"invalid {what} {text!r}: {word!r} has no value", hint=hint)
        said[name.strip().lower()] = value
    return said


def output(typed: list[str]) -> Output:
    if not typed:
        return Output("image")
    hint = "DIRECTORY, -, or type=" + "|".join(OUTPUTS) + "[,dest=PATH]"
    if len(typed) > 1:
        raise UsageError("several --output", hint="one of them at a time; what was built is kept")
    (text,) = typed
    if "=" not in text:
        return Output("tar", "-") if text == "-" else Output("local", text)
    said = fields(text, "--output", hint)
    kind, path = said.pop("type", ""), said.pop("dest", "")
    if kind not in OUTPUTS or said or (kind != "image" and not path and kind == "local"):
        raise UsageError(f"invalid --output {text!r}", hint=hint)
    return Output(kind, path or ("" if kind == "image" else "-"))


def secret(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    said = fields(text, "--secret", _KEPT_HINT)
    kind, name = said.pop("type", ""), said.pop("id", "")
    path = said.pop("src", "") or said.pop("source", "")
    variable = said.pop("env", "")
    if not name or said or kind not in ("", "file", "env") or (path and variable):
        raise UsageError(f"invalid --secret {text!r}", hint=_KEPT_HINT)
    if not path and not variable:
        variable = name if kind == "env" or (kind == "" and name in environ) else ""
    if variable:
        if variable not in environ:
            raise UsageError(f"--secret {name}: {variable} is not set in this environment", hint="export it")
        content = environ[variable].encode(errors="surrogateescape")
    else:
        content = _content(path or name, f"--secret {name}")
    return {"id": name, "content": _base64(content)}


class Agents:
    """What ``--ssh`` lends: ``sockets`` of agents and ``keys``, by ID."""

    def __init__(self, typed: list[str], environ: Mapping[str, str]) -> None:
        import stat

        self.sockets: dict[str, str] = {}
        self.keys: list[dict[str, str]] = []
        for text in typed:
            name, _, path = text.partition("=")
            path = path or environ.get("SSH_AUTH_SOCK", "")
            if not name or not path:
                hint = _SSH_HINT if not name else "start an agent, or name a key file"
                raise UsageError(f"--ssh {text}: no agent's socket (SSH_AUTH_SOCK)", hint=hint)
            try:
                found = os.stat(path)
            except OSError as error:
                raise UsageError(f"--ssh {name}: {path}: {error.strerror}", hint=_SSH_HINT) from None
            if stat.S_ISSOCK(found.st_mode):
                self.sockets[name] = path
            else:
                content = _base64(_content(path, f"--ssh {name}"))
                self.keys.append({"id": name, "content": content})


def table(typed: list[str], what: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """``NAME=value``; of an ``environ`` a NAME alone has its value there, and is left out where it has none."""
    said: dict[str, str] = {}
    for text in typed:
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f"invalid {what} {text!r}", hint="NAME=VALUE")
        if equals or environ is None:
            said[name] = value
        elif name in environ:
            said[name] = environ[name]
    return said


def progress(values: Values) -> dict[str, Any]:
    wanted = values.text("progress")
    if values.flag("quiet"):
        return {"progress": "quiet"}
    if wanted not in ("auto", "plain", "tty", "quiet", "rawjson"):
        raise UsageError(f"invalid --progress {wanted!r}", hint="auto, plain, tty, quiet or rawjson")
    shown = os.isatty(2)
    if wanted == "tty" and not shown:
        raise UsageError("--progress tty: standard error is no terminal", hint="--progress plain")
    if wanted not in ("auto", "tty") or not shown:
        return {"progress": "plain" if wanted == "auto" else wanted}
    rows, columns = terminal.size() or (24, 80)
    return {"progress": "tty", "rows": rows, "columns": columns}


def spec(values: Values, agents: Agents, environ: Mapping[str, str]) -> dict[str, Any]:
    """All that the options say but for the output and the Dockerfile."""
    said: dict[str, Any] = progress(values)
    for name, to in (("target", "target"), ("network", "network"), ("platform", "platform")):
        if values.given(name):
            said[to] = values.text(name)
    if "," in said.get("platform", ""):
        raise UsageError("several --platform", hint="an image here is of one; build once for each")
    for name, to in (("no-cache", "no_cache"), ("pull", "pull")):
        if values.flag(name):
            said[to] = True
    for name, to in (
        ("tag", "tags"),
        ("no-cache-filter", "no_cache_filter"),
        ("add-host", "extra_hosts"),
        ("ulimit", "ulimits"),
    ):
        if found := values.many(name):
            said[to] = found
    if values.given("shm-size"):
        said["shm_size_bytes"] = bytes_of(values.text("shm-size"), "--shm-size")
    said["args"] = table(values.many("build-arg"), "--build-arg", environ)
    said["labels"] = table(values.many("label"), "--label")
    said["secrets"] = [secret(text, environ) for text in values.many("secret")]
    said["ssh"], said["ssh_keys"] = list(agents.sockets), agents.keys
    return said


def _content(path: str, what: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(SECRET_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{what}: {path}: {error.strerror}") from None
    if len(data) > SECRET_MAX_BYTES:
        raise UsageError(f"{what}: {path} has more than {SECRET_MAX_BYTES} bytes")
    return data


def _base64(content: bytes) -> str:
    return b2a_base64(content, newline=False).decode()
