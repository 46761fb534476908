"""Docker's rules for putting image, specification and defaults together, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from hypercontainer.agent.operations import UNLIMITED, Disk, Rlimit
from hypercontainer.contract.answers import Effective
from hypercontainer.contract.networks import Join
from hypercontainer.contract.spec import ContainerSpec, ExecSpec, PortMapping, Tmpfs, Ulimit
from hypercontainer.contract.volumes import VolumeMount
from hypercontainer.errors import InvalidArgument
from hypercontainer.image.model import ImageConfig
from hypercontainer.linux.capabilities import ALL, DEFAULT, mask
from hypercontainer.semantics import docker as plan
from hypercontainer.semantics.environment import PATH
from hypercontainer.semantics.files import files, hosts, resolv_conf
from hypercontainer.semantics.mounts import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, mounts, tmpfs

ID = "abcdef0123456789" * 4
FACTS = plan.Facts(Disk("image", "erofs"), Disk("disk", "ext4"), host="10.0.2.2")
IMAGE = ImageConfig(
    entrypoint=("entry",), cmd=("cmd", "arg"), env=("PATH=/bin", "A=image"), working_dir="/srv"
)
EMPTY = ImageConfig()


def effective(image: ImageConfig = IMAGE, /, **wish: Any) -> Effective:
    return plan.effective(ContainerSpec("image", **wish), image, ID)[0]


def start(image: ImageConfig = IMAGE, /, **wish: Any) -> plan.Start:
    spec = ContainerSpec("image", **wish)
    return plan.start(spec, plan.effective(spec, image, ID)[0], ID, FACTS)


@pytest.mark.parametrize(
    ("wish", "args"),
    [
        ({}, ("entry", "cmd", "arg")),
        ({"command": ("x",)}, ("entry", "x")),
        ({"command": ()}, ("entry", "cmd", "arg")),
        ({"entrypoint": ("e", "1")}, ("e", "1")),  # the image's command goes with its entry point
        ({"entrypoint": ("e",), "command": ("x",)}, ("e", "x")),
        ({"entrypoint": (), "command": ("x", "y")}, ("x", "y")),
        ({"entrypoint": ("",), "command": ("x",)}, ("x",)),
    ],
)
def test_entry_point_and_command(wish: dict[str, Any], args: tuple[str, ...]) -> None:
    assert start(**wish).process.args == args


@pytest.mark.parametrize(("wish", "args"), [({}, ("cmd",)), ({"command": ("x", "y")}, ("x", "y"))])
def test_an_images_entry_point_of_nothing_is_none(wish: dict[str, Any], args: tuple[str, ...]) -> None:
    assert start(ImageConfig(entrypoint=("",), cmd=("cmd",)), **wish).process.args == args


def test_an_impossible_stop_signal_of_an_image_is_told_and_not_sent() -> None:
    image = ImageConfig(cmd=("x",), stop_signal="SIGNONSENSE")
    made, (warning,) = plan.effective(ContainerSpec("app:1"), image, ID)
    assert made.stop_signal == "SIGTERM"
    assert "app:1" in warning and "SIGNONSENSE" in warning
    assert plan.effective(ContainerSpec("app:1", stop_signal="9"), image, ID) == (
        effective(ImageConfig(cmd=("x",)), stop_signal="9"),
        (),
    )


@pytest.mark.parametrize(
    ("image", "wish"), [(EMPTY, {}), (IMAGE, {"entrypoint": ()}), (ImageConfig(entrypoint=(), cmd=()), {})]
)
def test_no_command(image: ImageConfig, wish: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="no command specified"):
        effective(image, **wish)


def test_environment() -> None:
    process = start(env=("A=user", "B=", "C")).process
    assert process.env == ("PATH=/bin", "HOSTNAME=abcdef012345", "A=user", "B=")
    assert effective(env=("A",)).env == ("PATH=/bin",)
    bare = start(ImageConfig(cmd=("x",)), tty=True, hostname="me").process
    assert bare.env == (PATH, "HOSTNAME=me", "TERM=xterm")
    assert "TERM=dumb" in start(tty=True, env=("TERM=dumb",)).process.env
    with pytest.raises(InvalidArgument, match=r"^env: "):
        effective(env=("=x",))


def test_working_dir() -> None:
    assert effective().working_dir == "/srv"
    assert effective(working_dir="/a").working_dir == "/a"
    assert effective(ImageConfig(cmd=("x",), working_dir="rel")).working_dir == "/rel"
    assert effective(ImageConfig(cmd=("x",))).working_dir == "/"
    assert effective(ImageConfig(cmd=("x",), working_dir="a/../../b//c/.")).working_dir == "/b/c"
    assert effective(working_dir="//a/..").working_dir == "/"
    with pytest.raises(InvalidArgument, match=r"^working_dir: "):
        effective(working_dir="rel")


def test_user_stop_signal_hostname() -> None:
    image = ImageConfig(cmd=("x",), user="1000:1000", stop_signal="SIGQUIT")
    made = effective(image)
    assert (made.user, made.stop_signal, made.hostname) == ("1000:1000", "SIGQUIT", ID[:12])
    made = effective(image, user="", stop_signal="9", hostname="web.example")
    assert (made.user, made.stop_signal, made.hostname) == ("", "9", "web.example")
    assert effective().stop_signal == "SIGTERM"
    for wish in (
        {"hostname": "a b"},
        {"hostname": "x" * 65},
        {"domainname": "a_b/"},
        {"stop_signal": "SIGFOO"},
    ):
        with pytest.raises(InvalidArgument):
            effective(**wish)


def test_privileges() -> None:
    process = start().process
    assert process.cap_bounding == process.cap_effective == process.cap_permitted == mask(DEFAULT)
    assert process.cap_inheritable == process.cap_ambient == 0
    assert len(process.seccomp) % 8 == 0
    assert process.seccomp
    assert start(seccomp="unconfined").process.seccomp == b""
    own = start(seccomp='{"defaultAction": "SCMP_ACT_ALLOW"}').process.seccomp
    assert 0 < len(own) < len(process.seccomp)
    with pytest.raises(InvalidArgument, match="seccomp"):
        effective(seccomp="default.json")
    privileged = start(privileged=True)
    assert privileged.process.cap_effective == mask(ALL)
    assert privileged.process.seccomp == b""
    assert privileged.container.masked_paths == privileged.container.readonly_paths == ()
    assert "/proc/kcore" in start().container.masked_paths


def test_limits() -> None:
    made = start(pids_limit=5, cpu_shares=1024, ulimits=(Ulimit("nofile", 5, 10),), oom_score_adj=-500)
    assert made.container.pids_max == 5
    assert made.container.cpu_weight == 39
    assert made.process.rlimits == (
        Rlimit(4, UNLIMITED, UNLIMITED),
        Rlimit(6, UNLIMITED, UNLIMITED),
        Rlimit(7, 5, 10),
    )
    assert made.process.oom_score_adj == -500
    assert start(pids_limit=-1).container.pids_max is None
    assert start(cpu_shares=2).container.cpu_weight == 1
    assert start(cpu_shares=262144).container.cpu_weight == 10000
    for wish in (
        {"cpu_shares": 1},
        {"oom_score_adj": 1001},
        {"ulimits": (Ulimit("x", 1, 1),)},
        {"pid_mode": "host"},
    ):
        with pytest.raises(InvalidArgument) as refused:
            effective(**wish)
        assert [refused.value.field] == list(wish)


def test_umask() -> None:
    assert start().process.umask == 0o022
    assert start(umask=0).process.umask == 0
    assert start(umask=0o777).process.umask == 0o777
    added = plan.exec_process(ExecSpec(("true",)), ContainerSpec("x", umask=0o27), effective(), "c", 7)
    assert added.umask == 0o027
    for wrong in (-1, 0o1000):
        with pytest.raises(InvalidArgument, match=r"umask: .* is out of range") as refused:
            effective(umask=wrong)
        assert refused.value.field == "umask"


def test_a_terminal_has_its_size_from_the_start() -> None:
    process = start(tty=True, rows=33, columns=101).process
    assert (process.rows, process.columns) == (33, 101)
    with pytest.raises(InvalidArgument, match="65536 rows or columns"):
        start(tty=True, rows=65536)


def test_sysctls() -> None:
    (sysctl,) = start(sysctls={"net/ipv4/ip_forward": "1"}).container.sysctls
    assert (sysctl.name, sysctl.value) == ("net.ipv4.ip_forward", "1")
    for name in ("", "net", "net..x", "net.../../x", "net.ipv4 x"):
        with pytest.raises(InvalidArgument, match=r"^sysctls: "):
            effective(sysctls={name: "1"})


@pytest.mark.parametrize("program", ["/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd", "systemd"])
def test_systemd(program: str) -> None:
    made = start(ImageConfig(cmd=(program,)))
    places = {mount.target: mount for mount in made.container.mounts}
    assert {"/run", "/run/lock", "/tmp"} <= set(places)
    assert not places["/sys/fs/cgroup"].flags & MS_RDONLY
    assert places["/sys"].flags & MS_RDONLY
    assert "container=hyper" in made.process.env
    assert effective(ImageConfig(cmd=(program,))).stop_signal == "SIGRTMIN+3"
    assert not plan.is_systemd(("/opt/init",))


def test_mounts_of_the_user_replace_defaults_and_nest() -> None:
    spec = ContainerSpec("x", tmpfs=(Tmpfs("/a/b"), Tmpfs("/a"), Tmpfs("/dev/shm", "size=1m")))
    made = mounts(spec, systemd=False)
    targets = [mount.target for mount in made]
    assert targets.count("/dev/shm") == 1
    assert targets.index("/a") < targets.index("/a/b")
    assert targets.index("/dev") < targets.index("/dev/shm")
    assert targets.index("/sys") < targets.index("/sys/fs/cgroup")
    with pytest.raises(InvalidArgument, match=r"^shm_size_bytes: "):
        mounts(ContainerSpec("x", shm_size_bytes=0), systemd=False)


def test_tmpfs_options() -> None:
    quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC
    assert tmpfs(Tmpfs("/t")).flags == quiet
    made = tmpfs(Tmpfs("//t/./x/", "rw,exec,size=64m,mode=1777,uid=5"))
    assert (made.target, made.flags, made.data) == ("/t/x", quiet & ~MS_NOEXEC, "size=64m,mode=1777,uid=5")
    assert tmpfs(Tmpfs("/t", "ro,suid,dev,exec")).flags == MS_RDONLY
    assert tmpfs(Tmpfs("/t", "size=50%,,size=1g")).data == "size=1g"


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/", ""),
        ("rel", ""),
        ("/a/../b", ""),
        ("", ""),
        ("/t", "bind"),
        ("/t", "size=lots"),
        ("/t", "mode=9"),
        ("/t", "x=y"),
    ],
)
def test_tmpfs_that_is_refused(path: str, options: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^tmpfs: "):
        effective(tmpfs=(Tmpfs(path, options),))


def test_modes_of_tmpfs_begin_with_a_zero_or_not() -> None:
    made = [tmpfs(Tmpfs("/t", f"mode={mode}")).data for mode in ("1777", "01777", "0700", "7")]
    assert made == ["mode=1777", "mode=01777", "mode=0700", "mode=7"]
    with pytest.raises(InvalidArgument, match="'99' is no mode of a tmpfs"):  # the option is known
        effective(tmpfs=(Tmpfs("/t", "mode=99"),))


@pytest.mark.parametrize("path", ["/etc/hosts", "/etc/hostname/", "//etc/./resolv.conf"])
def test_what_the_user_mounts_goes_before_the_generated_files(path: str) -> None:
    generated = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
    for spec in (
        ContainerSpec("x", mounts=(VolumeMount("v", path),)),
        ContainerSpec("x", tmpfs=(Tmpfs(path),)),
    ):
        left = generated - {file.path for file in files(spec, "x", plan.Facts(Disk("", ""), None))}
        assert left == {"/" + "/".join(part for part in path.split("/") if part not in ("", "."))}


def test_volumes_are_filled_once() -> None:
    spec = ContainerSpec("x", mounts=(VolumeMount("v", "/v", copy_up=True), VolumeMount("w", "/w")))
    for unfilled in (frozenset(("v", "w")), frozenset(("w",)), frozenset[str]()):
        made = {mount.target: mount.copy_up for mount in mounts(spec, systemd=False, unfilled=unfilled)}
        assert (made["/v"], made["/w"]) == ("v" in unfilled, False)


def test_hosts() -> None:
    spec = ContainerSpec(
        "x", domainname="d.org", extra_hosts=("a:1.2.3.4", "b=[::5]", "gw:host-gateway", "c:::1")
    )
    lines = hosts(spec, "web", "10.0.2.15", "10.0.2.2").splitlines()
    assert lines[0] == "127.0.0.1\tlocalhost"
    assert lines[-5:] == ["1.2.3.4\ta", "::5\tb", "10.0.2.2\tgw", "::1\tc", "10.0.2.15\tweb.d.org web"]
    assert hosts(ContainerSpec("x"), "web", "", "").splitlines()[-1] == "127.0.1.1\tweb"
    for text in (
        "a",
        "a:",
        ":1.2.3.4",
        "a:1.2.3",
        "a b:1.2.3.4",
        "a:fe80::1%eth0",
        "a:1.2.3.4\n5.6.7.8 evil",
    ):
        with pytest.raises(InvalidArgument, match=r"^extra_hosts: "):
            effective(extra_hosts=(text,))


def test_resolv_conf() -> None:
    assert resolv_conf(ContainerSpec("x"), ("10.0.2.3",)) == "nameserver 10.0.2.3\n"
    spec = ContainerSpec(
        "x", dns=("1.1.1.1", "::1"), dns_search=("a", "b"), dns_options=("ndots:2", "rotate")
    )
    assert resolv_conf(spec, spec.dns) == (
        "nameserver 1.1.1.1\nnameserver ::1\nsearch a b\noptions ndots:2 rotate\n"
    )
    assert "search" not in resolv_conf(ContainerSpec("x", dns_search=(".",)), ())
    for wish in ({"dns": ("one",)}, {"dns_search": ("a b",)}, {"dns_options": ("x\ny",)}):
        with pytest.raises(InvalidArgument, match=r"^dns"):
            effective(**wish)


def test_exec() -> None:
    spec = ContainerSpec("image", env=("A=container",), ulimits=(Ulimit("nofile", 5, 5),), tty=True, user="7")
    made = plan.effective(spec, IMAGE, ID)[0]
    process = plan.exec_process(ExecSpec(("ls",), env=("B=2",)), spec, made, ID, 9)
    assert (process.process, process.args, process.cwd, process.user, process.init) == (
        9,
        ("ls",),
        "/srv",
        "7",
        False,
    )
    assert process.env == ("PATH=/bin", "HOSTNAME=abcdef012345", "A=container", "B=2")
    without = plan.exec_process(ExecSpec(("ls",), env=("B=2", "A")), spec, made, ID, 9)
    assert without.env == ("PATH=/bin", "HOSTNAME=abcdef012345", "B=2")
    assert Rlimit(7, 5, 5) in process.rlimits
    assert process.seccomp
    other = plan.exec_process(
        ExecSpec(("ls",), user="root", working_dir="/", privileged=True, tty=True), spec, made, ID, 10
    )
    assert (other.user, other.cwd, other.seccomp, other.cap_effective) == ("root", "/", b"", mask(ALL))
    assert "TERM=xterm" in other.env
    with pytest.raises(InvalidArgument, match="no command"):
        plan.exec_process(ExecSpec(()), spec, made, ID, 11)


def test_what_is_exposed() -> None:
    """An image may expose what cannot be published; that is no reason to refuse it."""
    image = ImageConfig(cmd=("x",), exposed_ports=("80/tcp", "53", "90/sctp"))
    made, _ = plan.effective(ContainerSpec("x", expose=("53/udp", "80")), image, "0" * 64)
    assert made.exposed == ("80/tcp", "53/tcp", "90/sctp", "53/udp")


def test_ports() -> None:
    image = ImageConfig(cmd=("x",), exposed_ports=("80/tcp", "53/udp", "80"))
    spec = ContainerSpec(
        "x", publish_all=True, ports=(PortMapping(53, 5353, protocol="udp"),), expose=("3000-3001",)
    )
    assert plan.exposed_mappings(spec, image) == (PortMapping(80), PortMapping(3000), PortMapping(3001))
    assert plan.parse_ports("1-2/UDP") == ((1, "udp"), (2, "udp"))
    for text in ("", "0", "65536", "5-4", "80/sctp", "80-", "x", "1-2-3"):
        with pytest.raises(InvalidArgument, match=r"^expose: "):
            plan.parse_ports(text)


def test_warnings() -> None:
    spec = ContainerSpec("x", networks=(Join("none"),), ports=(PortMapping(80),))
    assert len(plan.effective(spec, IMAGE, ID)[1]) == 1
