"""Which hypervisor a VM is given, and why."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_driver import FakeDriver
from hypercontainer.engine.sandbox.choice import QEMU, UML, Chosen, Wish, check, choose, choose_foreign
from hypercontainer.errors import InvalidArgument, NotFound, NotSupported, Unavailable
from hypercontainer.hypervisor.driver import Capabilities, Verdict
from hypercontainer.hypervisor.drivers import Drivers
from hypercontainer.hypervisor.spec import Accelerator
from hypercontainer.kernel import Kernel

KVM, TCG, NATIVE = Accelerator.KVM, Accelerator.TCG, Accelerator.NATIVE
MACHINE = Kernel(Path("/machine"), "6.1", "own", (), True, "sha256:0")
PROGRAM = Kernel(
    Path("/program"), "7.3", "own", (), False, "sha256:1", program=True, devices=frozenset({"uml"})
)
OTHER = Kernel(Path("/other"), "6.2", "other", (), True, "sha256:2")
ARM = Kernel(Path("/arm"), "6.1", "debian", (), False, "sha256:3", architecture="arm64")
NOTHING = Wish()
SHARES = {"shares": "directories of the host"}


class Native(FakeDriver):
    name = UML

    def __init__(self, usable: bool, shares: str) -> None:
        super().__init__()
        self._usable = usable
        self._shares = shares

    async def capabilities(self) -> Capabilities:
        able = await super().capabilities()
        return replace(able, shares=self._shares, accelerators=frozenset({NATIVE}), devices="uml")

    async def probe(
        self, accelerator: Accelerator, kernel: Path | None = None, *, refresh: bool = False
    ) -> Verdict:
        assert (accelerator, kernel) == (NATIVE, PROGRAM.path)
        return Verdict(NATIVE, self._usable, "it boots" if self._usable else "no seccomp here")


class Missing(FakeDriver):
    async def probe(self, *_: Any, **__: Any) -> Verdict:
        raise Unavailable("no QEMU in PATH")


class Store:
    """Plays the store of kernels."""

    def __init__(self, *, programs: bool = True) -> None:
        self._programs = programs

    def default(self, architecture: str = "amd64") -> Kernel:
        if architecture == "riscv64":
            raise Unavailable("no guest kernel for riscv64")
        return MACHINE if architecture == "amd64" else ARM

    def having(self, devices: str) -> Kernel:
        return self.program() if devices == "uml" else self.default()

    def program(self) -> Kernel:
        if not self._programs:
            raise Unavailable("no User Mode Linux")
        return PROGRAM

    def find(self, wish: str) -> Kernel:
        if wish.startswith("/copy"):
            raise InvalidArgument(f"kernel {wish}: neither this nor that")
        found = {kernel.name: kernel for kernel in (MACHINE, PROGRAM, OTHER, ARM)}.get(wish)
        if found is None:
            raise NotFound(f"no kernel called {wish}")
        return found


def chosen(
    asked: Wish,
    configured: Wish = NOTHING,
    *,
    qemu: FakeDriver | None = None,
    native: bool = True,
    programs: bool = True,
    shares: str = "",
    wants: dict[str, str] | None = None,
) -> Chosen:
    drivers = Drivers(qemu or FakeDriver(), Native(native, shares))
    store: Any = Store(programs=programs)
    return asyncio.run(choose(asked, configured, drivers, store, wants or {}))


def test_the_best_that_works_is_taken() -> None:
    best = chosen(Wish(), qemu=FakeDriver(kvm=True))
    assert (best.accelerator, best.kernel) == (KVM, MACHINE)
    second = chosen(Wish())
    assert (second.accelerator, second.kernel, second.driver.name) == (NATIVE, PROGRAM, UML)
    assert second.reason.startswith("KVM is not usable: ")
    last = chosen(Wish(), native=False)
    assert (last.accelerator, last.kernel) == (TCG, MACHINE)
    assert last.reason.endswith("; no seccomp here")


def test_what_a_vm_needs_decides_too() -> None:
    found = chosen(Wish(), wants=SHARES)
    assert found.accelerator is TCG
    assert found.reason.endswith("; User Mode Linux has no directories of the host here")
    assert chosen(Wish(), wants=SHARES, shares="virtiofs").accelerator is NATIVE
    assert chosen(Wish(UML), wants=SHARES).accelerator is NATIVE  # whose driver says what it cannot


def test_without_qemu_there_is_user_mode_linux_and_without_both_the_words_of_both() -> None:
    found = chosen(Wish(), qemu=Missing())
    assert (found.accelerator, found.reason) == (NATIVE, "no QEMU in PATH")
    for more, native in (
        ({"native": False}, "no seccomp here"),
        ({"programs": False}, "no User Mode Linux"),
        ({"wants": SHARES}, "User Mode Linux has no directories of the host here"),
    ):
        with pytest.raises(Unavailable, match=f"QEMU: no QEMU in PATH; {native}"):
            chosen(Wish(), qemu=Missing(), **more)


@pytest.mark.parametrize(
    ("asked", "accelerator", "kernel"),
    [
        (Wish(UML), NATIVE, PROGRAM),
        (Wish(QEMU), TCG, MACHINE),
        (Wish(QEMU, "kvm"), KVM, MACHINE),
        (Wish(accelerator="tcg"), TCG, MACHINE),
        (Wish(kernel="own-7.3"), NATIVE, PROGRAM),
        (Wish(kernel="own-6.1"), TCG, MACHINE),
        (Wish(UML, kernel="own-6.1"), NATIVE, MACHINE),  # the driver says that this is none of its
    ],
)
def test_what_is_asked_for_is_given(asked: Wish, accelerator: Accelerator, kernel: Kernel) -> None:
    for found in (chosen(asked), chosen(asked, Wish(UML, kernel="own-7.3")), chosen(asked, Wish(QEMU))):
        assert (found.accelerator, found.kernel) == (accelerator, kernel)


@pytest.mark.parametrize(
    ("asked", "configured", "accelerator", "kernel"),
    [
        (NOTHING, Wish(UML), NATIVE, PROGRAM),
        (NOTHING, Wish(QEMU, "kvm"), KVM, MACHINE),
        (NOTHING, Wish(accelerator="tcg"), TCG, MACHINE),
        (NOTHING, Wish(kernel="own-7.3"), NATIVE, PROGRAM),
        (NOTHING, Wish(kernel="other-6.2"), TCG, OTHER),
        (Wish(QEMU), Wish(accelerator="kvm"), KVM, MACHINE),
        (Wish(QEMU), Wish(kernel="other-6.2"), TCG, OTHER),
        (Wish(UML), Wish(kernel="other-6.2"), NATIVE, PROGRAM),
        (Wish(QEMU), Wish(kernel="own-7.3"), TCG, MACHINE),
        (Wish(kernel="own-6.1"), Wish(UML), TCG, MACHINE),
    ],
)
def test_what_is_configured_is_for_what_it_can_be_of(
    asked: Wish, configured: Wish, accelerator: Accelerator, kernel: Kernel
) -> None:
    found = chosen(asked, configured)
    assert (found.accelerator, found.kernel) == (accelerator, kernel)


def test_a_kernel_is_named_as_its_user_knows_it() -> None:
    with pytest.raises(InvalidArgument, match="kernel /home/me/vmlinuz: neither"):
        chosen(Wish(kernel="/copy/of/it", known_as="/home/me/vmlinuz"))


@pytest.mark.parametrize(
    ("hypervisor", "accelerator", "words"),
    [("nope", None, "nope"), (None, "native", "native"), (None, "", "''"), (UML, "kvm", "QEMU's")],
)
def test_what_there_is_not_is_refused(hypervisor: str | None, accelerator: str | None, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        check(hypervisor, accelerator, Drivers(FakeDriver(), Native(True, "")))


def test_one_of_ours_that_needs_a_table_says_which() -> None:
    with pytest.raises(Unavailable, match="esx is to be told") as caught:
        check("esx", None, Drivers(FakeDriver(), Native(True, "")))
    assert caught.value.hint is not None
    assert "[hypervisor.esx]" in caught.value.hint


class Foreign(FakeDriver):
    def __init__(self, architecture: str, *, there: bool = True) -> None:
        super().__init__()
        self.name, self.architecture, self._there = f"qemu-{architecture}", architecture, there

    def check_installed(self) -> None:
        if not self._there:
            raise Unavailable(
                "no qemu-system-aarch64 in PATH", hint="install QEMU: apt-get install qemu-system-arm"
            )


def foreign(architecture: str, asked: Wish = NOTHING, *, there: bool = True) -> Chosen:
    drivers = Drivers(FakeDriver(), Foreign("arm64", there=there), Foreign("riscv64"))
    store: Any = Store()
    return asyncio.run(choose_foreign(asked, drivers, store, architecture))


def test_another_architecture_is_emulated_by_its_own_driver_with_its_own_kernel() -> None:
    for wish in (NOTHING, Wish(QEMU, "tcg"), Wish(kernel="debian-6.1")):
        found = foreign("arm64", wish)
        assert (found.driver.name, found.kernel, found.accelerator) == ("qemu-arm64", ARM, TCG)


def test_what_another_architecture_cannot_have_is_refused_by_its_field() -> None:
    for wish, field in (
        (Wish(UML), "hypervisor"),
        (Wish(accelerator="kvm"), "accelerator"),
        (Wish(kernel="own-6.1"), "kernel"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            foreign("arm64", wish)
        assert caught.value.field == field
    with pytest.raises(InvalidArgument, match=r"debian-6\.1 is for arm64"):
        chosen(Wish(QEMU, kernel="debian-6.1"))


def test_what_another_architecture_needs_is_named_where_it_is_missing() -> None:
    with pytest.raises(Unavailable, match="qemu-system-aarch64") as caught:
        foreign("arm64", there=False)
    assert "apt-get install qemu-system-arm" in (caught.value.hint or "")
    with pytest.raises(Unavailable, match="no guest kernel for riscv64"):
        foreign("riscv64")
    with pytest.raises(NotSupported, match="no VMs for mips64le"):
        foreign("mips64le")
