"""What VirtualBox 7.2.22 writes to a VM's log."""

from __future__ import annotations

import pytest

from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.hypervisor.virtualbox.log import Told

STARTED = [
    "00:00:03.857154 Console: Machine state changed to 'Starting'",
    "00:00:04.310124 Changing the VM state from 'POWERING_ON' to 'RUNNING'",
    "00:00:04.310149 Console: Machine state changed to 'Running'",
]
OFF = "00:00:04.764921 Changing the VM state from 'RUNNING' to 'POWERING_OFF'"
POWER_DOWN = "Console::powerDown(): A request to power off the VM has been issued"
AFTERWARDS = [
    "00:00:04.777825 Console: Machine state changed to 'Stopping'",
    f"00:00:04.779652 {POWER_DOWN} (mMachineState=Stopping, InUninit=0)",
    "00:00:04.830899 Console: Machine state changed to 'PoweredOff'",
]
ORDER = "00:00:04.700000 Console: Machine state changed to 'Stopping'"


def told(*lines: str) -> Told:
    return Told().lines(lines)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["00:00:04.764892 ACPI: Entering S5 power state (power down)", OFF], ExitReason.GUEST_SHUTDOWN),
        (["00:00:02.647186 Reset initiated by keyboard controller", OFF], ExitReason.GUEST_RESET),
        (["00:00:02.647186 ACPI: Reset initiated by ACPI", OFF], ExitReason.GUEST_RESET),
        ([OFF], ExitReason.GUEST_RESET),  # a triple fault
        ([ORDER, OFF], ExitReason.CRASH),
    ],
)
def test_why_a_guest_ended(lines: list[str], reason: ExitReason) -> None:
    assert told(*STARTED, *lines, *AFTERWARDS).ended is reason


def test_a_guest_does_not_say_why_it_ends() -> None:
    said = "00:00:04.000000 VMMDev: Guest Log: 00:00:04.764892 ACPI: Entering S5 power state (power down)"
    assert told(*STARTED, said).ended is None
    assert told(*STARTED, "ACPI: Entering S5 power state").ended is None


def test_a_vm_that_does_not_start() -> None:
    failed = told(
        STARTED[0],
        "00:00:03.640194 VMSetError: /build/x/DrvNAT.cpp(991) int f(void); rc=VERR_NAT_REDIR_SETUP",
        "00:00:03.640194 VMSetError: Nonexistent host networking interface, name 'nodevice'",
        "00:00:03.653985 Console: Machine state changed to 'PoweredOff'",
        "00:00:03.667332 Power up failed (vrc=VINF_SUCCESS, hrc=NS_ERROR_FAILURE (0X80004005))",
    )
    assert failed.power_up_failed
    assert not failed.ran
    assert failed.failed == "Nonexistent host networking interface, name 'nodevice'"


def test_a_full_disk_until_it_goes_on() -> None:
    full = told(
        *STARTED,
        '00:00:09.000000 Console: VM runtime error: fatal=false, errorID=DrvVD_DISKFULL message="Host system reported"',
        "00:00:09.000001 Console: Machine state changed to 'Paused'",
    )
    assert full.full
    assert not full.line("00:00:10.000000 Console: Machine state changed to 'Running'").full


def test_ports_that_came_to_be_and_not() -> None:
    added = "New port forwarded added: "
    failed = "drvNATNotifyApplyPortForwardCommand: Port forward modify FAIL! Details: "
    lines = (
        f"{added}fRemove=0, fUdp=0, pHostIp=127.0.0.1, u16HostPort=40002, pGuestIp=10.0.2.15, u16GuestPort=81",
        f"{failed}fRemove=0, fUdp=0, pszHostIp=127.0.0.1, u16HostPort=40009, pszGuestIp=10.0.2.15, u16GuestPort=83",
        f"{added}fRemove=1, fUdp=0, pHostIp=127.0.0.1, u16HostPort=40002, pGuestIp=10.0.2.15, u16GuestPort=81",
    )
    heard = told(*(f"00:00:07.992488 {line}" for line in lines))
    assert heard.forwards == ((40002, True), (40009, False))
