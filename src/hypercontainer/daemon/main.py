"""The command ``hyperd``: flags, the process's own setting, exclusive ownership, then `service.serve`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hypercontainer import __version__
from hypercontainer.config import Config, load_config, prepare_directories
from hypercontainer.errors import HyperError, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hypercontainer.engine.engine import Engine
    from hypercontainer.surfaces.http.tls import Gate

# For so long a thread that computes has the interpreter; its own 5 ms are a twentieth of a container's start.
SWITCH_S = 0.0005
LOG_FILE_BYTES = 10 << 20
LOG_FILES = 3
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

EPILOG = """\
examples:
  hyperd                                   serve at the usual place: /run/hyper/hyper.sock, or a user's own
  hyperd --root /srv/hyper --run /run/h2   one more hyperd, beside the first
  hyperd --config ./config.toml --log-level debug

`hyper` starts hyperd when none is running.  Every pod lives on when hyperd ends, and the next one finds it.
docs/configuration.md describes the configuration file and the variables HYPER_ROOT, HYPER_RUN, HYPER_HOST,
HYPER_CACHE and HYPER_CONFIG.
"""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="hyperd",
        description="Runs containers in virtual machines, and serves `hyper`.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--root", metavar="DIR", help="state directory")
    made.add_argument("--run", metavar="DIR", help="run directory: sockets, and what ends with the machine")
    made.add_argument("--host", metavar="URL", help="where to listen: unix:///absolute/path")
    made.add_argument("--config", metavar="FILE", help="configuration file")
    made.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    made.add_argument("--log-file", metavar="FILE", type=Path, help="log here, not to standard error")
    made.add_argument("--lock-wait", metavar="S", type=float, default=0.0, help="for another hyperd to end")
    made.add_argument(
        "--ready-fd", metavar="N", type=int, help="a line is written there when clients are served"
    )
    made.add_argument("--version", action="version", version=f"hyperd {__version__}")
    return made


ELSEWHERE = "docs/macos.md says what it would take, and how a client here uses a hyperd elsewhere"


def entry() -> int:
    return main(sys.argv[1:])


def main(words: Sequence[str], *, make_engine: Callable[[Config], Engine] | None = None) -> int:
    """The exit status.  ``make_engine`` is for tests."""
    flags = parser().parse_args(words)
    if sys.platform != "linux":
        print(f"hyperd: it runs on Linux alone, and this is {sys.platform}: {ELSEWHERE}", file=sys.stderr)  # noqa: T201
        return 1
    try:
        config = load_config(root=flags.root, run=flags.run, host=flags.host, file=flags.config)
        prepare_directories(str(config.root), str(config.run))
        set_up_process()
        set_up_log(flags.log_level or config.logging.level, flags.log_file)
        run(config, flags.lock_wait, flags.ready_fd, make_engine)
    except (HyperError, OSError) as error:
        logging.getLogger(__name__).debug("hyperd failed", exc_info=error)
        flag = "--" if getattr(error, "field", "") in vars(flags) else ""  # the error begins with the field
        print(f"hyperd: {flag}{error}", file=sys.stderr)  # noqa: T201 - also where the log is a file
        return 2 if isinstance(error, InvalidArgument) else 1
    return 0


def set_up_process() -> None:
    os.umask(0o077)
    sys.setswitchinterval(SWITCH_S)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def set_up_log(level: str, file: Path | None) -> None:
    """A file is turned over at `LOG_FILE_BYTES`, and `LOG_FILES` old ones are kept."""
    if file is None:
        handler: logging.Handler = logging.StreamHandler()
    else:
        from logging.handlers import RotatingFileHandler

        handler = RotatingFileHandler(
            file, maxBytes=LOG_FILE_BYTES, backupCount=LOG_FILES, encoding="utf-8", errors="backslashreplace"
        )
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    logging.raiseExceptions = False  # a full disk must not end the daemon, nor flood its standard error
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def run(
    config: Config, lock_wait_s: float, ready_fd: int | None, make_engine: Callable[[Config], Engine] | None
) -> None:
    """Takes what only one hyperd may have, and serves until told to end."""
    # What costs time to import comes after the locks: a second hyperd is told so at once.
    from hypercontainer.daemon.ownership import locked, pid_file

    if ready_fd is not None:
        os.set_inheritable(ready_fd, False)
    with contextlib.ExitStack() as stack:
        for directory in dict.fromkeys((config.root, config.run)):
            stack.enter_context(locked(directory, wait_s=lock_wait_s))
        stack.enter_context(pid_file(config.run / "hyperd.pid"))
        import asyncio

        from hypercontainer.daemon.service import Sockets, serve, tell_ready
        from hypercontainer.linux import memory

        docker, tcp = _docker_sockets(config, stack)
        sockets = Sockets(_sockets(config, stack), docker, tcp)
        gate = _gate(config) if tcp else None
        memory.one_heap()
        engine = (make_engine or _create_engine)(config)
        asyncio.run(serve(engine, sockets, gate=gate, ready=lambda: tell_ready(ready_fd)))


def _docker_sockets(
    config: Config, stack: contextlib.ExitStack
) -> tuple[list[socket.socket], list[socket.socket]]:
    """Docker's API's: of paths, and of TCP."""
    from hypercontainer.daemon.ownership import bound_socket, tcp_socket

    path, place = config.docker_socket, config.docker.tcp
    if path is None:
        return [], []
    paths = [stack.enter_context(bound_socket(path, config.group))]
    return paths, [stack.enter_context(tcp_socket(*place))] if place else []


def _gate(config: Config) -> Gate:
    from hypercontainer.surfaces.http.tls import Gate

    tls = config.docker.tls
    assert tls is not None  # the configuration has been read
    return Gate(tls.ca, tls.certificate, tls.key, tls.roles)


def _create_engine(config: Config) -> Engine:
    from hypercontainer.engine.engine import Engine

    return Engine(config)


def _sockets(config: Config, stack: contextlib.ExitStack) -> list[socket.socket]:
    from hypercontainer.daemon.ownership import bound_socket
    from hypercontainer.daemon.systemd import inherited_sockets

    inherited = inherited_sockets(os.environ, os.getpid())
    for sock in inherited:
        stack.enter_context(contextlib.closing(sock))
    return inherited or [stack.enter_context(bound_socket(config.address, config.group))]
