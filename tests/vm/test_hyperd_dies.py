"""`kill -9` of hyperd: containers run on; the next hyperd has them, their statuses and their whole logs."""

from __future__ import annotations

import pytest

import busybox_image
from audit import kill_process
from hyper import Hyper

BUSYBOX = busybox_image.REFERENCE
COUNT = "i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); done"


def kill_hyperd(hyper: Hyper) -> None:
    assert kill_process(hyper.daemon_pid())


@pytest.mark.each_driver
def test_containers_statuses_and_logs_survive(own_hyper: Hyper) -> None:
    hyper = own_hyper
    hyper("run", "-d", "--name", "stays", BUSYBOX, "sleep", "1000")
    hyper("run", "-d", "--name", "ends", BUSYBOX, "sh", "-c", COUNT % 20000 + "; exit 42")
    vm = hyper.vm_pid("stays")
    kill_hyperd(hyper)  # in the middle of the output
    assert hyper.out("wait", "ends") == "42"
    assert hyper.out("logs", "ends") == "\n".join(f"line {number}" for number in range(20000))
    assert hyper.vm_pid("stays") == vm
    assert hyper.out("exec", "stays", "echo", "here") == "here"


def test_a_log_written_in_many_lives_of_hyperd_is_whole(own_hyper: Hyper) -> None:
    hyper = own_hyper
    hyper("run", "-d", "--name", "c", BUSYBOX, "sh", "-c", COUNT % 60000)
    for _ in range(4):
        kill_hyperd(hyper)
        hyper("ps")
    assert hyper.out("wait", "c") == "0"
    assert hyper.out("logs", "c") == "\n".join(f"line {number}" for number in range(60000))


def test_a_start_that_was_cut_short_is_reported_and_leaves_no_vm(own_hyper: Hyper) -> None:
    hyper = own_hyper
    hyper("create", "--name", "c", BUSYBOX, "sleep", "1000")
    starting = hyper.popen("start", "c")
    kill_hyperd(hyper)
    starting.wait(timeout=60)
    state = hyper.inspect("c")["State"]
    assert state["Status"] in ("created", "exited", "running")
    if state["Status"] != "running":
        assert hyper.vm_pid("c") == 0
    hyper("rm", "-f", "c")


@pytest.mark.each_driver
def test_a_vm_that_died_meanwhile_is_reported(own_hyper: Hyper) -> None:
    hyper = own_hyper
    hyper("run", "-d", "--name", "c", BUSYBOX, "sleep", "1000")
    vm = hyper.vm_pid("c")
    kill_hyperd(hyper)
    assert kill_process(vm)
    state = hyper.inspect("c")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 255)
    assert state["Error"]


def test_stop_of_hyperd_leaves_containers_alone(own_hyper: Hyper) -> None:
    hyper = own_hyper
    hyper("run", "-d", "--name", "c", BUSYBOX, "sleep", "1000")
    hyper("system", "stop")
    assert hyper.out("ps", "--format", "{{.Names}}") == "c"
    assert hyper.out("exec", "c", "echo", "on") == "on"
