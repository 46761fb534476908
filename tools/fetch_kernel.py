"""Makes sure that there is a guest kernel: the project's own where it was built, else Debian's, fetched once."""

from __future__ import annotations

import sys

from hypercontainer.errors import HyperError, Unavailable
from hypercontainer.kernel import KernelStore, cache_dir


def main() -> int:
    store = KernelStore(cache_dir())
    try:
        kernel = store.default()
    except Unavailable:
        print(
            "setup: no guest kernel yet; fetching Debian's (`make kernel` builds the faster own one)",
            flush=True,
        )
        try:
            kernel = store.fetch_debian(lambda line: print(f"setup: kernel: {line}", flush=True))
        except HyperError as error:
            print(f"setup: {error}", file=sys.stderr)
            return 1
    print(f"setup: guest kernel {kernel.version} ({kernel.source})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
