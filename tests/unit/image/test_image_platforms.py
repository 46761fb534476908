from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from hypercontainer.errors import ImageError, InvalidArgument, NotSupported
from hypercontainer.image import platforms
from hypercontainer.image.documents import Descriptor, Index, WirePlatform, select
from hypercontainer.image.platforms import Platform, candidates, host_level, machine_for, parse, suitability

OCI = "application/vnd.oci.image.manifest.v1+json"


def index_of(*platforms: str, **annotations: str) -> Index:
    entries = []
    for number, text in enumerate(platforms):
        system, architecture, *variant = text.split("/")
        platform = WirePlatform(architecture, system, variant[0] if variant else None)
        entries.append(Descriptor(f"sha256:{number:064x}", 1, OCI, None, annotations or None, platform))
    return Index("", tuple(entries))


def chosen(index: Index, wanted: str) -> int:
    return int(select(index, [parse(wanted)], "test").digest[-4:], 16)


def test_spellings() -> None:
    assert parse("aarch64") == parse("linux/arm64/v8") == parse("linux/arm64") == Platform("linux", "arm64")
    assert parse("linux/x86_64") == Platform("linux", "amd64")
    assert str(parse("linux/arm/7")) == "linux/arm"
    assert str(parse("linux/arm/v6")) == "linux/arm/v6"
    for bad in ("", "a/b/c/d", "linux/", "lin ux/amd64", "nosuch"):
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
        select(index_of("linux/amd64", **{"vnd.docker.reference.type": "x"}), [parse("amd64")], "t")


def test_what_there_is_is_said() -> None:
    with pytest.raises(ImageError, match="it has linux/arm64, linux/s390x"):
        select(index_of("linux/arm64", "linux/s390x"), [parse("linux/amd64")], "t")


FLAGS = {
    1: "fpu sse sse2",
    2: "fpu cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3",
    3: "fpu cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 abm avx avx2 bmi1 bmi2 f16c fma movbe xsave",
}
FLAGS[4] = FLAGS[3] + " avx512f avx512bw avx512cd avx512dq avx512vl"


@pytest.mark.parametrize("level", FLAGS)
def test_levels_are_those_of_the_processor(tmp_path: Path, level: int) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {FLAGS[level]}\n\nprocessor\t: 1\n")
    assert host_level(cpuinfo, kvm=tmp_path) == level
    assert host_level(cpuinfo, kvm=tmp_path / "none") == min(level, 3), "an emulated one has no more"
    assert host_level(tmp_path / "none", kvm=tmp_path) == 1


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    def be(name: str, level: int) -> None:
        monkeypatch.setattr("os.uname", lambda: SimpleNamespace(machine=name))
        monkeypatch.setattr(platforms, "host_level", lambda: level)

    return be


def test_an_index_of_levels_only(machine: Callable[[str, int], None]) -> None:
    index = index_of("linux/arm64", "linux/amd64/v3", "linux/amd64/v2")

    def place(wanted: str | None = None) -> int:
        return int(select(index, candidates(parse(wanted) if wanted else None), "test").digest[-4:], 16)

    machine("x86_64", 3)
    assert place() == place("linux/amd64") == 1
    assert place("linux/amd64/v2") == 2
    machine("x86_64", 2)
    assert place() == 2
    machine("x86_64", 1)
    with pytest.raises(ImageError, match=r"no image for linux/amd64; it has linux/arm64, linux/amd64/v3"):
        place()
    index = index_of("linux/amd64/v3", "linux/amd64")
    machine("x86_64", 4)
    assert place() == 1, "as other tools choose"


def test_the_vm_that_an_image_runs_in(machine: Callable[[str, int], None]) -> None:
    def runs(text: str, *machines: str) -> str:
        return machine_for(parse(text), machines or ("amd64",), "it")

    machine("x86_64", 2)
    for text in ("linux/amd64", "linux/amd64/v2", "linux/386"):
        assert runs(text) == runs(text, "amd64", "arm64") == "amd64"
    for text in ("linux/amd64/v3", "linux/arm64", "windows/amd64", "linux/arm"):
        with pytest.raises(NotSupported, match=r"there are VMs for linux/amd64/v2$") as caught:
            runs(text)
        assert caught.value.remedies[0].options == {"platform": "linux/amd64"}
    for text in ("linux/arm64", "linux/arm64/v8", "linux/arm/v7", "linux/arm/v6"):
        assert runs(text, "amd64", "arm64") == "arm64"
    for text in ("linux/amd64/v3", "windows/arm64", "linux/s390x"):
        with pytest.raises(
            NotSupported, match=r"it is for .*: there are VMs for linux/amd64/v2, linux/arm64$"
        ):
            runs(text, "amd64", "arm64")
    machine("aarch64", 1)
    assert runs("linux/arm/v6", "arm64") == "arm64"
    with pytest.raises(NotSupported, match="it is for linux/amd64: there are VMs for linux/arm64"):
        runs("linux/amd64", "arm64")
