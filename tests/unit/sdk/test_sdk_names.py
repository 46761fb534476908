"""What `import hypercontainer` gives and costs, and that what tools write is what they would write now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hypercontainer
from hypercontainer.sdk import names


@pytest.mark.parametrize("tool", ["make_sync", "make_options"])
def test_what_is_made_is_up_to_date(tool: str) -> None:
    script = Path(__file__).parents[3] / f"tools/{tool}.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_imports_nothing_of_weight() -> None:
    code = "import sys, hypercontainer; print(*{'asyncio', 'msgspec', 'typing', 'h11'} & {*sys.modules})"
    path = str(Path(hypercontainer.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, env={"PYTHONPATH": path}
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_every_name_is_there() -> None:
    assert set(names.__all__) <= set(dir(hypercontainer))
    for name in names.__all__:
        assert getattr(hypercontainer, name) is getattr(names, name)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = hypercontainer.Nothing  # type: ignore[attr-defined]
