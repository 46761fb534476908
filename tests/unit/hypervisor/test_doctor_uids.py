from __future__ import annotations

import os
import pwd

import pytest

from hypercontainer.hypervisor.qemu.doctor import uids_for_vms


@pytest.mark.skipif(os.geteuid() != 0, reason="without root, VMs have no uids of their own")
def test_a_range_with_accounts_in_it_is_refused_by_name() -> None:
    account = pwd.getpwuid(65534)
    taken = uids_for_vms(range(account.pw_uid - 5, account.pw_uid + 5))
    assert taken.ok is False
    assert account.pw_name in taken.detail
    assert uids_for_vms(range(3_000_000_000, 3_000_000_010)).ok is True
