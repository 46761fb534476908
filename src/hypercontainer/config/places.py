"""Where hyperd keeps its things and where it listens.

The command line runs this at every start, so it imports nothing but ``os``: no typing, no pathlib, no
dataclasses, each of which costs as much as the interpreter's own start.  The configuration file is parsed only
where it says something of these.
"""

from __future__ import annotations

import os
import stat
import sys

from hypercontainer.errors import InvalidArgument, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_FILE = "/etc/hyper/config.toml"
# sun_path of unix(7) has 108 bytes, macOS's 104; the last is NUL.
SOCKET_PATH_MAX = 103 if sys.platform == "darwin" else 107
UNIX_SCHEME = "unix://"


class Locations:
    """Absolute paths, as text.  ``file`` is the configuration file that there is, "" if there is none, and
    ``table`` its content; ``address`` is the path of the socket.  ``named``: who asks has named it, and it is not the
    one that there would be otherwise; whoever serves there is theirs to start."""

    __slots__ = ("_content", "address", "cache", "file", "named", "root", "run")

    def __init__(self, *, root: str, run: str, address: str, named: bool, cache: str, file: _File) -> None:
        self.root = root
        self.run = run
        self.address = address
        self.named = named
        self.cache = cache
        self.file = file.path
        self._content = file

    @property
    def table(self) -> Mapping[str, object]:
        """Raises InvalidArgument where the file is not TOML."""
        return self._content.table()

    @property
    def host(self) -> str:
        return UNIX_SCHEME + self.address


def locations(
    *,
    root: str | None = None,
    run: str | None = None,
    host: str | None = None,
    file: str | None = None,
    environ: Mapping[str, str] | None = None,
    uid: int | None = None,
    system_file: str = SYSTEM_FILE,
) -> Locations:
    """The arguments are what the program was told, ``file`` as its "config"; None: not given.

    Raises InvalidArgument with the field that is wrong, or names the variable or the key.
    """
    env = os.environ if environ is None else environ
    user = os.geteuid() if uid is None else uid
    path = _find_file(file, env, user, system_file)
    content = _File(path)

    def choose(told: str | None, key: str) -> tuple[str, _Origin]:
        variable = f"HYPER_{key.upper()}"
        if told is not None:
            return told, _Origin(key)
        if env.get(variable):
            return env[variable], _Origin("", f"{variable}: ")
        value = content.get(key)
        if not isinstance(value, str):
            raise InvalidArgument(f"{path}: {key}: a string is wanted, not {value!r}")
        return value, _Origin("", f"{path}: {key}: ")

    default_socket = _Origin("", "run: ")
    chosen_run = _absolute(*choose(run, "run")) or _default_run(env, user)
    named = _socket_path(*choose(host, "host"))
    configured = content.get("host")
    usual = configured.removeprefix(UNIX_SCHEME) if isinstance(configured, str) else ""
    usual = usual or f"{chosen_run}/hyper.sock"
    return Locations(
        root=_absolute(*choose(root, "root")) or _default_root(env, user),
        run=chosen_run,
        address=named or _checked_length(usual, default_socket),
        named=bool(named) and named != usual,
        cache=_absolute(*choose(None, "cache")) or _xdg(env, "XDG_CACHE_HOME", ".cache"),
        file=content,
    )


def prepare_directories(root: str, run: str) -> None:
    """hyperd's two directories.  VMs of a hyperd that is root run as other users, which must get through."""
    for path in (root, run):
        prepare_directory(path, mode=0o711 if os.geteuid() == 0 else 0o700)


def prepare_directory(path: str, *, mode: int) -> None:
    """Makes ``path`` (parents too) with ``mode``, or checks that what is there is a directory of ours that
    nobody else may write: whoever writes there could take the daemon's place."""
    parent = os.path.dirname(path)  # noqa: PTH120
    try:
        os.makedirs(parent, exist_ok=True)  # noqa: PTH103
        os.mkdir(path, mode)  # noqa: PTH102
        os.chmod(path, mode)  # noqa: PTH101 - mkdir's mode goes through the umask
    except FileExistsError:
        check_directory(path)
    except OSError as error:
        raise Unavailable(f"cannot make the directory {path}: {error.strerror}") from error


def check_directory(path: str) -> None:
    """As `prepare_directory`, for a directory that exists.  Raises Unavailable."""
    try:
        found, link = os.stat(path), os.lstat(path)
    except OSError as error:
        raise Unavailable(f"cannot use the directory {path}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise Unavailable(f"{path} is not a directory")
    if found.st_uid != os.geteuid():
        raise Unavailable(f"the directory {path} belongs to uid {found.st_uid}, not to you")
    if link.st_uid not in (0, os.geteuid()):
        raise Unavailable(f"the link {path} belongs to uid {link.st_uid}, not to you")
    if found.st_mode & 0o022:
        raise Unavailable(
            f"others may write in the directory {path}", hint=f"chmod go-w {path}, if what is in it is yours"
        )


class _Origin:
    """Where a value is from: the ``field`` that the program was told, or what stands before a complaint."""

    def __init__(self, field: str, where: str = "") -> None:
        self.field = field
        self.where = where

    def wrong(self, why: str, takes: str | None = None) -> InvalidArgument:
        return InvalidArgument(self.where + why, field=self.field, takes=takes)


def _find_file(told: str | None, env: Mapping[str, str], uid: int, system_file: str) -> str:
    """A file that was named must exist; of the usual ones a user's own hides the system's."""
    named, origin = env.get("HYPER_CONFIG", ""), _Origin("", "HYPER_CONFIG: ")
    if told is not None:
        named, origin = told, _Origin("config")
    if named:
        path = os.path.abspath(named)  # noqa: PTH100
        if not os.path.isfile(path):  # noqa: PTH113
            raise origin.wrong(f"there is no file {path}")
        return path
    candidates = [system_file]
    if uid != 0:
        candidates.insert(0, _xdg(env, "XDG_CONFIG_HOME", ".config") + "/config.toml")
    return next((path for path in candidates if os.path.isfile(path)), "")  # noqa: PTH113


class _File:
    """A configuration file, parsed when it has to be: the parser costs the command line as much as all the rest."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._table: dict[str, object] | None = None
        self._head = b""
        if path:
            try:
                with open(path, "rb") as file:
                    self._bytes = file.read()
            except OSError as error:
                raise InvalidArgument(f"{path}: {error.strerror}") from error
            # What stands outside of tables comes before the first of them, if no text of several lines looks like one.
            several = b'"""' in self._bytes or b"'''" in self._bytes
            self._head = self._bytes if several else (b"\n" + self._bytes).partition(b"\n[")[0]

    def get(self, key: str) -> object:
        """Of a key outside of tables; "" where it is not given."""
        return self.table().get(key, "") if key.encode() in self._head else ""

    def table(self) -> Mapping[str, object]:
        if self._table is None:
            self._table = _parse_toml(self.path, self._bytes) if self.path else {}
        return self._table


def _parse_toml(path: str, data: bytes) -> dict[str, object]:
    import tomllib

    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{path}: this is not TOML: {error}") from error


def _absolute(value: str, origin: _Origin) -> str:
    if value and not value.startswith("/"):
        raise origin.wrong(f"{value!r} is not an absolute path")
    return os.path.normpath(value) if value else ""


def _socket_path(value: str, origin: _Origin) -> str:
    if not value:
        return ""
    if not value.startswith(UNIX_SCHEME + "/"):
        raise origin.wrong(f"{value!r}: only unix:///absolute/path is served")
    return _checked_length(value.removeprefix(UNIX_SCHEME), origin)


def _checked_length(path: str, origin: _Origin) -> str:
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_MAX:
        raise origin.wrong(
            f"a socket's path has at most {SOCKET_PATH_MAX} bytes, this has {length}: {path}",
            "a shorter one, as host or in HYPER_HOST",
        )
    return path


def _default_root(env: Mapping[str, str], uid: int) -> str:
    return "/var/lib/hyper" if uid == 0 else _xdg(env, "XDG_DATA_HOME", ".local/share")


def _default_run(env: Mapping[str, str], uid: int) -> str:
    if uid == 0:
        return "/run/hyper"
    base = env.get("XDG_RUNTIME_DIR", "")
    if base.startswith("/"):
        return os.path.normpath(base) + "/hyper"
    path = f"/tmp/hyper-{uid}"  # noqa: S108 - checked: a stranger's directory is refused
    if os.path.lexists(path):
        check_directory(path)
    return path


def _xdg(env: Mapping[str, str], variable: str, below_home: str) -> str:
    """The XDG base directory specification: a path that is not absolute is to be ignored."""
    base = env.get(variable, "")
    if not base.startswith("/"):
        home = env.get("HOME") or os.path.expanduser("~")  # noqa: PTH111
        base = f"{home}/{below_home}"
    return os.path.normpath(base) + "/hyper"
