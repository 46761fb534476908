#!/bin/bash
# urllib3 2.8.0 over the http.client of Python 3.11: a header that ends with its connection.
#
# A server, or a proxy between, goes away in the middle of a response's header. One would guess an error: the empty line
# that ends a header (RFC 9112, 2.1) never came, so nobody knows what else it was to say. For a body that is too short
# there is IncompleteRead.
#
# Seen: the response is taken as whole. The status is 200, the half line is a header field like any other, what would have
# followed (Docker-Content-Digest, Content-Length, WWW-Authenticate) is missing without a word, and as there is no length, the
# empty body is whole too. A registry client that trusts fields of the header has to look for its end itself.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check urllib3==2.8.0
cat > "$work/cut.py" <<'PY'
import socket
import threading

import urllib3

HEADER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDocker-Content-Dig"


def serve(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(HEADER)


with socket.create_server(("127.0.0.1", 0)) as listener:
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v2/"
    try:
        response = urllib3.PoolManager().request("GET", url, retries=False, timeout=10)
    except urllib3.exceptions.HTTPError as error:
        print(f"refused: {type(error).__name__}")
    else:
        print(response.status, dict(response.headers), response.data)
PY
seen=$("$work/venv/bin/python" "$work/cut.py")
echo "$("$work/venv/bin/python" --version), urllib3 2.8.0: $seen"
[ "$seen" = "200 {'Content-Type': 'application/json'} b''" ] || { echo "this has changed" >&2; exit 1; }
