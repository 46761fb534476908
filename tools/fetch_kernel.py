"""Makes sure that there is a guest kernel: the project's own where it was built, else Debian's, fetched once.

usage: fetch_kernel.py [ARCHITECTURE]...
"""

from __future__ import annotations

import sys

from hypercontainer.errors import HyperError, Unavailable
from hypercontainer.kernel import Kernel, KernelStore, cache_dir
from hypercontainer.linux.architectures import AMD64

FASTER = {AMD64: " (`make kernel` builds the faster own one)"}


def main() -> int:
    store = KernelStore(cache_dir())
    for architecture in sys.argv[1:] or [AMD64]:
        try:
            kernel = ensured(store, architecture)
        except HyperError as error:
            print(f"setup: {error}", file=sys.stderr)
            return 1
        print(f"setup: guest kernel {kernel.version} ({kernel.source})")
    return 0


def ensured(store: KernelStore, architecture: str) -> Kernel:
    try:
        return store.default(architecture)
    except Unavailable:
        print(f"setup: no guest kernel yet; fetching Debian's{FASTER.get(architecture, '')}", flush=True)
        return store.fetch_debian(lambda line: print(f"setup: kernel: {line}", flush=True), architecture)


if __name__ == "__main__":
    sys.exit(main())
