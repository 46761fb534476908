"""The User Mode Linux that the tests run, where its source can be had."""

from __future__ import annotations

import pytest

from hypercontainer.errors import Unavailable
from hypercontainer.kernel import Kernel, KernelStore, cache_dir


def uml_kernel() -> Kernel:
    """Skips the test without one: `make setup-tests` says why there is none, and fails for any other reason."""
    try:
        return KernelStore(cache_dir()).program()
    except Unavailable as error:
        pytest.skip(str(error))


def has_uml() -> bool:
    try:
        KernelStore(cache_dir()).program()
    except Unavailable:
        return False
    return True
