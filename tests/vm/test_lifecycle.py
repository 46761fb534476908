"""Lives of containers with real guests: stop, restart, pause, rename, and everything that looks at them."""

from __future__ import annotations

import json
import subprocess

import pytest

import busybox_image
from hyper import Hyper
from reach import http_get

BUSYBOX = busybox_image.REFERENCE
DEAF = "trap '' TERM; echo ready; while :; do sleep 1; done"
EARLY = "sleep 0.3; trap 'exit 4' TERM; while :; do sleep 1 & wait $!; done"
TRAP = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 1 & wait $!; done"


@pytest.mark.each_driver
def test_stop_start_restart_and_logs(hyper: Hyper) -> None:
    hyper("run", "-d", "--name", "c", BUSYBOX, "sh", "-c", TRAP)
    hyper.wait_for_log("c", b"ready")
    hyper("stop", "c")
    assert hyper.inspect("c")["State"]["ExitCode"] == 3
    assert hyper.out("logs", "c") == "ready\nbye"
    hyper("start", "c")
    hyper.wait_for_log("c", b"ready", times=2)
    hyper("restart", "c")
    assert hyper.out("ps", "--format", "{{.Names}} {{.State}}") == "c running"
    hyper("stop", "c")
    hyper("run", "-d", "--name", "early", BUSYBOX, "sh", "-c", EARLY)
    hyper("stop", "-t", "-1", "early")  # which comes before it has its handler
    assert hyper.inspect("early")["State"]["ExitCode"] == 4
    hyper("run", "-d", "--name", "deaf", BUSYBOX, "sh", "-c", DEAF)
    hyper.wait_for_log("deaf", b"ready")
    hyper("stop", "-t", "0", "deaf")
    assert hyper.inspect("deaf")["State"]["ExitCode"] == 137
    assert hyper.out("ps", "-q") == ""


@pytest.mark.each_driver
def test_pause(hyper: Hyper) -> None:
    check = ("--health-cmd", "echo asked; test ! -e /tmp/ill", "--health-interval", "50ms")
    hyper("run", "-d", "--name", "c", *check, "--health-retries", "2", BUSYBOX, "sh", "-c", TRAP)
    hyper.wait_for_log("c", b"ready")
    assert hyper.out("wait", "--condition", "healthy", "c") == "0"
    assert hyper.out("ps", "--filter", "health=healthy", "--format", "{{.Status}}").endswith("(healthy)")
    hyper("pause", "c")
    assert hyper.inspect("c")["State"]["Paused"] is True
    assert hyper("exec", "c", "true", check=False).returncode != 0
    hyper("unpause", "c")
    assert hyper.out("exec", "c", "sh", "-c", "touch /tmp/ill; echo awake") == "awake"
    identifier = hyper.inspect("c")["Id"]
    told = hyper.popen(
        *(
            "events",
            "--since",
            "10m",
            "--filter",
            "event=health_status",
            "--filter",
            f"container={identifier}",
        ),
        *("--format", "{{.Action}}"),
        stdout=subprocess.PIPE,
    )
    with told:
        assert told.stdout is not None
        assert [told.stdout.readline() for _ in range(2)] == [
            b"health_status: healthy\n",
            b"health_status: unhealthy\n",
        ]
        told.terminate()
    state = hyper.inspect("c")["State"]["Health"]
    assert (state["Status"], state["Log"][-1]["ExitCode"]) == ("unhealthy", 1)
    assert state["Log"][-1]["Output"] == "asked\n"


def test_top_stats_port_rename_events(hyper: Hyper) -> None:
    hyper(
        "run",
        "-d",
        "--name",
        "c",
        "-p",
        "127.0.0.1::8000",
        BUSYBOX,
        "httpd",
        "-f",
        "-p",
        "8000",
        "-h",
        "/etc",
    )
    assert "httpd -f" in hyper.out("top", "c")
    sample = json.loads(hyper.out("stats", "--no-stream", "--format", "json", "c"))
    assert sample["Name"] == "c"
    assert int(sample["PIDs"]) == 1
    address = hyper.out("port", "c", "8000")
    assert http_get(address, "/hostname")[1].strip().decode() == hyper.out("ps", "-q")
    hyper("rename", "c", "d")
    hyper("rm", "-f", "d")
    events = hyper.out("events", "--since", "10m", "--until", "0s", "--format", "{{.Action}}")
    assert {"create", "start", "rename", "die", "destroy"} <= set(events.split())


def test_create_attach_wait(hyper: Hyper) -> None:
    hyper("create", "--name", "c", "-i", BUSYBOX, "cat")
    attached = hyper.popen("start", "-a", "-i", "c", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    output, _ = attached.communicate(b"hello\n", timeout=60)
    assert (output, attached.returncode) == (b"hello\n", 0)
    assert hyper.out("wait", "c") == "0"


def test_restart_policy(hyper: Hyper) -> None:
    hyper("run", "-d", "--name", "c", "--restart", "on-failure:1", BUSYBOX, "sh", "-c", "echo run; exit 9")
    assert hyper.out("wait", "c") == "9"
    assert hyper.inspect("c")["RestartCount"] == 1
    assert hyper.out("logs", "c") == "run\nrun"


def test_exec_ends_with_its_container(hyper: Hyper) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    words = ("sh", "-c", "echo in; sleep 1000")
    clients = []
    for command in (("run", "--name", "c", BUSYBOX, *words), ("exec", "c", *words)):
        clients.append(client := hyper.popen(*command, **pipes))
        assert client.stdout is not None
        assert client.stdout.readline() == b"in\n"
    hyper("rm", "-f", "c")
    for client in clients:
        assert (client.communicate(timeout=30), client.returncode) == ((b"", b""), 137)


def test_what_an_added_process_has_started_goes_on_without_it(hyper: Hyper) -> None:
    """And may write: the output ended with the process, the pipe did not."""
    hyper("run", "-d", "--name", "c", BUSYBOX, "sleep", "1000")
    goes_on = "read line < /told; yes | head -c 1000000; echo $? > /wrote; echo on > /told"
    server = f"mkfifo /told; ({goes_on}) & echo started"
    assert hyper.out("exec", "c", "sh", "-c", server) == "started"
    asks = "echo go > /told; read line < /told; cat /wrote; echo $line"
    assert hyper.out("exec", "c", "sh", "-c", asks) == "0\non"


def test_two_at_once_do_not_meet(hyper: Hyper) -> None:
    processes = [
        hyper.popen("run", "--rm", BUSYBOX, "sh", "-c", f"hostname; echo {number}", stdout=subprocess.PIPE)
        for number in range(4)
    ]
    outputs = [process.communicate(timeout=120)[0].decode().split() for process in processes]
    assert [output[1] for output in outputs] == ["0", "1", "2", "3"]
    assert len({output[0] for output in outputs}) == 4
