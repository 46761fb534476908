"""What the calls on containers, pods and images have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from hypercontainer.contract.calls import ExecCreated
from hypercontainer.contract.spec import ExecSpec
from hypercontainer.errors import InvalidArgument
from hypercontainer.sdk.aio.stream import AsyncStream
from hypercontainer.sdk.options import Pairs, pairs, words
from hypercontainer.sdk.transport import Api, Upgraded

Filters = Mapping[str, Sequence[str]]


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


def exec_stream_of(api: Api, name: str, owner: str, spec: ExecSpec, what: str) -> AsyncStream:
    """``name``: the call that prepares it in ``owner``, a container or a pod."""

    async def connect() -> Upgraded:
        made = await api.call(name, ExecCreated, owner, body=spec)
        return await api.upgrade("containers.exec_start", made.id)

    return AsyncStream(connect, what, kill_at_exit=True)


def as_query(filters: Filters | None) -> str:
    return (
        msgspec.json.encode({name: list(values) for name, values in filters.items()}).decode()
        if filters
        else ""
    )


def as_bytes(data: bytes | str | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data
