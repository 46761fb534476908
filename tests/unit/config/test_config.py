"""Flags over environment over file over defaults; what is wrong is named."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.config import (
    Config,
    Factory,
    ImageRule,
    Policy,
    SizePolicy,
    load_config,
    locations,
    places,
    prepare_directories,
)
from hypercontainer.config.model import usual_memory_bytes
from hypercontainer.errors import InvalidArgument, Unavailable

MIB = 1 << 20
DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"


def find(env: dict[str, str] | None = None, *, uid: int = 1000, **flags: Any) -> places.Locations:
    return locations(environ={"HOME": "/home/u"} | (env or {}), uid=uid, system_file="/nonexistent", **flags)


def load(tmp_path: Path, text: str, **flags: Any) -> Config:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return load_config(file=str(file), environ={"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/1"}, **flags)


def test_roots_places() -> None:
    found = find(uid=0)
    assert (found.root, found.run, found.address) == (
        "/var/lib/hyper",
        "/run/hyper",
        "/run/hyper/hyper.sock",
    )
    assert found.host == "unix:///run/hyper/hyper.sock"
    assert (found.cache, found.file) == ("/home/u/.cache/hyper", "")


def test_a_users_places() -> None:
    found = find({"XDG_RUNTIME_DIR": "/run/user/1000", "XDG_DATA_HOME": "/d", "XDG_CACHE_HOME": "/c"})
    assert (found.root, found.run, found.cache) == ("/d/hyper", "/run/user/1000/hyper", "/c/hyper")
    found = find({"XDG_DATA_HOME": "not/absolute"}, uid=4_000_000)
    assert (found.root, found.run) == ("/home/u/.local/share/hyper", "/tmp/hyper-4000000")


def test_precedence(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(
        'root = "/file/root"\nrun = "/file/run"\nhost = "unix:///file/s"\ncache = "/file/cache"\n'
    )
    env = {"HYPER_CONFIG": str(file), "HYPER_RUN": "/env/run", "HYPER_HOST": "unix:///env/s"}
    found = find(env, host="unix:///flag/s")
    assert (found.root, found.run, found.address, found.cache) == (
        "/file/root",
        "/env/run",
        "/flag/s",
        "/file/cache",
    )
    assert found.file == str(file)
    # An address is a named one where it is not what would be without it.
    assert found.named
    assert not find(env, host="unix:///file/s").named
    assert find({"HYPER_RUN": "/r", "HYPER_HOST": "unix:///s"}).named
    assert not find({"HYPER_RUN": "/r", "HYPER_HOST": "unix:///r/hyper.sock"}).named
    assert not find({"HYPER_CONFIG": str(file)}).named
    # The socket's place follows the run directory, wherever that was said.
    assert find({"HYPER_RUN": "/env/run/"}).address == "/env/run/hyper.sock"
    assert find({"HYPER_RUN": ""}, uid=0).run == "/run/hyper"


def test_which_file(tmp_path: Path) -> None:
    system, own = tmp_path / "system.toml", tmp_path / "hyper" / "config.toml"
    own.parent.mkdir()
    env = {"HOME": "/home/u", "XDG_CONFIG_HOME": str(tmp_path), "XDG_RUNTIME_DIR": "/r"}

    def file(uid: int, **flags: str) -> str:
        return locations(environ=env, uid=uid, system_file=str(system), **flags).file

    assert file(1000) == ""
    system.write_text("")
    assert file(1000) == file(0) == str(system)
    own.write_text("")
    assert (file(1000), file(0)) == (str(own), str(system))
    named = tmp_path / "named.toml"
    named.write_text("")
    assert file(1000, file=str(named)) == str(named)


@pytest.mark.parametrize(
    ("env", "flags", "says"),
    [
        ({"HYPER_ROOT": "here"}, {}, "HYPER_ROOT: 'here' is not an absolute path"),
        ({}, {"run": "here"}, "run: 'here' is not an absolute path"),
        ({"HYPER_HOST": "tcp://0.0.0.0:1"}, {}, "HYPER_HOST: 'tcp://0.0.0.0:1': only unix:///"),
        ({}, {"host": "/a/b"}, "host: '/a/b': only unix:///"),
        ({"HYPER_RUN": "/" + "a" * 100}, {}, "at most 107 bytes"),
        ({"HYPER_HOST": "unix:///" + "ä" * 54}, {}, "HYPER_HOST: a socket's path has at most 107 bytes"),
        ({"HYPER_CONFIG": "/nonexistent/c"}, {}, "HYPER_CONFIG: there is no file /nonexistent/c"),
        ({}, {"file": "/nonexistent/c"}, "config: there is no file /nonexistent/c"),
    ],
)
def test_wrong_places(env: dict[str, str], flags: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        find(env, **flags)
    assert says in str(caught.value)


def test_the_longest_address() -> None:
    assert find({"HYPER_HOST": "unix:///" + "a" * 106}).address == "/" + "a" * 106
    # One that is too long by default is no error once a shorter one is named.
    assert find({"HYPER_RUN": "/" + "a" * 100, "HYPER_HOST": "unix:///s"}).address == "/s"


EVERYTHING = """\
root = "/r"
group = "wheel"
[defaults]
memory = "1.5g"
cpus = 2
stop_timeout_s = 3
dns = ["1.1.1.1", "::1"]
dns_search = ["example"]
[machine]
kernel = "own"
initrd = "/i"
kernel_args = ["quiet"]
accel = "tcg"
qemu = "/q"
boot_timeout_s = 600
disk_full = "error"
uid_base = 70000
uid_count = 10
[factory]
template = false
cache = 1
idle_s = 0
memory_percent = 90
[[factory.sizes]]
cpu = 2
memory = "256m"
template = true
cache = 64
[[factory.sizes]]
cpu = 1
memory = "256m"
[log]
level = "debug"
driver = "none"
max_size = 4096
max_files = 2
[registries]
insecure = ["localhost:5000", "[::1]:5000"]
parallel_downloads = 8
[registries.mirrors]
"docker.io" = ["https://m1", "http://m2/x"]
[registries.ca]
"r.example" = "/ca.pem"
[layers]
max_size = "10G"
max_entries = 7
max_image_size = "20GiB"
"""


def test_everything(tmp_path: Path) -> None:
    config = load(tmp_path, EVERYTHING)
    assert (config.root, config.group, config.file) == (Path("/r"), "wheel", tmp_path / "config.toml")
    assert (config.defaults.memory_bytes, config.defaults.cpus) == (1536 * MIB, 2.0)
    assert (config.defaults.dns, config.defaults.dns_search) == (("1.1.1.1", "::1"), ("example",))
    assert (config.machine.kernel, config.machine.initrd, config.machine.accelerator) == (
        "own",
        Path("/i"),
        "tcg",
    )
    assert (config.machine.qemu, config.machine.boot_timeout_s) == ("/q", 600)
    assert config.machine.disk_full == "error"
    assert (config.machine.uid_base, config.machine.uid_count) == (70000, 10)
    assert config.factory == Factory(
        template=False,
        cache=1,
        idle_s=0,
        memory_percent=90,
        sizes=(SizePolicy(2, 256 * MIB, template=True, cache=64), SizePolicy(1, 256 * MIB)),
    )
    assert (config.logging.driver, config.logging.max_size_bytes) == ("none", 4096)
    assert config.registries.mirrors == {"docker.io": ("https://m1", "http://m2/x")}
    assert config.registries.ca == {"r.example": Path("/ca.pem")}
    assert config.registries.insecure == ("localhost:5000", "[::1]:5000")
    assert (config.layers.max_bytes, config.layers.max_image_bytes) == (10 << 30, 20 << 30)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, "")
    assert config.defaults.cpus == 1.0
    assert 128 * MIB <= config.defaults.memory_bytes <= 512 * MIB
    assert (config.machine.uid_base, config.machine.uid_count) == (500_000, 65_536)
    assert config.address == config.run / "hyper.sock"
    assert config.factory == Factory(True, 2, 300, 10, ())


def test_the_policy_of_a_size_stands_over_that_of_all() -> None:
    factory = Factory(
        cache=2,
        sizes=(
            SizePolicy(1, 128 * MIB, cache=4),
            SizePolicy(2, 128 * MIB, template=False, cache=9),
            SizePolicy(4, 128 * MIB),
        ),
    )
    assert factory.policy(128 * MIB, 1) == Policy(template=True, cache=4)
    assert factory.policy(129 * MIB, 1) == Policy(template=True, cache=2)
    assert factory.policy(128 * MIB, 2) == Policy(template=False, cache=0)  # nothing to clone, nothing ready
    assert factory.policy(128 * MIB, 4) == factory.policy(1 << 30, 1) == Policy(template=True, cache=2)
    off = Factory(template=False, sizes=(SizePolicy(1, 128 * MIB, template=True, cache=0),))
    assert off.policy(1, 1) == Policy(template=False, cache=0)
    assert off.policy(128 * MIB - 1, 1) == Policy(template=True, cache=0)  # of 128 MiB, as the VM will be


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "rot = '/x'",
            ": unknown key 'rot' (known are group, rbd, hypervisor, root, run, host, cache, defaults",
        ),
        ("root = 1", ": root: a string is wanted, not 1"),
        ("root = 'x'", ": root: 'x' is not an absolute path"),
        ("machine = 1", ": machine: a table is wanted, not 1"),
        ("[machine]\nkernl = 'x'", ": [machine]: unknown key 'kernl' (known are kernel, initrd"),
        ("[machine]\ndisk_full = 'wait'", ": [machine]: disk_full: one of pause, error is wanted"),
        ("[machine]\naccel = 'whpx'", ": [machine]: accel: one of auto, kvm, hvf, tcg is wanted"),
        ("hypervisor = 1", ": hypervisor: tables [hypervisor.NAME] are wanted"),
        ("[hypervisor.'a b']", ": hypervisor: 'a b' is no name of a driver"),
        ("[hypervisor.a]\nb = {}", ": hypervisor: a: b: a string, a number, true, false or a list"),
        ("[machine]\ninitrd = 'i'", ": [machine]: initrd: an absolute path is wanted"),
        ("[machine]\nkernel_args = 'quiet'", ": [machine]: kernel_args: a list of strings is wanted"),
        ("[machine]\nkernel_args = [1]", ": [machine]: kernel_args: a list of strings is wanted"),
        ("[machine]\nuid_base = 0", ": [machine]: uid_base: a whole number from 1000"),
        ("[machine]\nuid_base = true", ": [machine]: uid_base: a whole number from 1000"),
        ("[defaults]\nmemory = '12x'", ": [defaults]: memory: a size is wanted"),
        ("[defaults]\nmemory = 0", ": [defaults]: memory: a size above 0"),
        ("[defaults]\nmemory = -1", ": [defaults]: memory: a size is wanted"),
        ("[defaults]\nmemory = true", ": [defaults]: memory: a size is wanted"),
        ("[defaults]\ncpus = nan", ": [defaults]: cpus: a number above 0"),
        ("[defaults]\ndns = ['one']", ": [defaults]: dns: 'one' does not appear to be"),
        ("[factory]\ntemplates = true", ": [factory]: unknown key 'templates' (known are template, cache"),
        ("[factory]\ntemplate = 1", ": [factory]: template: true or false is wanted"),
        ("[factory]\ncache = 65", ": [factory]: cache: a whole number from 0 to 64 is wanted"),
        ("[factory]\nidle_s = 1.5", ": [factory]: idle_s: a whole number from 0 to 86400 is wanted"),
        ("[factory]\nmemory_percent = 91", ": [factory]: memory_percent: a whole number from 0 to 90"),
        ("rbd = 1", ": rbd: tables [rbd.NAME] are wanted"),
        ("[rbd]\nuser = 'a'", ": rbd: tables [rbd.NAME] are wanted"),
        ("[rbd.'a b']\nuser = 'a'", ": rbd: 'a b' is no name of a cluster"),
        ("[rbd.ceph]\nkey = 'a'", ": rbd: ceph: unknown key 'key', known are monitors, user, keyring"),
        ("[rbd.ceph]\nuser = 'a'\nkeyring = '/k'", ": rbd: ceph: monitors is missing"),
        ("[rbd.ceph]\nuser = 'client.a'", ": rbd: ceph: user: a user is wanted, without"),
        ("[rbd.ceph]\nmonitors = []", ": rbd: ceph: monitors: a list of 1 to 16 monitors"),
        ("[rbd.ceph]\nmonitors = ['a/b']", ": rbd: ceph: monitors: a list of 1 to 16 monitors"),
        ("[rbd.ceph]\nkeyring = 'k'", ": rbd: ceph: keyring: an absolute path is wanted"),
        ("[factory.sizes]\ncpu = 1", ": [factory]: sizes: tables are wanted, each with cpu and memory"),
        (
            "[[factory.sizes]]\ncpus = 1",
            ": [factory]: sizes: table 1: unknown key 'cpus', known are cpu, mem",
        ),
        ("[[factory.sizes]]\ncpu = 0.5", ": [factory]: sizes: table 1: cpu: a whole number from 1 to 1024"),
        ("[[factory.sizes]]\ncpu = 1", ": [factory]: sizes: table 1: memory is missing"),
        (
            "[[factory.sizes]]\ncpu = 1\nmemory = '128m'\n[[factory.sizes]]\ncpu = 1\nmemory = 134217727",
            ": [factory]: sizes: table 2: this cpu and memory have a table already",
        ),
        ("[registries]\ninsecure = ['http://x']", ": [registries]: insecure: a registry"),
        ("[registries.mirrors]\nx = ['m']", ": [registries]: mirrors: http:// or https:// is wanted"),
        ("[registries.mirrors]\nx = 'https://m'", ": [registries]: mirrors: a list of strings"),
        ("[registries]\nca = '/x'", ": [registries]: ca: a table with registries"),
        ("[images]\npolicy = 1", ": [images]: policy: tables are wanted, each with match and require"),
        ("[[images.policy]]\nmatch = '*'", ": [images]: policy: table 1: require is missing"),
        (
            "[[images.policy]]\nmatch = 'library/*'\nrequire = 'none'",
            ': [images]: policy: table 1: match: "REGISTRY/REPOSITORY" is wanted',
        ),
        ("[[images.policy]]\nmatch = 'a.b/c*'\nrequire = 'none'", ": [images]: policy: table 1: match: "),
        (
            "[[images.policy]]\nmatch = '*'\nrequire = 'key'",
            ': [images]: policy: table 1: require = "key" wants keys',
        ),
        (
            "[[images.policy]]\nmatch = '*'\nrequire = 'keyless'\nissuer = 'i'\nidentities = ['x']",
            ': table 1: require = "keyless" wants trusted_root',
        ),
        (
            "[[images.policy]]\nmatch = '*'\nrequire = 'refuse'\nissuer = 'i'",
            ': table 1: issuer is nothing that require = "refuse" knows',
        ),
        ("[layers]\nmax_entries = 1.5", ": [layers]: max_entries: a whole number"),
        ("a = [", ": this is not TOML: "),
    ],
)
def test_a_wrong_file(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/config.toml")
    assert says in str(caught.value)


def test_rules_for_images(tmp_path: Path) -> None:
    text = """
[[images.policy]]
match = "docker.io/library/*"
require = "key"
keys = ["/k.pub"]
[[images.policy]]
match = "localhost:5000/app"
require = "keyless"
identities = ["https://github.com/example/*"]
issuer = "https://token.actions.githubusercontent.com"
trusted_root = "/root.json"
[[images.policy]]
match = "*"
require = "none"
"""
    assert load(tmp_path, text).images.policy == (
        ImageRule("docker.io/library/*", "key", keys=(Path("/k.pub"),)),
        ImageRule(
            "localhost:5000/app",
            "keyless",
            identities=("https://github.com/example/*",),
            issuer="https://token.actions.githubusercontent.com",
            trusted_root=Path("/root.json"),
        ),
        ImageRule("*", "none"),
    )


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(b'a = "\xff"')
    with pytest.raises(InvalidArgument, match="this is not TOML"):
        load_config(file=str(file), environ={})


@pytest.mark.parametrize("text", ["[factory]\ncache = 0\n", "[factory]\nroot = 1", "log = 1\n[host]\n"])
def test_the_parser_is_not_asked_where_the_file_does_not_say_where_things_are(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    found = find({"HYPER_CONFIG": str(file), "HOME": "/h"})
    assert found.table == tomllib.loads(text)
    monkeypatch.setattr(places, "_parse_toml", lambda path, data: pytest.fail("parsed"))
    find({"HYPER_CONFIG": str(file), "HOME": "/h"})


@pytest.mark.parametrize("before", ["", "# [\n", "a = '''\n[b'''\n", 'a = """\n[b"""\n'])
def test_the_parser_is_asked_where_it_does(before: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(before + 'host = "unix:///x"\n[t]\n')
    assert find({"HYPER_CONFIG": str(file), "HOME": "/h"}).address == "/x"


# Directories


def test_directories_are_made_and_kept_private(tmp_path: Path) -> None:
    root, run = tmp_path / "a" / "root", tmp_path / "run"
    prepare_directories(str(root), str(run))
    wanted = 0o711 if os.geteuid() == 0 else 0o700
    assert root.stat().st_mode & 0o777 == run.stat().st_mode & 0o777 == wanted
    root.chmod(0o750)
    prepare_directories(str(root), str(run))
    assert root.stat().st_mode & 0o777 == 0o750  # somebody's choice, and a safe one


@pytest.mark.parametrize("wrong", ["writable", "file", "foreign", "link"])
def test_directories_that_are_not_ours_are_refused(wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    if wrong == "file":
        path.write_text("")
    elif wrong == "link":  # in /tmp anybody could have put it there
        (tmp_path / "other").mkdir(mode=0o700)
        path.symlink_to(tmp_path / "other" if os.geteuid() == 0 else "/usr")
        if os.geteuid() == 0:
            os.chown(path, 12345, 12345, follow_symlinks=False)
    else:
        path.mkdir(mode=0o700)
    if wrong == "writable":
        path.chmod(0o777)
    if wrong == "foreign":
        if os.geteuid() != 0:
            path = Path("/usr")  # root's
        else:
            os.chown(path, 12345, 12345)
    with pytest.raises(Unavailable, match=str(path)):
        prepare_directories(str(path), str(tmp_path / "x"))


def test_a_strangers_directory_in_tmp_is_refused_before_anybody_connects() -> None:
    uid = 3_999_999_999
    path = Path(f"/tmp/hyper-{uid}")
    path.mkdir()
    try:
        path.chmod(0o777)
        with pytest.raises(Unavailable, match=f"others may write in the directory {path}"):
            find(uid=uid)
    finally:
        path.rmdir()


# What it costs, and what is written about it


def test_finding_hyperd_imports_nothing_of_weight() -> None:
    heavy = ("dataclasses", "typing", "pathlib", "re", "tomllib", "msgspec", "asyncio")
    code = (
        "import sys\nfrom hypercontainer.config import locations\nlocations()\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    env = {key: value for key, value in os.environ.items() if not key.startswith("HYPER_")}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=env | {"PYTHONPATH": os.pathsep.join(["src", *sys.path])},
        capture_output=True,
        text=True,
        check=True,
        cwd=DOCUMENT.parents[1],
    )
    assert done.stdout.strip() == "[]"


def test_the_document_names_every_key() -> None:
    from hypercontainer.config.loading import PLACES, SIZE_KEYS, TABLES

    text = DOCUMENT.read_text()
    for name, keys in TABLES.items():
        section = text[text.index(f"\n## `[{name}]`") :] if name else text
        section = section[: section.find("\n## ", 5)] if name else section
        for key in keys:
            assert f"| `{key}` |" in section, (name, key)
    factory = text[text.index("\n## `[factory]`") : text.index("\n## `[log]`")]
    for key in SIZE_KEYS:
        assert f"`{key}`" in factory, key
    for key in PLACES:
        assert f"| `{key}` |" in text, key


@pytest.mark.parametrize(
    ("host_mib", "usual_mib"), [(512, 128), (1984, 256), (3900, 512), (24_000, 512), (1 << 20, 512)]
)
def test_the_usual_memory_suits_the_host(host_mib: int, usual_mib: int) -> None:
    assert usual_memory_bytes(host_mib * MIB) == usual_mib * MIB
