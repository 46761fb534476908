"""Pods that no manifest made, written down as one."""

from __future__ import annotations

import msgspec
import pytest

from hypercontainer import kube
from hypercontainer.contract.probes import Exec, Grpc, HttpGet, Lifecycle, Probe, Sleep, TcpConnect
from hypercontainer.contract.spec import ContainerSpec, PodSpec, PortMapping, RestartPolicy, Tmpfs, Ulimit
from hypercontainer.contract.volumes import (
    ContentFile,
    Contents,
    DiskImage,
    EmptyDir,
    HostPath,
    InjectedFile,
    NamedVolume,
    Volume,
    VolumeMount,
)
from hypercontainer.errors import InvalidArgument
from hypercontainer.kube import writer, writer_container

K8S = RestartPolicy("always", backoff="kubernetes")


def member(name: str, **fields: object) -> ContainerSpec:
    """As a manifest would have it, so that it comes back the same."""
    made = ContainerSpec(
        "localhost/x:1",
        name=name,
        restart=K8S,
        stop_timeout_s=7,
        termination_message_path="/dev/termination-log",
    )
    return msgspec.structs.replace(made, **fields)


FULL = PodSpec(
    name="shop",
    hostname="front",
    share_pids=True,
    labels={"app": "shop"},
    annotations={"note": "yes"},
    ports=(PortMapping(80, 8080), PortMapping(53, 5353, "127.0.0.1", "udp")),
    dns=("192.0.2.1",),
    dns_search=("test",),
    dns_options=("ndots:1", "edns0"),
    extra_hosts=("a:1.2.3.4", "b:1.2.3.4", "c:fd00::1"),
    sysctls={"net.core.somaxconn": "1"},
    fs_group=5,
    memory_bytes=256 << 20,
    cpus=1.5,
    stop_timeout_s=7,
    deadline_s=99,
    volumes=(
        Volume("tmp", EmptyDir(True, 4096)),
        Volume("cache", EmptyDir(size_bytes=12_345)),
        Volume("data", NamedVolume("data", 1 << 20)),
        Volume("frozen", NamedVolume("frozen", 1 << 20), read_only=True),
        Volume("host", HostPath("/srv", "directory")),
        Volume("conf", Contents((ContentFile("a/b", b"x\n"), ContentFile("c", b"\xff\0", 0o600)), 0o400)),
    ),
    containers=(
        member(
            "shop-init",
            role="init",
            pid_mode="pod",
            restart=RestartPolicy("on-failure", backoff="kubernetes"),
            command=("$(NOT)", "1:30", "0o17", "1e3", "yes", "a\nb\n", " x "),
        ),
        member("shop-side", role="sidecar", pid_mode="pod", startup=Probe(Exec(("true",)), period_s=1)),
        member(
            "shop-web",
            pid_mode="pod",
            entrypoint=("/bin/web",),
            env=("A=$(A) $$", "B=", "C=x=y"),
            working_dir="/w",
            user="1:2",
            groups=(),
            tty=True,
            stdin_open=True,
            expose=("9000/tcp", "9001/udp"),
            memory_bytes=64 << 20,
            cpus=0.5,
            cpu_shares=256,
            read_only=True,
            cap_add=("NET_ADMIN",),
            cap_drop=("ALL",),
            no_new_privileges=True,
            seccomp="unconfined",
            run_as_non_root=True,
            stop_signal="SIGQUIT",
            liveness=Probe(
                HttpGet(80, "/x", "h.test", "https", (("A", "b"),)), 1, 2, 3, 1, 5, termination_grace_s=6
            ),
            readiness=Probe(TcpConnect(80), success_threshold=2),
            startup=Probe(Grpc(81, "svc")),
            lifecycle=Lifecycle(Exec(("hi",)), Sleep(3)),
            termination_message_path="/why",
            termination_message_fallback=True,
            pull="never",
            mounts=(
                VolumeMount("tmp", "/tmp"),
                VolumeMount("data", "/data", "sub"),
                VolumeMount("frozen", "/frozen", read_only=True),
                VolumeMount("host", "/srv", read_only=True),
                VolumeMount("conf", "/conf"),
            ),
        ),
        member("shop-root", pid_mode="pod", privileged=True),
    ),
)


def names(spec: PodSpec) -> kube.Names:
    return kube.Names(spec.name or "", tuple(one.name or "" for one in spec.containers))


def again(text: str) -> PodSpec:
    objects, warnings = kube.read(text)
    assert warnings == ()
    (plan,) = kube.pods(objects)
    return msgspec.structs.replace(plan.spec, manifest="")


def test_everything_that_kubernetes_can_say_comes_back() -> None:
    text = kube.generate([(FULL, names(FULL))])
    assert not text.startswith("#")
    found = again(text)
    for expected, got in zip(FULL.containers, found.containers, strict=True):
        assert got == expected
    assert found == FULL


def test_what_comes_back_can_be_written_again() -> None:
    text = kube.generate([(FULL, names(FULL))])
    objects, _ = kube.read(text)
    (plan,) = kube.pods(objects)
    config_map = text.split("---\n")[2]
    assert again(kube.generate([(plan.spec, names(plan.spec))]) + "---\n" + config_map) == FULL


def test_a_container_from_the_command_line() -> None:
    alone = ContainerSpec(
        "debian:12",
        command=("sleep", "1"),
        ports=(PortMapping(80, 8080), PortMapping(81)),
        hostname="box",
        extra_hosts=("a:1.2.3.4", "b:host-gateway"),
        tmpfs=(Tmpfs("/run", "rw,size=64m,mode=1777"),),
        files=(InjectedFile("/etc/motd", b"hi", user="daemon"),),
        ulimits=(Ulimit("nofile", 1, 2),),
        volumes=(Volume("cache", NamedVolume("cache")),),
        mounts=(VolumeMount("cache", "/cache", copy_up=True),),
        user="nobody",
        memory_bytes=1 << 27,
        kernel="mine",
    )
    pod = PodSpec(containers=(alone,), labels={"ok": "x", "not ok": "y"})
    text = kube.generate([(pod, kube.Names("brave_Owl", ("brave_Owl",)))], volume_sizes={"cache": 1 << 30})
    head, _, _ = text.partition("\n")
    for note in (
        "a free host port for 81/tcp", "extra host b", "options of the tmpfs at /run", "owner of /etc/motd",
        "ulimits of brave-owl", "what the image has at /cache", "user nobody of brave-owl", "kernel", "label 'not ok'",
    ):  # fmt: skip
        assert note in head
    found = again(text)
    assert found.name == "brave-owl"
    assert found.hostname == "box"
    assert found.labels == {"ok": "x"}
    assert found.ports == (PortMapping(80, 8080),)
    assert found.extra_hosts == ("a:1.2.3.4",)
    (container,) = found.containers
    assert container.restart.name == "no"
    assert container.memory_bytes == 1 << 27
    sources = {one.name: one.source for one in found.volumes}
    assert sources["cache"] == NamedVolume("cache", 1 << 30)
    assert sources["tmpfs-run"] == EmptyDir(True, 64 << 20)
    (file,) = (one for one in container.mounts if one.path == "/etc/motd")
    assert sources[file.volume] == Contents((ContentFile("file", b"hi", 0o644),), 0o644)


def test_a_group_besides_the_image_s_user() -> None:
    spec = PodSpec(name="p", stop_timeout_s=7, hostname="p", containers=(member("p-a", group="3000"),))
    assert again(kube.generate([(spec, names(spec))])) == spec


def test_a_volume_that_is_not_made_yet_has_its_claim() -> None:
    alone = ContainerSpec(
        "x:1",
        volumes=(Volume("v", NamedVolume("new")), Volume("w", NamedVolume("My_Data"))),
        mounts=(VolumeMount("v", "/v"), VolumeMount("w", "/w")),
    )
    text = kube.generate([(PodSpec(containers=(alone,)), kube.Names("p", ("p",)))], new_volume_bytes=5 << 20)
    assert "the name of volume My_Data, which is my-data here" in text.partition("\n")[0]
    objects, _ = kube.read(text)
    assert kube.claims(objects) == [NamedVolume("new", 5 << 20), NamedVolume("my-data", 5 << 20)]
    (plan,) = kube.pods(objects)
    assert [one.source for one in plan.spec.volumes] == kube.claims(objects)


def test_a_stop_signal_says_whose_signals_they_are() -> None:
    spec = PodSpec(name="p", containers=(member("a", stop_signal="SIGINT"),))
    text = kube.generate([(spec, names(spec))])
    assert "os:\n    name: linux\n" in text
    assert again(text).containers[0].stop_signal == "SIGINT"
    plain = PodSpec(name="p", containers=(member("a"),))
    assert "os:" not in kube.generate([(plain, names(plain))])


def test_restart_policies_that_differ() -> None:
    never = RestartPolicy("no", backoff="kubernetes")
    members = (member("p-a"), member("p-b", restart=never))
    spec = PodSpec(name="p", stop_timeout_s=7, hostname="p", containers=members)
    assert again(kube.generate([(spec, names(spec))])) == spec


def test_a_container_that_was_added_to_a_pod_of_a_manifest() -> None:
    manifest = '{apiVersion: v1, kind: Pod, metadata: {name: p, uid: x, resourceVersion: "1"}, spec: %s}'
    manifest %= '{containers: [{name: a, image: "x:1"}], volumes: [{name: v, emptyDir: {}}]}'
    (plan,) = kube.pods(kube.read(manifest)[0])
    added = member("a", mounts=(VolumeMount("v", "/v"),), stop_timeout_s=30, restart=RestartPolicy("no"))
    spec = msgspec.structs.replace(plan.spec, containers=(*plan.spec.containers, added))
    text = kube.generate([(spec, kube.Names("p", ("p-a", "a")))])
    found = again(text)
    assert [one.name for one in found.containers] == ["p-a", "p-a-2"]
    assert found.containers[1].mounts == (VolumeMount("v", "/v"),)
    assert found.containers[1].restart.name == "no"
    assert "uid" not in text


def test_a_disk_image_is_refused_by_name() -> None:
    spec = PodSpec(containers=(member("c"),), volumes=(Volume("v", DiskImage("/x.qcow2", "qcow2")),))
    with pytest.raises(InvalidArgument, match=r"volume v is the disk /x\.qcow2"):
        kube.generate([(spec, kube.Names("p", ("c",)))])


def test_every_field_of_a_specification_is_written_or_noted() -> None:
    """A field that is new has to be thought of here too."""
    written = set(
        "image name command entrypoint env working_dir user group groups hostname tty stdin_open stdin_once "
        "expose ports dns dns_search dns_options extra_hosts read_only tmpfs volumes mounts files "
        "memory_bytes cpus cpu_shares sysctls privileged cap_add cap_drop no_new_privileges seccomp "
        "run_as_non_root stop_signal stop_timeout_s restart role startup liveness readiness lifecycle "
        "termination_message_path termination_message_fallback pull rows columns pod pid_mode containers "
        "labels annotations share_pids fs_group deadline_s manifest owner".split()
    )
    noted = {*writer.NOTED, *writer_container.NOTED}
    for kind in (ContainerSpec, PodSpec):
        assert {one.name for one in msgspec.structs.fields(kind)} <= written | noted
