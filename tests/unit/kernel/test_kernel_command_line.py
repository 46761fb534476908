from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hypercontainer.kernel import Kernel, command_line


def kernel(source: str) -> Kernel:
    return Kernel(Path("/vmlinux"), "6.1", source, (), True, "sha256:0")


ALWAYS = "quiet panic=-1 random.trust_cpu=on cryptomgr.notests reboot=t"
OWN = "dummy.numdummies=0"
EMULATED = "mitigations=off noreplace-smp no_timer_check"


@pytest.mark.parametrize(
    ("source", "emulated", "console", "expected"),
    [
        (
            "own",
            True,
            True,
            f"console=ttyS0 {ALWAYS} {OWN} {EMULATED} tsc=reliable lapic_timer_khz=1000000 lpj=20000000",
        ),
        ("own", False, True, f"console=ttyS0 {ALWAYS} {OWN}"),
        ("own", False, False, f"console=null {ALWAYS} {OWN}"),
        ("debian", True, True, f"console=ttyS0 {ALWAYS} {EMULATED}"),
        ("user", True, False, f"console=null {ALWAYS} {EMULATED}"),
    ],
)
def test_the_words_for_each_kind_of_guest(source: str, emulated: bool, console: bool, expected: str) -> None:
    assert command_line(kernel(source), emulated=emulated, console=console, extra=()) == tuple(
        expected.split()
    )


def test_mitigations_are_left_to_the_kernel_where_code_runs_on_the_processor() -> None:
    assert not any(
        "mitigations" in word for word in command_line(kernel("own"), emulated=False, console=True, extra=())
    )


def test_the_users_words_come_last() -> None:
    words = command_line(kernel("own"), emulated=True, console=True, extra=("mitigations=auto", "debug"))
    assert words[-2:] == ("mitigations=auto", "debug")


def test_an_emulated_kernel_is_told_the_rate_of_its_clock() -> None:
    words = command_line(kernel("debian"), emulated=True, console=True, extra=(), tsc_khz=2_596_117)
    assert words[-1] == "tsc_early_khz=2596117"
    assert "tsc_early_khz=1" not in command_line(
        kernel("own"), emulated=False, console=True, extra=(), tsc_khz=1
    )


@pytest.mark.parametrize(
    ("architecture", "console"),
    [("arm64", "ttyAMA0"), ("riscv64", "ttyS0"), ("ppc64le", "hvc0"), ("s390x", "ttysclp0")],
)
def test_another_architecture_has_its_own_console_and_nothing_of_x86(architecture: str, console: str) -> None:
    foreign = replace(kernel("debian"), architecture=architecture)
    words = command_line(foreign, emulated=True, console=True, extra=(), tsc_khz=2_596_117)
    always = "quiet panic=-1 random.trust_cpu=on cryptomgr.notests mitigations=off"
    assert words == (f"console={console}", *always.split())
