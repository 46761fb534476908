from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hypercontainer.hypervisor import facts as module
from hypercontainer.hypervisor import kvm
from hypercontainer.hypervisor.driver import Verdict
from hypercontainer.hypervisor.facts import FactCache
from hypercontainer.hypervisor.qemu.binary import Binary
from hypercontainer.hypervisor.run_dir import RunDir, read_record, read_stderr
from hypercontainer.hypervisor.spec import Accelerator

VERDICT = Verdict(Accelerator.KVM, usable=False, reason="hangs", seconds=2.0)


def test_facts_come_back_in_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "new" / "facts.json"
    binary = Binary(
        Path("/q"), "k", "7.2.0", frozenset(Accelerator), sandbox=True, free_page_reporting=False, qboot=True
    )
    FactCache(path).put("verdict", VERDICT)
    FactCache(path).put("binary", binary)
    assert FactCache(path).get("verdict", Verdict) == VERDICT
    assert FactCache(path).get("binary", Binary) == binary
    assert FactCache(path).get("other", Verdict) is None
    assert FactCache(path).get("binary", Verdict) is None
    assert os.listdir(path.parent) == ["facts.json"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"verdict": 7}', b"\xff", b"[" * 10_000])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes(damage)
    cache = FactCache(path)
    assert cache.get("verdict", Verdict) is None
    cache.put("verdict", VERDICT)
    assert cache.get("verdict", Verdict) == VERDICT


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = FactCache(tmp_path / "file" / "facts.json")
    cache.put("verdict", VERDICT)
    assert cache.get("verdict", Verdict) is None


def test_what_a_killed_process_had_begun_to_write_goes(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    for pid in (ended.pid, 1):
        (tmp_path / f"facts.json.{pid}").touch()
    FactCache(tmp_path / "facts.json").put("verdict", VERDICT)
    assert sorted(os.listdir(tmp_path)) == ["facts.json", "facts.json.1"]


def test_old_facts_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 2)
    cache = FactCache(tmp_path / "facts.json")
    for key in "abc":
        cache.put(key, VERDICT)
    assert [cache.get(key, Verdict) is not None for key in "abc"] == [False, True, True]


def test_the_last_words_of_a_process_wait_for_nobody_and_are_bounded(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "vm")
    run.create()
    writer = run.make_pipe(run.stderr)
    reader = run.open_stderr()
    assert read_stderr(reader) == b""
    with pytest.raises(BlockingIOError):
        for _ in range(1000):
            os.write(writer, b"x" * 4096)
    os.close(writer)
    assert read_stderr(reader) == b"x" * 65536
    os.close(reader)
    run.remove()
    assert not (tmp_path / "vm").exists()


@pytest.mark.parametrize("content", [None, b"", b"{", b"{}", b"[" * 100_000])
def test_a_directory_without_a_good_record_has_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "vm.json").write_bytes(content)
    assert read_record(tmp_path) is None


def test_kvm_is_for_those_who_may_open_it(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    assert kvm.device_problem(device) == f"there is no {device}"
    assert kvm.device_key(device) == "-"
    device.touch(mode=0o600)
    assert kvm.device_problem(device) is None
    device.chmod(0o666)
    assert kvm.groups_for_vm(device) == ()
    assert kvm.access_problem(device) is None
    if os.geteuid() == 0:
        device.chmod(0o660)
        assert "for root alone" in str(kvm.access_problem(device))
        assert kvm.groups_for_vm(device) == ()
        os.chown(device, 0, 105)
        assert kvm.access_problem(device) is None
        assert kvm.groups_for_vm(device) == (105,)
        device.chmod(0o600)
        assert "chgrp kvm" in str(kvm.access_problem(device))
