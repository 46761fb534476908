"""VMs that stand ready, clones and those that were booted ahead: the next run has one, and nothing of them stays."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import busybox_image
from audit import cgroups, daemon_pid, kill_process, names
from hyper import Hyper, processes_that_mention
from hyper import hyper as hyper_context
from pools import POOL_OF_2, free_port, furnished, glob, nothing_runs, ready, started_as, virtual_machines
from reach import http_get

BUSYBOX = busybox_image.REFERENCE
TRUE = (BUSYBOX, "true")
# How a VM comes to be for which none stands ready, by hypervisor.
OTHERWISE = {"qemu": "clone", "uml": "cold"}


@pytest.fixture
def pooled(hypervisor: str) -> Iterator[Hyper]:
    """A hyperd that keeps two VMs ready."""
    with hyper_context(POOL_OF_2, hypervisor=hypervisor) as hyper:
        yield furnished(hyper)


def test_hyperd_killed_while_its_pool_fills_and_when_it_is_full(pooled: Hyper) -> None:
    for moment in ("ready-*/vm.json", "full"):
        pooled.kind(*TRUE)
        if moment == "full":
            pooled.until(lambda: ready(pooled) == 2, "two that are ready")
        else:
            pooled.until(partial(glob, pooled.run_dir / "pods", moment), moment)
        kill_process(daemon_pid(pooled))
        left = virtual_machines(pooled, "ready")
        pooled("ps")
        assert nothing_runs(pooled), moment
        assert cgroups(left) == set()
    pooled.kind(*TRUE)
    pooled.until(lambda: ready(pooled) == 2, "two that are ready")
    pooled("run", "-d", "--name", "c", BUSYBOX, "sleep", "1000")
    assert started_as(pooled, "c") == "warm"
    vm = pooled.vm_pid("c")
    kill_process(daemon_pid(pooled))
    assert pooled.out("exec", "c", "echo", "on") == "on"  # what is a container's is nobody else's
    assert pooled.vm_pid("c") == vm
    assert names(pooled.run_dir / "pods") == {Path(f"/proc/{vm}/fd/1").readlink().parent.name}
    pooled("rm", "-f", "c")
    assert nothing_runs(pooled)


def test_two_stand_ready_and_the_next_run_has_one(pooled: Hyper, hypervisor: str) -> None:
    pooled.kind(*TRUE)
    pooled.until(lambda: ready(pooled) == 2, "two that are ready")
    pods = virtual_machines(pooled, "ready")
    assert len(pods) == 2
    assert pooled.kind(*TRUE) == "warm"
    assert pooled.json("info", "--format", "json")["Templates"] >= (hypervisor == "qemu")
    pooled.until(lambda: ready(pooled) == 2, "two again")
    assert len(virtual_machines(pooled, "ready") - pods) == 1
    serve = ("httpd", "-f", "-p", "8000", "-h", "/etc")
    for name, port in (("one", free_port(20000, 21000)), ("two", free_port(700, 1024))):
        pooled("run", "-d", "--name", name, "-p", f"127.0.0.1:{port}:8000", BUSYBOX, *serve)
        assert http_get(f"127.0.0.1:{port}", "/hostname")[1].strip().decode() == pooled.out("ps", "-ql")
        assert started_as(pooled, name) == "warm"
    pooled("stop", "-t", "0", "one")
    pooled("start", "one")
    pooled("rm", "-f", "one", "two")
    pooled.until(lambda: ready(pooled) == 2, "two again")
    pids = [int(line.split()[0]) for line in processes_that_mention(f"{pooled.base}/run/pods/ready-")]
    stopped = pooled("system", "stop")
    assert stopped.returncode == 0
    pooled.until(lambda: nothing_runs(pooled), "an end without any that are ready")
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_one_that_does_not_answer_costs_its_time_and_no_start(hypervisor: str) -> None:
    with hyper_context("[factory]\ncache = 1\n", hypervisor=hypervisor) as hyper:
        furnished(hyper)
        hyper.kind(*TRUE)
        hyper.until(lambda: ready(hyper) == 1, "one that is ready")
        (record,) = (hyper.run_dir / "pods").glob("ready-*/vm.json")
        held = os.pidfd_open(json.loads(record.read_bytes())["pid"])
        try:
            signal.pidfd_send_signal(held, signal.SIGSTOP)
            assert hyper.kind(*TRUE) == OTHERWISE[hypervisor]
            assert select.select([held], [], [], 10)[0]
        finally:
            os.close(held)


def test_what_is_not_used_is_given_up(hypervisor: str) -> None:
    with hyper_context(POOL_OF_2 + "idle_s = 1\n", hypervisor=hypervisor) as hyper:
        furnished(hyper)
        hyper.kind(*TRUE)
        hyper.wait_for_events("ready")
        hyper.until(lambda: ready(hyper) == 0 and nothing_runs(hyper), "none that is ready")
        assert hyper.kind(*TRUE) == OTHERWISE[hypervisor]


def test_no_memory_for_it_keeps_none(hypervisor: str) -> None:
    with hyper_context(POOL_OF_2 + "memory_percent = 0\n", hypervisor=hypervisor) as hyper:
        furnished(hyper)
        if hypervisor == "qemu":
            hyper.has_template(*TRUE)
        else:
            hyper.kind(*TRUE)
        quiet = time.monotonic() + 1.0
        hyper.until(lambda: time.monotonic() > quiet or ready(hyper), "some time in which nothing comes")
        assert ready(hyper) == 0
        assert nothing_runs(hyper)
        assert hyper.kind(*TRUE) == OTHERWISE[hypervisor]
