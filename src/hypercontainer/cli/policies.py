"""The network policy that a new container or pod is to have, as the options say it."""

from __future__ import annotations

import sys

from hypercontainer.cli.options import UsageError
from hypercontainer.client.api import RemoteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hypercontainer.cli.options import Values

_FILES = (".yaml", ".yml", ".json")


def policy_spec(values: Values) -> dict[str, Any]:
    """--network-policy and --network-rate."""
    wish, rates = values.text("network-policy"), _rates(values.text("network-rate"))
    if not wish:
        return {"network_policy": {"limits": rates}} if rates else {}
    if not is_file(wish):
        if rates:
            raise UsageError(
                "--network-rate: the policy has a name, and its limits are its own",
                hint="name a policy's file, or say the rates in the policy",
            )
        return {"network_policy": wish}
    policy = read(wish)[0]
    policy["limits"] = {**(policy.get("limits") or {}), **rates}
    return {"network_policy": policy}


def is_file(text: str) -> bool:
    """And not a policy's name."""
    return text == "-" or "/" in text or text.endswith(_FILES)


def read(path: str) -> tuple[dict[str, Any], bytes]:
    """The policy of a file as plain JSON values, and the file's text; "-" is standard input."""
    import msgspec

    from hypercontainer.podfile import policy

    try:
        if path == "-":
            text = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                text = file.read()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    made: dict[str, Any] = msgspec.to_builtins(policy.read(text, where=path))
    return made, text


def explained(error: RemoteError, path: str, text: bytes) -> RemoteError:
    """With the line of the field that is wrong."""
    from hypercontainer.podfile.policy import place

    said = str((error.details or {}).get("field", ""))
    field = said.removeprefix("policy.")
    if field.startswith(("egress", "limits")):
        error.message = f"{place(path, text, field)}: {error.message.removeprefix(f'{said}: ')}"
    return error


def _rates(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in ("in", "out") or not value:
            raise UsageError(f"invalid --network-rate {part!r}", hint="in=50Mbit,out=10Mbit")
        found[name] = value
    return found
