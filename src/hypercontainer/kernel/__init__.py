"""Guest kernels (the project's own, the distribution's, the user's), their initrd and command line."""

from hypercontainer.kernel.cmdline import command_line
from hypercontainer.kernel.initrd import build_initrd
from hypercontainer.kernel.model import Kernel
from hypercontainer.kernel.paths import cache_dir, hyperstart_path
from hypercontainer.kernel.store import KernelStore

__all__ = ["Kernel", "KernelStore", "build_initrd", "cache_dir", "command_line", "hyperstart_path"]
