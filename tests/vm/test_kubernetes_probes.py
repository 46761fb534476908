"""Probes that need a protocol in the image: HTTPS with a certificate that nobody signed, and gRPC's health check."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from manifests import Cluster, Document, container, pod, thing

RealImage = Callable[[str], str]

HTTPS = """
import http.server, ssl, sys
server = http.server.HTTPServer(("", 8443), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/srv/cert.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""

# Health/Check and nothing else, in frames written by hand (RFC 9113): SERVING until /tmp/sick is there.
GRPC = """
import os, socketserver, struct

def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

def literal(name, value):
    return b"\\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.rfile.read(24)
        self.wfile.write(frame(4, 0, 0))
        while head := self.rfile.read(9):
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream = int.from_bytes(head[5:], "big")
            self.rfile.read(length)
            if kind == 4 and not flags & 1:
                self.wfile.write(frame(4, 1, 0))
            if kind in (0, 1) and flags & 1:
                status = b"\\x02" if os.path.exists("/tmp/sick") else b"\\x01"
                message = b"\\x00" + struct.pack(">I", 2) + b"\\x08" + status
                self.wfile.write(frame(1, 4, stream, b"\\x88" + literal(b"content-type", b"application/grpc")))
                self.wfile.write(frame(0, 0, stream, message))
                self.wfile.write(frame(1, 5, stream, literal(b"grpc-status", b"0")))

socketserver.ThreadingTCPServer(("", 9000), Handler).serve_forever()
"""


def certificate(folder: Path) -> str:
    key, cert = folder / "key.pem", folder / "cert.pem"
    subject = ("-subj", "/CN=nobody.example", "-days", "2")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return key.read_text() + cert.read_text()


def server(name: str, image: str, script: str, **probes: Document) -> Document:
    mounts = [{"name": "srv", "mountPath": "/srv"}]
    return container(
        name, "", image=image, command=["python3", f"/srv/{script}"], volumeMounts=mounts, **probes
    )


def test_https_and_grpc(cluster: Cluster, real_image: RealImage, tmp_path: Path) -> None:
    image = real_image("python")
    files = {"https.py": HTTPS, "grpc.py": GRPC, "cert.pem": certificate(tmp_path)}
    https = {
        "httpGet": {"port": 8443, "scheme": "HTTPS", "path": "/srv/"},
        "periodSeconds": 1,
        "timeoutSeconds": 20,
    }
    grpc = {"grpc": {"port": 9000}, "periodSeconds": 1, "timeoutSeconds": 20, "failureThreshold": 60}
    sick = {**grpc, "failureThreshold": 1}
    members = (
        server(
            "web", image, "https.py", startupProbe={**https, "failureThreshold": 60}, readinessProbe=https
        ),
        server("rpc", image, "grpc.py", startupProbe=grpc, livenessProbe=sick),
    )
    volumes = [{"name": "srv", "configMap": {"name": "srv"}}]
    cluster.play(
        thing("v1", "ConfigMap", "srv", data=files),
        pod("asked", *members, volumes=volumes, restartPolicy="Always"),
    )
    cluster.until_pod("asked", "Ready", True)
    before = cluster.hyper.inspect("asked-rpc")["State"]["StartedAt"]
    cluster.sh("asked-rpc", "touch /tmp/sick")
    # It is ended, and started again without what made it sick.
    cluster.hyper.until(
        lambda: cluster.hyper.inspect("asked-rpc")["State"]["StartedAt"] > before, "asked-rpc starts again"
    )
    cluster.until_pod("asked", "Ready", True)
