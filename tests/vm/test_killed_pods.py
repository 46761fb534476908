"""`kill -9` of hyperd at seeded random moments of a pod's life: the next one serves, every pod is whole and running or
truthfully reported, restart policies go on, and nothing is left over."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

import busybox_image
from audit import daemon_pid, kill_process, names, pods, virtual_machines
from hyper import Hyper
from passing import groups
from soak import rounds

BUSYBOX = busybox_image.REFERENCE
WAITS = 100
SERVES_S = 30
FOREVER = "trap 'exit 3' TERM; echo up; while :; do sleep 1000 & wait $!; done"
# Ends the first program of the container that this runs in, whose pod has the numbers of its processes in common.
BY_ITSELF = """mine=$(readlink /proc/self/ns/mnt)
for each in /proc/[0-9]*; do test "$(readlink $each/ns/mnt)" = "$mine" && exec kill -TERM ${each#/proc/}; done"""
NAMES = ("one", "two")

Verb = Callable[[random.Random, str], Sequence[str]]

# What may be under way, and how long it takes at most, in seconds, on a quiet machine.
VERBS: dict[str, tuple[float, Verb]] = {
    "create": (0.4, lambda rng, pod: ["create", "--podfile", "-"]),
    "start": (2.0, lambda rng, pod: ["pod", "start", pod]),
    "stop": (1.0, lambda rng, pod: ["pod", "stop", "-t", "2", pod]),
    "restart": (2.0, lambda rng, pod: ["pod", "restart", "-t", "2", pod]),
    "kill": (0.5, lambda rng, pod: ["pod", "kill", pod]),
    "pause": (0.3, lambda rng, pod: ["pod", "pause", pod]),
    "unpause": (0.3, lambda rng, pod: ["pod", "unpause", pod]),
    "rm": (0.6, lambda rng, pod: ["pod", "rm", "-f", pod]),
    "run --pod": (1.0, lambda rng, pod: ["run", "--rm", "--pod", pod, BUSYBOX, "echo", "short"]),
    "stop one": (0.6, lambda rng, pod: ["stop", "-t", "1", f"{pod}-b"]),
}
WEIGHTS = (2, 4, 2, 2, 1, 1, 1, 2, 2, 1)


def podfile(name: str) -> bytes:
    def member(role: str, script: str, policy: str) -> dict[str, Any]:
        command = ["sh", "-c", script]
        return {"name": f"{name}-{role}", "image": BUSYBOX, "command": command, "restartPolicy": policy}

    members = [member("a", FOREVER, "never"), member("b", FOREVER, "always")]
    members.append(member("c", "echo once", "never"))
    return json.dumps({"id": name, "containers": members, "volumes": [{"name": "v"}]}).encode()


def check(hyper: Hyper) -> None:
    """Whole and running, or truthfully reported; and nothing that is not reported."""
    known = {one["Id"]: one for one in containers(hyper)}
    shown = pods_shown(hyper)
    running: dict[str, int] = {}
    for one in known.values():
        if one["State"]["Running"]:
            running[one["Pod"]] = one["State"]["Pid"]
    assert virtual_machines(hyper.base) == set(running.values())
    assert pods(hyper) == {pod[:12] for pod in running}
    assert names(hyper.root / "containers") == set(known)
    assert names(hyper.root / "pods") == {pod["Id"] for pod in shown}
    cgroups = {path.name for path in groups()}
    assert {one[:12] for one in (*known, *(pod["Id"] for pod in shown))} & cgroups <= {
        p[:12] for p in running
    }
    for one in known.values():
        if one["State"]["Running"] and not one["State"]["Paused"]:
            asked = hyper("exec", one["Id"], "echo", "whole", check=False)
            # A stop that was under way may have come to its end, by the guest, since it was looked at.
            assert asked.stdout == b"whole\n" or not hyper.inspect(one["Id"])["State"]["Running"], one
    for pod in shown:
        wanted = pod["State"] in ("Running", "Paused")
        assert wanted == (pod["Id"] in running), pod


def containers(hyper: Hyper) -> list[Any]:
    identifiers = hyper.out("ps", "-aq", "--no-trunc").split()
    if not identifiers:
        return []
    done = hyper("inspect", *identifiers, check=False)
    if done.returncode == 0:
        return list(json.loads(done.stdout))
    # One has been removed meanwhile, or there is something wrong.
    assert hyper.out("ps", "-aq", "--no-trunc").split() != identifiers, done
    return containers(hyper)


def pods_shown(hyper: Hyper) -> list[Any]:
    identifiers = hyper.out("pod", "ls", "-q", "--no-trunc").split()
    return list(hyper.json("pod", "inspect", *identifiers)) if identifiers else []


def test_hyperd_killed_in_any_step_of_a_pods_life(own_hyper: Hyper) -> None:
    hyper, rng = own_hyper, random.Random(4)
    for name in NAMES:
        hyper("create", "--podfile", "-", stdin=podfile(name))
    for number in range(rounds(short=4, soak=200)):
        one_death(hyper, rng, number)
        settled(hyper)
        check(hyper)
    for name in NAMES:
        hyper("pod", "rm", "-f", name, check=False)
    assert containers(hyper) == []
    assert pods_shown(hyper) == []
    check(hyper)


def one_death(hyper: Hyper, rng: random.Random, number: int) -> None:
    name = rng.choice(NAMES)
    (verb,) = rng.choices(list(VERBS), WEIGHTS)
    most_s, words = VERBS[verb]
    client = hyper.popen(
        *words(rng, name), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with client:
        assert client.stdin is not None
        client.stdin.write(podfile(name))
        client.stdin.close()
        time.sleep(rng.uniform(0, most_s))  # some moment, seeded; every one has to do
        assert kill_process(daemon_pid(hyper)), f"round {number}: hyperd was dead before"
        client.wait(WAITS)
    hyper("ps", timeout_s=SERVES_S)


def settled(hyper: Hyper) -> None:
    """What the next hyperd goes on with has been done: nobody is starting, stopping or waiting to be restarted."""
    busy = {"starting", "stopping", "restarting", "removing"}
    follower = hyper.popen("events", "--since", "1h", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + WAITS
    with follower:
        assert follower.stdout is not None
        try:
            while any(one["State"]["Status"] in busy for one in containers(hyper)) or any(
                pod["State"].lower() in busy for pod in pods_shown(hyper)
            ):
                assert time.monotonic() < limit, (containers(hyper), pods_shown(hyper))
                follower.stdout.readline()  # something has happened
        finally:
            follower.kill()


def test_a_pod_that_runs_runs_on_with_its_policies(own_hyper: Hyper) -> None:
    hyper = own_hyper
    hyper("create", "--podfile", "-", stdin=podfile("one"))
    hyper("pod", "start", "one")
    before = hyper.json("pod", "inspect", "one")[0]["VM"]
    kill_process(daemon_pid(hyper))
    assert hyper.json("pod", "inspect", "one")[0]["VM"] == before
    assert hyper.inspect("one-a")["State"]["Status"] == "running"
    began = hyper.inspect("one-b")["State"]["StartedAt"]
    hyper.wait_for_log("one-b", b"up")
    hyper("exec", "one-b", "sh", "-c", BY_ITSELF, check=False)  # a user's signal would end its policy
    hyper.wait_for_events("start", of="container")  # its policy has acted
    assert hyper.inspect("one-b")["State"]["StartedAt"] > began
    assert hyper.json("pod", "inspect", "one")[0]["VM"] == before
    hyper("pod", "rm", "-f", "one")
    check(hyper)
