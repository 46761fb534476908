"""A hyperd of an ordinary user, on a machine where everything of ours belongs to root: copies that anybody may read,
run by the system's Python."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypercontainer
from hyper import Hyper, close
from hypercontainer.errors import Unavailable
from hypercontainer.kernel import Kernel, KernelStore, cache_dir

UID, GROUP = 12345, 12346
PYTHON = "/usr/bin/python3"
PACKAGES = (
    *("backports", "h11", "h2", "isal", "lightkube", "msgspec", "pyroute2", "re2", "urllib3", "yaml"),
    *(
        "cryptography",
        "cffi",
        "pycparser",
        "anyio",
        "certifi",
        "hpack",
        "httpcore2",
        "httpx2",
        "hyperframe",
        "idna",
        "truststore",
        "wsproto",
    ),
)
PATH = "/usr/local/bin:/usr/bin:/bin"
TUN, TUN_NUMBER = Path("/dev/net/tun"), os.makedev(10, 200)


class OrdinaryHyper(Hyper):
    """As ``Hyper``, with every command run by user ``UID``, in a second group as users are, without any privilege.

    ``tun``: with a device file for tap devices that is open to everybody, as distributions have it, whatever this
    machine's is: in a mount namespace of the command's, and so hyperd's, own.
    """

    def __init__(self, base: Path, config: str = "", *, tun: bool = False) -> None:
        super().__init__(base, config)
        self._tun = tun
        self.environment = {
            "HOME": str(base / "home"),
            "PATH": PATH,
            "PYTHONPATH": str(base / "lib"),
            "HYPER_ROOT": str(self.root),
            "HYPER_RUN": str(self.run_dir),
            **({"HYPER_CONFIG": str(base / "config.toml")} if config else {}),
        }

    def argv(self, *words: str) -> list[str]:
        user = ["--reuid", str(UID), "--regid", str(UID), f"--groups={UID},{GROUP}", "--bounding-set=-all"]
        command = ["setpriv", *user, "--", PYTHON, "-P", str(self.base / "hyper"), *words]
        if not self._tun:
            return command
        script = f'mount --bind "$0" {TUN} && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, str(self.base / "tun"), *command]


@contextlib.contextmanager
def ordinary_hyper(config: str = "", *, tun: bool = False) -> Iterator[OrdinaryHyper]:
    base = Path(tempfile.mkdtemp(prefix="hyper-user-"))
    made = OrdinaryHyper(base, config, tun=tun)
    try:
        _furnish(base)
        if tun:
            os.mknod(base / "tun", stat.S_IFCHR, TUN_NUMBER)
            (base / "tun").chmod(0o666)
        yield made
    finally:
        close(made)


def _furnish(base: Path) -> None:
    base.chmod(0o755)
    lib, home = base / "lib", base / "home"
    shutil.copytree(Path(hypercontainer.__file__).parent, lib / "hypercontainer")
    installed = Path(sysconfig.get_path("purelib"))
    for name in PACKAGES:
        for package in (
            installed / name,
            *installed.glob(f"{name}-*.dist-info"),
        ):  # some ask for their own version
            shutil.copytree(package, lib / package.name)
    for module in (installed / "typing_extensions.py", *installed.glob("_cffi_backend.*")):
        shutil.copy(module, lib)
    (base / "hyper").write_text("import sys\nfrom hypercontainer.cli.main import entry\nsys.exit(entry())\n")
    for kind, kernel in (("kernel", _kernel(KernelStore.default)), ("uml", _kernel(KernelStore.program))):
        if kernel is not None:
            shutil.copytree(kernel, home / ".cache/hyper" / kind / kernel.name)
    for path in [*lib.rglob("*"), base / "hyper", lib]:
        path.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
    for path in [base, home, *home.rglob("*")]:
        os.chown(path, UID, UID)


def _kernel(which: Callable[[KernelStore], Kernel]) -> Path | None:
    """Its folder; None of a kind that this machine has none of."""
    try:
        return which(KernelStore(cache_dir())).path.parent
    except Unavailable:
        return None
