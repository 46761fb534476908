"""docker-py's containers: each public method of the collection and of a container, as its documentation says."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import docker
import pytest
from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

from docker_sdk import BUSYBOX, STAYS, files_of, staying, tar_of

Sdk = Any


def test_run_gives_what_was_printed(sdk: Sdk) -> None:
    assert sdk.containers.run(BUSYBOX, "echo hello") == b"hello\n"
    both = sdk.containers.run(BUSYBOX, ["sh", "-c", "echo out; echo err >&2"], stderr=True, remove=True)
    assert sorted(both.split()) == [b"err", b"out"]
    assert [each.status for each in sdk.containers.list(all=True)] == ["exited"]


def test_run_raises_what_a_command_ended_with(sdk: Sdk) -> None:
    with pytest.raises(docker.errors.ContainerError) as raised:
        sdk.containers.run(BUSYBOX, ["sh", "-c", "echo no >&2; exit 7"], remove=True)
    assert (raised.value.exit_status, raised.value.stderr) == (7, b"no\n")
    with pytest.raises(docker.errors.APIError) as refused:
        sdk.containers.run(BUSYBOX, "/no/such/command")
    assert refused.value.response.status_code == 400
    assert "no such file" in str(refused.value)
    assert [each.status for each in sdk.containers.list(all=True)] == ["created"]


def test_run_streams(sdk: Sdk) -> None:
    lines = sdk.containers.run(BUSYBOX, ["sh", "-c", "echo a; echo b"], stream=True)
    assert b"".join(lines) == b"a\nb\n"


def test_run_asks_for_an_image_that_is_not_there(sdk: Sdk) -> None:
    with pytest.raises((docker.errors.ImageNotFound, docker.errors.APIError)):
        sdk.containers.run("127.0.0.1:9/none:1", "true")


def test_create_get_and_list(sdk: Sdk) -> None:
    made = sdk.containers.create(BUSYBOX, ["true"], name="made", labels={"of": "a test", "k": "v"})
    other = sdk.containers.create(BUSYBOX, ["true"], labels=["k"])
    assert made.status == "created"
    assert made.short_id == made.id[:12]
    for named in ("made", made.id, made.short_id):
        assert sdk.containers.get(named).id == made.id
    with pytest.raises(docker.errors.NotFound, match="No such container: none"):
        sdk.containers.get("none")
    assert sdk.containers.list() == []
    for filters, found in (
        ({"label": "k"}, {made.id, other.id}),
        ({"label": ["k=v", "of"]}, {made.id}),
        ({"name": "mad"}, {made.id}),
        ({"id": other.id[:20]}, {other.id}),
        ({"status": "created"}, {made.id, other.id}),
        ({"status": "running"}, set()),
        ({"ancestor": BUSYBOX}, {made.id, other.id}),
        ({"before": "made"}, set()),
        ({"since": "made"}, {other.id}),
    ):
        assert {each.id for each in sdk.containers.list(all=True, filters=filters)} == found, filters
    assert [each.id for each in sdk.containers.list(limit=1)] == [other.id]
    (sparse,) = sdk.containers.list(all=True, sparse=True, filters={"name": "made"})
    assert sparse.status == "created"
    assert sparse.attrs["Names"] == ["/made"]


def test_list_with_an_unknown_filter_is_refused(sdk: Sdk) -> None:
    with pytest.raises(docker.errors.APIError) as refused:
        sdk.containers.list(filters={"nothing": "x"})
    assert refused.value.response.status_code == 400


def test_prune(sdk: Sdk) -> None:
    gone = sdk.containers.create(BUSYBOX, ["true"], labels=["go"])
    kept = sdk.containers.create(BUSYBOX, ["true"])
    answer = sdk.containers.prune(filters={"label": "go"})
    assert answer["ContainersDeleted"] == [gone.id]
    assert answer["SpaceReclaimed"] >= 0
    assert [each.id for each in sdk.containers.list(all=True)] == [kept.id]


def test_attributes(sdk: Sdk) -> None:
    made = staying(sdk, name="one", labels={"a": "b"}, ports={"80/tcp": None, "53/udp": ("127.0.0.1", None)})
    made.reload()
    assert (made.name, made.status, made.labels["a"]) == ("one", "running", "b")
    assert made.health == "unknown"
    assert made.image.id == sdk.images.get(BUSYBOX).id
    assert int(made.ports["80/tcp"][0]["HostPort"]) > 0
    assert [each["HostIp"] for each in made.ports["53/udp"]] == ["127.0.0.1"]
    assert sdk.api.port("one", 80) == made.ports["80/tcp"]


def test_health(sdk: Sdk) -> None:
    second = 1_000_000_000
    probe = {"test": ["CMD", "true"], "interval": second, "retries": 1, "timeout": 5 * second}
    made = staying(sdk, healthcheck=probe)
    for event in sdk.events(filters={"event": "health_status", "container": made.id}, since=0, decode=True):
        assert event["Action"] == "health_status: healthy"
        break
    made.reload()
    assert made.health == "healthy"
    log = made.attrs["State"]["Health"]["Log"]
    assert log[0]["ExitCode"] == 0


def test_life(sdk: Sdk) -> None:
    made = sdk.containers.create(BUSYBOX, list(STAYS), init=True)
    states = []
    for step in (
        made.start,
        made.pause,
        made.unpause,
        made.restart,
        lambda: made.stop(timeout=5),
        made.start,
        made.kill,
    ):
        step()
        made.reload()
        states.append(made.status)
        if step is made.kill:
            assert made.wait()["StatusCode"] == 137
    assert states[:6] == ["running", "paused", "running", "running", "exited", "running"]
    made.rename("another")
    made.reload()
    assert made.name == "another"
    made.remove()
    with pytest.raises(docker.errors.NotFound):
        made.reload()


def test_kill_of_what_does_not_run_is_a_conflict(sdk: Sdk) -> None:
    made = sdk.containers.create(BUSYBOX, ["true"])
    with pytest.raises(docker.errors.APIError) as refused:
        made.kill()
    assert refused.value.response.status_code == 409
    with pytest.raises(docker.errors.APIError) as refused:
        sdk.containers.create(BUSYBOX, ["true"], name=made.name)
    assert refused.value.response.status_code == 409


def test_kill_with_a_signal(sdk: Sdk) -> None:
    script = "trap 'echo got; exit 3' USR1; echo ready; while :; do sleep 0.05; done"
    made = sdk.containers.run(BUSYBOX, ["sh", "-c", script], detach=True)
    assert next(made.logs(stream=True, follow=True)) == b"ready\n"
    made.kill("SIGUSR1")
    assert made.wait()["StatusCode"] == 3
    assert made.logs() == b"ready\ngot\n"


def test_remove_of_what_runs_wants_force(sdk: Sdk) -> None:
    made = staying(sdk, volumes=["/anonymous"])
    with pytest.raises(docker.errors.APIError) as refused:
        made.remove()
    assert refused.value.response.status_code == 409
    assert len(sdk.volumes.list()) == 1
    made.remove(force=True, v=True)
    assert sdk.volumes.list() == []


@pytest.mark.parametrize("condition", ["not-running", "next-exit", "removed"])
def test_wait(sdk: Sdk, condition: str) -> None:
    made = sdk.containers.create(BUSYBOX, ["sh", "-c", "exit 5"])
    if condition == "not-running":
        made.start()
        assert made.wait(condition=condition)["StatusCode"] == 5
        return
    answers: list[Any] = []
    waiter = threading.Thread(target=lambda: answers.append(made.wait(condition=condition)))
    waiter.start()
    made.start()
    made.wait()
    if condition == "removed":
        made.remove()
    waiter.join(60)
    assert answers[0]["StatusCode"] == 5


def test_logs(sdk: Sdk) -> None:
    made = sdk.containers.run(
        BUSYBOX, ["sh", "-c", "for i in 1 2 3; do echo $i; done; echo e >&2"], detach=True
    )
    made.wait()
    assert made.logs(stderr=False) == b"1\n2\n3\n"
    assert made.logs(stdout=False) == b"e\n"
    assert len(made.logs(tail=2).splitlines()) == 2
    assert b"".join(made.logs(stderr=False, stream=True)) == b"1\n2\n3\n"
    stamped = made.logs(stderr=False, timestamps=True).split()
    assert stamped[0].startswith(b"20") and stamped[1] == b"1"
    assert made.logs(since=4_000_000_000) == made.logs(until=1) == b""


def test_attach(sdk: Sdk) -> None:
    made = sdk.containers.create(BUSYBOX, ["sh", "-c", "echo out; echo err >&2"])
    stream = made.attach(stream=True, demux=True)
    made.start()
    found = list(stream)
    assert b"".join(out or b"" for out, _ in found) == b"out\n"
    assert b"".join(err or b"" for _, err in found) == b"err\n"
    assert sorted(made.attach(logs=True).split()) == [b"err", b"out"]


def test_attach_socket(sdk: Sdk) -> None:
    made = sdk.containers.create(BUSYBOX, ["cat"], stdin_open=True, tty=False)
    opened = made.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    made.start()
    with contextlib.closing(opened):
        opened._sock.sendall(b"said\n")
        opened._sock.shutdown(1)
        assert opened.read() == b"\x01\0\0\0\0\0\0\x05said\n"
    assert made.wait()["StatusCode"] == 0


def test_exec_run(sdk: Sdk) -> None:
    made = staying(sdk)
    assert made.exec_run("echo hi") == (0, b"hi\n")
    assert made.exec_run(["sh", "-c", "exit 9"]).exit_code == 9
    more = {"environment": {"A": "b"}, "workdir": "/tmp", "user": "nobody"}
    found = made.exec_run(["sh", "-c", "echo $A $(pwd) $(id -un)"], **more)
    assert found.output == b"b /tmp nobody\n"
    assert made.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True).output == (b"o\n", b"e\n")
    assert b"".join(made.exec_run("echo streamed", stream=True).output) == b"streamed\n"
    assert made.exec_run("echo t", tty=True).output == b"t\r\n"
    assert made.exec_run("no-such-command").exit_code in (126, 127)
    assert made.exec_run("sleep 5", detach=True).exit_code is None
    _, opened = made.exec_run("cat", stdin=True, socket=True)
    with contextlib.closing(opened):
        opened._sock.sendall(b"x")
        opened._sock.shutdown(1)
        assert opened.read() == b"\x01\0\0\0\0\0\0\x01x"


def test_exec_of_what_does_not_run_is_a_conflict(sdk: Sdk) -> None:
    made = sdk.containers.create(BUSYBOX, ["true"])
    with pytest.raises(docker.errors.APIError) as refused:
        made.exec_run("true")
    assert refused.value.response.status_code == 409


def test_exec_by_steps(sdk: Sdk) -> None:
    made = staying(sdk)
    created = sdk.api.exec_create(made.id, ["sh", "-c", "read x; stty size; exit 4"], stdin=True, tty=True)
    before = sdk.api.exec_inspect(created["Id"])
    assert (before["Running"], before["ExitCode"]) == (False, None)
    assert before["ContainerID"] == made.id
    opened = sdk.api.exec_start(created["Id"], tty=True, socket=True)
    with contextlib.closing(opened):
        sdk.api.exec_resize(created["Id"], height=33, width=77)
        opened._sock.sendall(b"\n")
        assert b"33 77" in opened.read()
    after = sdk.api.exec_inspect(created["Id"])
    assert (after["Running"], after["ExitCode"]) == (False, 4)
    with pytest.raises(docker.errors.NotFound):
        sdk.api.exec_inspect("0" * 64)


def test_resize(sdk: Sdk) -> None:
    made = sdk.containers.run(BUSYBOX, ["sh"], tty=True, stdin_open=True, detach=True)
    made.resize(height=21, width=101)
    opened = made.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    with contextlib.closing(opened):
        opened._sock.sendall(b"stty size; exit\n")
        assert b"21 101" in opened.read()


def test_archives(sdk: Sdk) -> None:
    made = sdk.containers.create(BUSYBOX, ["cat", "/tmp/inner"])
    assert made.put_archive("/tmp", tar_of(inner=b"of the archive\n")) is True
    pieces, stat = made.get_archive("/tmp/inner")
    assert files_of(pieces) == {"inner": b"of the archive\n"}
    assert (stat["name"], stat["size"], stat["mode"] & 0o777) == ("inner", 15, 0o644)
    made.start()
    made.wait()
    assert made.logs() == b"of the archive\n"
    with pytest.raises(docker.errors.NotFound):
        made.get_archive("/none")
    with pytest.raises(docker.errors.NotFound):
        made.put_archive("/none", tar_of(x=b""))


def test_diff_export_and_commit(sdk: Sdk) -> None:
    made = sdk.containers.run(BUSYBOX, ["sh", "-c", "echo x > /root/new; rm /etc/group"], detach=True)
    made.wait()
    changes = {(each["Path"], each["Kind"]) for each in made.diff()}
    assert {("/root/new", 1), ("/etc/group", 2), ("/etc", 0)} <= changes
    files = files_of(made.export())
    assert files["root/new"] == b"x\n"
    assert "etc/group" not in files
    image = made.commit("made/here", "1", message="said", author="me", conf={"Cmd": ["cat", "/root/new"]})
    assert image.tags == ["made/here:1"]
    assert (image.attrs["Comment"], image.attrs["Author"]) == ("said", "me")
    assert sdk.containers.run("made/here:1") == b"x\n"


def test_stats(sdk: Sdk) -> None:
    made = staying(sdk)
    # A kernel that counts by its clock's ticks has nothing to tell of one that has only begun.
    assert made.exec_run(["sh", "-c", "i=0; while [ $i -lt 50000 ]; do i=$((i + 1)); done"]).exit_code == 0
    once = made.stats(stream=False)
    assert once["memory_stats"]["usage"] > 0
    assert once["memory_stats"]["limit"] >= once["memory_stats"]["usage"]
    assert once["cpu_stats"]["cpu_usage"]["total_usage"] > 0
    assert once["pids_stats"]["current"] >= 1
    assert "eth0" in once["networks"]
    streamed = made.stats(decode=True)
    first, second = next(streamed), next(streamed)
    assert second["read"] > first["read"]
    assert second["precpu_stats"]["cpu_usage"] == first["cpu_stats"]["cpu_usage"]


def test_top(sdk: Sdk) -> None:
    made = staying(sdk)
    shown = made.top()
    assert "PID" in shown["Titles"]
    assert any("sleep 300" in " ".join(line) for line in shown["Processes"])
    chosen = made.top(ps_args="-eo pid,comm")
    assert [each.upper() for each in chosen["Titles"]] == ["PID", "COMMAND"]


def test_update(sdk: Sdk) -> None:
    """Of one that is stopped: a VM keeps the memory that it began with."""
    made = sdk.containers.create(BUSYBOX, ["true"], mem_limit="256m")
    made.update(
        mem_limit="200m", memswap_limit="200m", restart_policy={"Name": "on-failure", "MaximumRetryCount": 2}
    )
    made.reload()
    host = made.attrs["HostConfig"]
    assert host["Memory"] == 200 << 20
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}


def test_options_that_a_process_sees(sdk: Sdk) -> None:
    script = "hostname; id -u; id -G; pwd; echo $GIVEN; ulimit -n; cat /proc/sys/net/ipv4/ip_forward; df -m /dev/shm"
    printed = sdk.containers.run(
        BUSYBOX,
        ["sh", "-c", script],
        hostname="named",
        user="1000",
        group_add=["44"],
        working_dir="/var",
        environment={"GIVEN": "x y"},
        ulimits=[Ulimit(name="nofile", soft=99, hard=199)],
        sysctls={"net.ipv4.ip_forward": "1"},
        shm_size="8m",
        remove=True,
    ).decode()
    lines = printed.splitlines()
    assert lines[:2] == ["named", "1000"]
    assert "44" in lines[2].split()
    assert lines[3:7] == ["/var", "x y", "99", "1"]
    assert lines[-1].split()[1] == "8"


def test_options_of_files(sdk: Sdk, tmp_path: Any) -> None:
    (tmp_path / "given").write_text("from the host\n")
    sdk.volumes.create("named")
    script = (
        "cat /a/given; echo kept > /v/file; touch /a/x 2>/dev/null || echo read-only; mount | grep -c ' /t '"
    )
    printed = sdk.containers.run(
        BUSYBOX,
        ["sh", "-c", script],
        volumes={str(tmp_path): {"bind": "/a", "mode": "ro"}},
        mounts=[Mount("/v", "named")],
        tmpfs={"/t": "size=1m"},
        read_only=True,
        remove=True,
    )
    assert printed == b"from the host\nread-only\n1\n"
    assert sdk.containers.run(BUSYBOX, "cat /again/file", volumes=["named:/again"], remove=True) == b"kept\n"


def test_options_of_names(sdk: Sdk) -> None:
    printed = sdk.containers.run(
        BUSYBOX,
        ["sh", "-c", "cat /etc/hosts /etc/resolv.conf"],
        extra_hosts={"box": "10.1.2.3"},
        dns=["10.9.9.9"],
        dns_search=["inner.test"],
        dns_opt=["ndots:3"],
        remove=True,
    ).decode()
    assert "10.1.2.3\tbox" in printed
    assert "inner.test" in printed
    assert "ndots:3" in printed


def test_auto_remove_and_restart(sdk: Sdk) -> None:
    gone = sdk.containers.run(BUSYBOX, "true", detach=True, auto_remove=True)
    with contextlib.suppress(docker.errors.NotFound):
        gone.wait(condition="removed")
    with pytest.raises(docker.errors.NotFound):
        sdk.containers.get(gone.id)
    policy = {"Name": "on-failure", "MaximumRetryCount": 1}
    again = sdk.containers.run(BUSYBOX, ["sh", "-c", "echo once; exit 1"], detach=True, restart_policy=policy)
    assert b"".join(again.logs(stream=True, follow=True)).count(b"once") >= 1
    for event in sdk.events(since=0, filters={"container": again.id, "event": "die"}, decode=True):
        again.reload()
        if again.attrs["RestartCount"] == 1 and event["Action"] == "die":
            break


def test_low_level_create(sdk: Sdk) -> None:
    host = sdk.api.create_host_config(
        binds=["named:/data:rw"],
        port_bindings={80: ("127.0.0.1", None)},
        log_config=LogConfig(type="json-file", config={"max-size": "1m"}),
        cap_add=["NET_ADMIN"],
        security_opt=["no-new-privileges"],
        restart_policy={"Name": "unless-stopped"},
    )
    networking = sdk.api.create_networking_config({"bridge": sdk.api.create_endpoint_config()})
    made = sdk.api.create_container(
        BUSYBOX, list(STAYS), ports=[80], volumes=["/data"], host_config=host, networking_config=networking
    )
    assert made["Warnings"] in (None, [])
    sdk.api.start(made["Id"])
    seen = sdk.api.inspect_container(made["Id"])
    assert seen["HostConfig"]["Binds"] == ["named:/data:rw"]
    assert seen["HostConfig"]["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m"}}
    assert seen["HostConfig"]["CapAdd"] in (["NET_ADMIN"], ["CAP_NET_ADMIN"])
    assert [(each["Type"], each["Name"], each["Destination"], each["RW"]) for each in seen["Mounts"]] == [
        ("volume", "named", "/data", True)
    ]
    assert seen["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    assert sdk.api.port(made["Id"], 80)[0]["HostIp"] == "127.0.0.1"
    (listed,) = sdk.api.containers(size=True)
    assert listed["Id"] == made["Id"]
    assert listed["SizeRootFs"] > 0
    config = sdk.api.create_container_config(BUSYBOX, ["true"], host_config=sdk.api.create_host_config())
    assert sdk.api.create_container_from_config(config, "by-config")["Id"]


def test_gpus_are_refused_at_start(sdk: Sdk) -> None:
    request = DeviceRequest(count=-1, capabilities=[["gpu"]])
    with pytest.raises(docker.errors.APIError):
        sdk.containers.run(BUSYBOX, "true", device_requests=[request])
