from __future__ import annotations

import pytest

from hypercontainer.errors import ImageError, InvalidArgument
from hypercontainer.image.documents import Descriptor, Index, WirePlatform, select
from hypercontainer.image.platforms import Platform, parse, suitability

OCI = "application/vnd.oci.image.manifest.v1+json"


def index_of(*platforms: str, **annotations: str) -> Index:
    entries = []
    for number, text in enumerate(platforms):
        system, architecture, *variant = text.split("/")
        platform = WirePlatform(architecture, system, variant[0] if variant else None)
        entries.append(Descriptor(f"sha256:{number:064x}", 1, OCI, None, annotations or None, platform))
    return Index("", tuple(entries))


def chosen(index: Index, wanted: str) -> int:
    return int(select(index, parse(wanted), "test").digest[-4:], 16)


def test_spellings() -> None:
    assert parse("aarch64") == parse("linux/arm64/v8") == parse("linux/arm64") == Platform("linux", "arm64")
    assert parse("linux/x86_64") == Platform("linux", "amd64")
    assert str(parse("linux/arm/7")) == "linux/arm"
    assert str(parse("linux/arm/v6")) == "linux/arm/v6"
    for bad in ("", "a/b/c/d", "linux/", "lin ux/amd64"):
        with pytest.raises(InvalidArgument):
            parse(bad)


def test_the_best_variant_that_the_machine_runs_is_chosen() -> None:
    arm = index_of("linux/arm/v5", "linux/arm/v7", "linux/arm/v6", "linux/arm64/v8", "linux/amd64")
    assert chosen(arm, "linux/arm/v7") == 1
    assert chosen(arm, "linux/arm/v6") == 2
    assert chosen(arm, "linux/arm64") == 3
    amd = index_of("windows/amd64", "linux/amd64/v3", "linux/amd64", "linux/amd64/v2")
    assert chosen(amd, "linux/amd64") == 2
    assert chosen(amd, "linux/amd64/v2") == 3
    assert chosen(amd, "linux/amd64/v4") == 1
    assert suitability(parse("linux/arm/v7"), parse("linux/arm/v6")) is None


def test_attestations_are_no_images() -> None:
    assert chosen(index_of("unknown/unknown", "linux/amd64"), "linux/amd64") == 1
    with pytest.raises(ImageError, match="no image for linux/amd64"):
        select(index_of("linux/amd64", **{"vnd.docker.reference.type": "x"}), parse("amd64"), "t")


def test_what_there_is_is_said() -> None:
    with pytest.raises(ImageError, match="it has linux/arm64, linux/s390x"):
        select(index_of("linux/arm64", "linux/s390x"), parse("linux/amd64"), "t")
