#!/bin/bash
# Python's asyncio (3.11) with TLS, and a client of Docker's API, which ends what it sends as soon as it is attached, and reads on.
#
# One would guess that a server that is still writing goes on when its client has said by TLS's close_notify that it sends no
# more: over TCP and unix sockets asyncio's streams do (EOF of the reader, and a writer that works), OpenSSL can (an end of one
# direction is no end of the other since TLS 1.3), and Go's tls.Conn.CloseWrite, of which `docker run` makes use, is made for it.
#
# Seen: asyncio ends the whole connection at the client's close_notify. What the server writes after that is lost without an
# error; the client reads an end. So `docker run IMAGE` without -i would print nothing over such a server. The same server and
# client with ssl.SSLObject and two ssl.MemoryBIO on asyncio's plain streams: all arrives.
#
# Public package: trustme 1.2.1 makes the certificates.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q trustme==1.2.1
cat > "$work/try.py" <<'PY'
import asyncio
import socket
import ssl

import trustme

authority = trustme.CA()
server_side, client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
authority.issue_cert("localhost").configure_cert(server_side)
authority.configure_trust(client_side)


async def answer(reader, write):
    """Waits for the end of what the client sends, and then says three words."""
    while await reader():
        pass
    for word in (b"all ", b"is ", b"well"):
        write(word)
        await asyncio.sleep(0.05)


async def by_asyncio(reader, writer):
    async def more():
        return await reader.read(100)

    await answer(more, writer.write)
    writer.close()


async def by_hand(reader, writer):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = server_side.wrap_bio(incoming, outgoing, server_side=True)

    async def act(what):
        while True:
            try:
                done = what()
                writer.write(outgoing.read())
                return done
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(65536))

    def write(word):
        tls.write(word)
        writer.write(outgoing.read())

    await act(tls.do_handshake)
    await answer(lambda: act(lambda: tls.read(100)), write)
    writer.close()


def client(port):
    """Says a word, and that it was the last; what it reads after that."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_side.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:

        def act(what):
            while True:
                try:
                    return what()
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    if not (data := sock.recv(65536)):
                        return b""
                    incoming.write(data)

        act(tls.do_handshake)
        tls.write(b"hello")
        try:
            tls.unwrap()
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
        said = b""
        try:
            while data := act(lambda: tls.read(100)):
                said += data
        except ssl.SSLError:
            pass
        return said.decode()


async def seen(serve, context):
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        return await asyncio.to_thread(client, server.sockets[0].getsockname()[1])


for name, serve, context in (("asyncio", by_asyncio, server_side), ("by hand", by_hand, None)):
    print(f"{name}: {asyncio.run(seen(serve, context))!r}")
PY
found=$("$work/venv/bin/python" "$work/try.py" 2>/dev/null)
echo "$found"
[ "$found" = "asyncio: ''
by hand: 'all is well'" ] || { echo "this has changed" >&2; exit 1; }
