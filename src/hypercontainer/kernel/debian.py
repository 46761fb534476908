"""Takes a kernel out of Debian's package: downloaded and unpacked in a work directory, never installed.

Result, complete or absent: ``CACHE/kernel/debian-VERSION/`` with the kernel (``vmlinux``, or ``vmlinuz`` where it
cannot be unpacked), the modules a guest needs (decompressed, in the order of ``kernel.json``) and ``kernel.json``.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypercontainer.errors import InvalidArgument, Unavailable
from hypercontainer.kernel import image, modules, payload, record

# The cloud kernel is a third of the other's size and has all that a guest needs but 9p.
META_PACKAGES = ("linux-image-cloud-amd64", "linux-image-amd64")
_TIMEOUT_S = 600
_DEPENDS = re.compile(r"^Depends:.*?\b(linux-image-[0-9][\w.+-]*)", re.MULTILINE)
_VERSION = re.compile(r"^Version: *(\S+)", re.MULTILINE)


def fetch(cache: Path, progress: Callable[[str], None]) -> Path:
    """Returns the kernel's directory; raises Unavailable where apt, the network or the disk fails."""
    package, version = resolve()
    directory = cache / "kernel" / f"debian-{version.replace(':', '_')}"
    if (directory / record.FILE_NAME).exists():
        return directory
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".debian-", dir=directory.parent) as work:
            root = _download(package, Path(work), progress)
            _install(root, Path(work) / "out", progress)
            _publish(Path(work) / "out", directory)
    except OSError as error:
        raise Unavailable(f"fetch {package} to {directory}: {error.strerror}") from error
    except ValueError as error:
        raise Unavailable(f"package {package} cannot be used: {error}") from error
    progress(f"kernel {package} {version} is in {directory}")
    return directory


def resolve() -> tuple[str, str]:
    """The real package behind the first meta package that apt knows, and its version."""
    for meta in META_PACKAGES:
        shown = _run(["apt-cache", "show", "--no-all-versions", meta], check=False)
        package, version = _DEPENDS.search(shown), _VERSION.search(shown)
        if package and version:
            return package[1], version[1]
    raise Unavailable(
        f"apt knows none of {', '.join(META_PACKAGES)}", hint="run `apt-get update` on a Debian amd64 machine"
    )


def _download(package: str, work: Path, progress: Callable[[str], None]) -> Path:
    """The root directory of the unpacked package."""
    progress(f"downloading {package}")
    options = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    _run(["apt-get", *options, "--quiet=2", "download", package], cwd=work)
    [archive] = work.glob("*.deb")
    progress(f"unpacking {archive.name} ({archive.stat().st_size >> 20} MiB)")
    _run(["dpkg-deb", "-x", str(archive), str(work / "root")])
    return work / "root"


def _install(root: Path, out: Path, progress: Callable[[str], None]) -> None:
    """Copies what a guest needs from the unpacked package's ``root`` into the new directory ``out``."""
    kernels = list((root / "boot").glob("vmlinuz-*"))
    if len(kernels) != 1:
        raise ValueError(f"{len(kernels)} kernels in it")
    version = kernels[0].name.removeprefix("vmlinuz-")
    library = next(path for path in (root / "usr/lib/modules", root / "lib/modules") if path.is_dir())
    chosen = modules.select(library / version)
    out.mkdir(mode=0o755)
    kernel = _place(kernels[0], out)
    for module in chosen:
        (out / f"{module.name}.ko").write_bytes(module.data)
    names = [f"{module.name}.ko" for module in chosen]
    files = [kernel, *(out / name for name in names)]
    entry = record.Record(
        version=version,
        source="debian",
        kernel=kernel.name,
        pvh=image.inspect(kernel).pvh,
        digest=image.digest(files),
        modules=names,
    )
    (out / record.FILE_NAME).write_bytes(record.encode(entry))
    progress(f"kernel {version} with {len(names)} modules")


def _place(vmlinuz: Path, out: Path) -> Path:
    """The kernel in ``out``: unpacked where a hypervisor can start it so, 0.4 s less of every emulated boot."""
    plain = out / "vmlinux"
    try:
        plain.write_bytes(payload.extract(vmlinuz.read_bytes()))
        image.inspect(plain)
        return plain
    except (ValueError, InvalidArgument):
        plain.unlink(missing_ok=True)
        return vmlinuz.rename(out / "vmlinuz")


def _publish(out: Path, directory: Path) -> None:
    """A rename; where another process was quicker, its result stands."""
    try:
        out.rename(directory)
    except OSError:
        if not (directory / record.FILE_NAME).exists():
            raise


def _run(argv: list[str], *, cwd: Path | None = None, check: bool = True) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except FileNotFoundError:
        raise Unavailable(
            f"{argv[0]} is missing: the packaged kernel can be fetched on Debian only",
            hint="`make kernel` builds one",
        ) from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"`{' '.join(argv)}` did not end in {_TIMEOUT_S} s") from None
    if check and done.returncode:
        raise Unavailable(f"`{' '.join(argv)}` failed (exit status {done.returncode}): {done.stderr.strip()}")
    return done.stdout
