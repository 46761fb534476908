"""A hyperd of an ordinary user, on a machine where everything of ours belongs to root: copies that anybody may read,
run by the system's Python."""

from __future__ import annotations

import contextlib
import os
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypercontainer
from hyper import Hyper, close
from hypercontainer.kernel import KernelStore, cache_dir

UID, GROUP = 12345, 12346
PYTHON = "/usr/bin/python3"
PACKAGES = (
    *("backports", "h11", "h2", "isal", "lightkube", "msgspec", "urllib3", "yaml"),
    *("anyio", "certifi", "hpack", "httpcore2", "httpx2", "hyperframe", "idna", "truststore", "wsproto"),
)
PATH = "/usr/local/bin:/usr/bin:/bin"


class OrdinaryHyper(Hyper):
    """As ``Hyper``, with every command run by user ``UID``, in a second group as users are, without any privilege."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.environment = {
            "HOME": str(base / "home"),
            "PATH": PATH,
            "PYTHONPATH": str(base / "lib"),
            "HYPER_ROOT": str(self.root),
            "HYPER_RUN": str(self.run_dir),
        }

    def argv(self, *words: str) -> list[str]:
        user = ["--reuid", str(UID), "--regid", str(UID), f"--groups={UID},{GROUP}", "--bounding-set=-all"]
        return ["setpriv", *user, "--", PYTHON, "-P", str(self.base / "hyper"), *words]


@contextlib.contextmanager
def ordinary_hyper() -> Iterator[OrdinaryHyper]:
    base = Path(tempfile.mkdtemp(prefix="hyper-user-"))
    made = OrdinaryHyper(base)
    try:
        _furnish(base)
        yield made
    finally:
        close(made)


def _furnish(base: Path) -> None:
    base.chmod(0o755)
    lib, home = base / "lib", base / "home"
    shutil.copytree(Path(hypercontainer.__file__).parent, lib / "hypercontainer")
    for name in PACKAGES:
        shutil.copytree(Path(sysconfig.get_path("purelib"), name), lib / name)
    (base / "hyper").write_text("import sys\nfrom hypercontainer.cli.main import entry\nsys.exit(entry())\n")
    kernel = KernelStore(cache_dir()).default().path.parent
    shutil.copytree(kernel, home / ".cache/hyper/kernel" / kernel.name)
    for path in [*lib.rglob("*"), base / "hyper", lib]:
        path.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
    for path in [base, home, *home.rglob("*")]:
        os.chown(path, UID, UID)
