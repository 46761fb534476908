"""What the calls on containers, pods and images have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from hypercontainer.client.http import quote
from hypercontainer.contract.spec import ExecSpec
from hypercontainer.errors import InvalidArgument
from hypercontainer.sdk.aio.stream import AsyncStream
from hypercontainer.sdk.options import Pairs, pairs, words
from hypercontainer.sdk.transport import Api, Upgraded

Filters = Mapping[str, Sequence[str]]


class _Id(msgspec.Struct, frozen=True):
    id: str


def exec_spec(
    command: Sequence[str],
    *,
    stdin: bool,
    tty: bool,
    env: Pairs | None,
    working_dir: str | None,
    user: str | None,
    privileged: bool,
) -> ExecSpec:
    given = words("command", command)
    if not given:
        raise InvalidArgument("exec: the command is empty")
    return ExecSpec(
        given,
        env=pairs(env or {}),
        working_dir=working_dir,
        user=user,
        tty=tty,
        stdin=stdin,
        privileged=privileged,
    )


def exec_stream_of(api: Api, owner: str, spec: ExecSpec, what: str) -> AsyncStream:
    """``owner``: the path of a container or a pod."""

    async def connect() -> Upgraded:
        made = await api.call("POST", f"{owner}/exec", _Id, body=spec)
        return await api.upgrade(f"/v1/execs/{quote(made.id)}/start")

    return AsyncStream(connect, what, kill_at_exit=True)


def as_query(filters: Filters | None) -> str:
    return (
        msgspec.json.encode({name: list(values) for name, values in filters.items()}).decode()
        if filters
        else ""
    )


def as_bytes(data: bytes | str | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data
