"""The table of drivers in docs/hypervisor.md is of those that there are."""

from __future__ import annotations

from pathlib import Path

from hypercontainer.hypervisor import kinds

DOCS = Path(__file__).parents[2] / "docs"


def test_each_driver_has_its_column_and_its_page() -> None:
    text = (DOCS / "hypervisor.md").read_text()
    head = next(line for line in text.splitlines() if line.startswith("| | `qemu`"))
    named = [cell.strip().strip("`") for cell in head.split("|")[2:-1]]
    assert sorted(named) == sorted(["qemu", "uml", *kinds.OURS])
    pages = {kind: "cloud-hypervisor" if kind == "firecracker" else kind for kind in kinds.OURS}
    assert [kind for kind, page in pages.items() if not (DOCS / f"{page}.md").is_file()] == []
