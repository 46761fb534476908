#!/bin/bash
# Docker's command line 20.10 (Debian 12, docker.io 20.10.24+dfsg1-1+deb12u1+b6): the order of several `-v` and `-e`.
#
# One would guess that `docker create -v /a:/a -v /b:/b -e A=1 -e B=2` asks the engine for them in the order in which they were
# typed: HostConfig.Binds and Env are lists, and of `--dns`, which is typed alike, the order is kept.
#
# Seen: the command keeps both in maps on their way, so that each run of the very same line sends another order. `docker
# inspect` shows what was sent: two containers of one line differ, a test that compares the lists fails now and then, and an
# engine cannot tell which of two binds was typed last.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
version=20.10.24+dfsg1-1+deb12u1+b6
(cd "$folder" && apt-get download -qq "docker.io=$version" >"$folder/log" 2>&1) || { echo "SKIP: docker.io $version is not to be had"; exit 0; }
dpkg -x "$folder"/docker.io_*.deb "$folder/root"
# An engine that does no more than take the request down.
seen=$(python3 - "$folder" <<'PY'
import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading

folder = sys.argv[1]
sent = []


class Engine(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "client"

    def log_message(self, *words):
        pass

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Api-Version", "1.41")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        self.answer(200, {})

    do_HEAD = do_GET

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        host = asked["HostConfig"]
        sent.append({"binds": host["Binds"], "environment": asked["Env"], "name servers": host["Dns"]})
        self.answer(201, {"Id": "0" * 64, "Warnings": []})


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


path = os.path.join(folder, "engine.sock")
server = Server(path, Engine)
threading.Thread(target=server.serve_forever, daemon=True).start()
typed = {
    "binds": [f"/{n}:/{n}" for n in range(8)],
    "environment": [f"N{n}=1" for n in range(8)],
    "name servers": [f"192.0.2.{n}" for n in range(8)],
}
flags = {"binds": "-v", "environment": "-e", "name servers": "--dns"}
words = [word for what, flag in flags.items() for value in typed[what] for word in (flag, value)]
for _ in range(20):
    subprocess.run(
        [f"{folder}/root/usr/bin/docker", "-H", f"unix://{path}", "create", *words, "image"],
        check=True,
        stdout=subprocess.DEVNULL,
        env={"HOME": folder, "PATH": "/usr/bin:/bin"},
    )
for what, order in typed.items():
    orders = {tuple(each[what]) for each in sent}
    assert {tuple(sorted(each)) for each in orders} == {tuple(order)}, "not what was typed"
    print(f"{what}: " + ("as typed" if orders == {tuple(order)} else "in several orders" if len(orders) > 1 else "in another one"))
PY
)
echo "$seen"
[ "$seen" = "binds: in several orders
environment: in several orders
name servers: as typed" ] || { echo "this has changed" >&2; exit 1; }
