#!/bin/bash
# asyncio of CPython 3.11: open_unix_connection to a listener whose queue is full.
#
# A daemon is busy, and as many clients as its backlog holds wait to be accepted. One would guess that one more client waits
# too, as with a blocking socket, or gets an error: connect(2) says EAGAIN, which for unix sockets means "refused for now", not
# "under way" (that is EINPROGRESS, of TCP).
#
# Seen: asyncio takes EAGAIN for "under way", waits until the socket can be written to, which an unconnected unix socket always
# can, finds no error at it, and hands out a reader and a writer of a connection that is not there. The first write or read then
# fails, as if the other side had gone. socket.settimeout() has the other half: it makes the socket non-blocking, so a
# client with a timeout is refused at once where one without would have waited. SO_SNDTIMEO on a blocking socket waits with a
# deadline.
set -euo pipefail
seen=$(python3 - <<'PY'
import asyncio
import os
import socket
import tempfile

path = os.path.join(tempfile.mkdtemp(), "busy")
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(0)


async def main() -> None:
    _, first = await asyncio.open_unix_connection(path)
    reader, second = await asyncio.open_unix_connection(path)
    print("connected", end=", ")
    try:
        second.write(b"hello")
        await second.drain()
        await reader.read(1)
        print("and stays so")
    except OSError as error:
        print(type(error).__name__, error.strerror)


asyncio.run(main())
with socket.socket(socket.AF_UNIX) as third:
    third.settimeout(60)
    try:
        third.connect(path)
    except OSError as error:
        print("with a timeout of 60 s:", error.strerror)
os.unlink(path)
os.rmdir(os.path.dirname(path))
PY
)
python3 --version
echo "$seen"
[ "$(grep -c -e '^connected, .*Error' -e '^with a timeout of 60 s: Resource temporarily unavailable' <<< "$seen")" = 2 ] || { echo "this has changed" >&2; exit 1; }
