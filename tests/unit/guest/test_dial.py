"""``hyper-dial``: a socket below a directory of the host's, as the input and output of a program."""

from __future__ import annotations

import errno
import socket
import subprocess
from pathlib import Path

MUCH = bytes(range(256)) * 128


def dialing(program: Path, root: Path, path: str) -> subprocess.Popen[bytes]:
    argv = [str(program), str(root), "hyper-dial", path]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)


def test_both_directions_end_by_themselves(program: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("/run")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "run/socket"))
        server.listen()
        with dialing(program, tmp_path, "/var/run/socket") as process:
            near, _ = server.accept()
            near.settimeout(20)
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(b"asked")
            assert near.recv(100) == b"asked"
            process.stdin.close()
            assert near.recv(100) == b""  # and it goes on to answer
            near.sendall(MUCH)
            near.close()
            assert process.stdout.read() == MUCH
            assert process.wait(20) == 0


def test_who_is_ended_leaves_nothing(program: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        with dialing(program, tmp_path, "/socket") as process:
            near, _ = server.accept()
            near.settimeout(20)
            process.terminate()
            assert near.recv(1) == b""


def test_nobody_listens(program: Path, tmp_path: Path) -> None:
    for path, problem in (("/socket", errno.ENOENT), ("/" + "a" * 200, errno.ENAMETOOLONG)):
        with dialing(program, tmp_path, path) as process:
            _, said = process.communicate(timeout=20)
            assert process.returncode == problem and path.encode() in said
