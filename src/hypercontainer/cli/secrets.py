"""``--secret-header`` as it is typed: what the API is asked for (contract/egress.py), with the value that
this side has.

The value is read here, and goes to hyperd alone; the command line has no form that says it itself, which others could
read in the list of processes.
"""

from __future__ import annotations

from hypercontainer.cli.options import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

VALUE_MAX = 8192  # bytes; what else is in a file is no header
_HINT = "HOST:HEADER=env:NAME, or HOST:HEADER=file:PATH"
_SCHEMES = ("https://", "http://")


def secret_header(typed: str, environ: Mapping[str, str]) -> dict[str, Any]:
    where, equals, source = typed.partition("=")
    scheme = next((each for each in _SCHEMES if where.startswith(each)), "")
    host, colon, header = where.removeprefix(scheme).rpartition(":")
    kind, said, name = source.partition(":")
    if not (equals and colon and host and header and said and name) or kind not in ("env", "file"):
        raise UsageError(f"invalid --secret-header {where!r}", hint=_HINT)
    value = _of_environment(name, environ, where) if kind == "env" else _of_file(name, where)
    asked = {"host": host, "header": header, "value": value}
    return asked | {"scheme": "http"} if scheme == "http://" else asked


def _of_environment(name: str, environ: Mapping[str, str], where: str) -> str:
    if not environ.get(name):
        raise UsageError(f"--secret-header {where}: {name} is not set in this environment", hint="export it")
    return environ[name]


def _of_file(path: str, where: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(VALUE_MAX + 2)
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise UsageError(f"--secret-header {where}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--secret-header {where}: {path} is not text") from None
    if not text or len(data) > VALUE_MAX:
        raise UsageError(f"--secret-header {where}: {path} is empty, or has more than {VALUE_MAX} bytes")
    return text
