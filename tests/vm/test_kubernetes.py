"""Manifests in the spirit of Kubernetes' own documentation, played for real: what programs find in their containers."""

from __future__ import annotations

from pathlib import Path

import pytest

import busybox_image
from free_port import free_port
from manifests import FOREVER, GOLDEN, Cluster, Document, claim, container, golden, lines, pod, thing
from reach import http_get

BUSYBOX = busybox_image.REFERENCE


# ------------------------------------------------------------------------------------------------ environment


def test_variables_of_every_source(cluster: Cluster) -> None:
    scripts = {"all": 'env; printf "[%s]\\n" "$@"', "other": "tr '\\0' '\\n' < /proc/1/environ; :"}
    cluster.play(*golden("environment", scripts, lambda spec: spec.update(restartPolicy="Never")))
    _, text = cluster.ends("env-all")
    found = dict(line.split("=", 1) for line in lines(text) if "=" in line)
    expected = {
        "HOST": "example.test",
        "HOME_URL": "http://example.test:8080/$(LATER)$(HOST)",
        "EMPTY": "",
        "LIVES": "3",
        "PASSWORD": "p$(x)w",
        "LOGIN_username": "alice",
        "LOGIN_password": "p$(x)w",
        "NAME": "env",
        "NAMESPACE": "games",
        "UID": "11111111-2222-3333-4444-555555555555",
        "TIER": "back",
        "BUILD": "7",
        "ACCOUNT": "robot",
        "CPU": "1",
        "CPU_MILLI": "250",
        "MEMORY": "32",
        "OTHER": "1500000",
    }
    assert expected.items() <= found.items()
    assert "NONE" not in found
    assert found["IP"].startswith("10.")
    arguments = [line for line in lines(text) if line.startswith("[")]
    assert arguments == [f"[{expected['HOME_URL']}]", "[$(HOME_URL)]", "[$(MISSING)]", "[$]", "[100$]"]
    _, other = cluster.ends("env-other")
    assert "A=1" in lines(other)
    assert "b.c=2" in lines(other)


# ---------------------------------------------------------------------------------------------------- volumes


def test_files_of_every_source(cluster: Cluster) -> None:
    look = """
        cd /; for f in $(find site cert about all -type f | sort); do stat -c '%a %u %n' $f; done
        for f in site/style.css cert/private/key.pem about/labels about/notes/all about/zone about/memory all/name
        do echo "== $f"; cat $f; echo; done
        cat /etc/style.css; echo; ls /maybe; for d in site cert about all; do touch $d/x 2>&1 | grep -o Read-only; done
    """
    cluster.play(*golden("projected", {"reader": look}, lambda spec: spec.update(restartPolicy="Never")))
    _, text = cluster.ends("files-reader")
    modes, _, contents = text.partition("== ")
    assert lines(modes) == [
        "644 0 about/labels",
        "644 0 about/memory",
        "644 0 about/notes/all",
        "600 0 about/zone",
        "400 0 all/name",
        "400 0 all/tls.crt",
        "400 0 all/tls.key",
        "400 0 all/www/index.html",
        "400 0 cert/private/key.pem",
        "440 0 site/index.html",
        "440 0 site/style.css",
    ]
    parts = dict(part.split("\n", 1) for part in contents.split("== "))
    shown = {name: part.strip() for name, part in parts.items()}
    assert shown.pop("all/name").splitlines() == ["files", "p {}", *["Read-only"] * 4]
    assert shown == {
        "site/style.css": "p {}",
        "cert/private/key.pem": "KEY",
        "about/labels": 'app="files"\nzone="north"',
        "about/notes/all": 'note="say \\"hi\\""',
        "about/zone": "north",
        "about/memory": "131072",
    }


def storage_on(folder: Path) -> list[Document]:
    """The golden manifest, with ``folder`` for what it has of the host, and without servers' volumes, which have tests
    of their own."""

    def change(spec: Document) -> None:
        spec["restartPolicy"] = "Never"
        remote = {volume["name"] for volume in spec["volumes"] if {"nfs", "rbd"} & volume.keys()}
        for mounted in (spec["volumes"], *(one["volumeMounts"] for one in spec["containers"])):
            mounted[:] = [one for one in mounted if one["name"] not in remote]
        for volume in spec["volumes"]:
            if "hostPath" in volume:
                volume["hostPath"]["path"] = str(folder / Path(volume["hostPath"]["path"]).name)

    script = """
        cat /var/lib/redis/n /elsewhere/n; echo kept > /var/lib/redis/n; touch /backup/x /elsewhere/x /plain/x
        cat /host/in /var/log/host.log; echo back > /host/out; echo more >> /var/log/host.log
        df -T /var/lib/redis | tail -n 1 | awk '{print $2}';
        touch /scratch/x; ls /var/lib/redis /scratch
    """
    return golden("storage", {"db": script}, change)


def test_disks_that_stay_directories_of_the_host_and_parts_of_volumes(
    cluster: Cluster, tmp_path: Path
) -> None:
    hyper = cluster.hyper
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "in").write_text("from the host\n")
    (tmp_path / "host.log").write_text("a line\n")
    hyper("volume", "create", "made-before")
    documents = storage_on(tmp_path)
    cluster.play(*documents)
    _, text = cluster.ends("store-db")
    assert (tmp_path / "share" / "out").read_text() == "back\n"
    assert (tmp_path / "host.log").read_text() == "a line\nmore\n"
    for place in ("/backup/x", "/elsewhere/x", "/plain/x"):
        assert f"touch: {place}: Read-only file system" in text
    assert "cat: can't open '/var/lib/redis/n'" in text
    assert [line for line in lines(text) if ": " not in line] == [
        "from the host",
        "a line",
        "ext4",
        "/scratch:",
        "x",
        "",
        "/var/lib/redis:",
        "n",
    ]

    # Down takes the pod; the claim's volume, with what is in it, is there for the next one.
    done = cluster.down(*documents)
    assert done == {"pod/store": "removed", "persistentvolumeclaim/database": "kept"}
    assert hyper.out("ps", "-aq") == ""
    assert cluster.play(*documents)["persistentvolumeclaim/database"] == "unchanged"
    _, text = cluster.ends("store-db")
    assert "kept" in lines(text)
    look = ("run", "--rm", "-v", "database:/d", BUSYBOX, "cat", "/d/store/redis/n")
    assert hyper.out(*look) == "kept"
    done = cluster.down(*documents, flags=("--volumes",))
    assert done["persistentvolumeclaim/database"] == "removed"
    assert hyper.out("volume", "ls", "-q") == "made-before"


def test_empty_directories(cluster: Cluster) -> None:
    mounts = [{"name": "m", "mountPath": "/m"}, {"name": "d", "mountPath": "/d"}]
    volumes = [{"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}}, {"name": "d"}]
    fill = "head -c 5000000 /dev/zero > /m/zero; wc -c < /m/zero; echo from a > /d/note; stat -c %a /m /d"
    look = (
        "df -T /m | tail -n 1 | awk '{print $2, $3}'; until test -e /d/note; do sleep 0.1; done; cat /d/note"
    )
    cluster.play(
        pod(
            "empty",
            container("a", fill, volumeMounts=mounts),
            container("b", look, volumeMounts=mounts),
            volumes=volumes,
        )
    )
    _, text = cluster.ends("empty-a")
    assert lines(text)[:3] == [str(4 << 20), "777", "777"]  # no more than its limit
    assert lines(cluster.ends("empty-b")[1]) == ["tmpfs 4096", "from a"]


# --------------------------------------------------------------------------------------------------- security


def test_who_a_program_is_and_what_it_may_do(cluster: Cluster) -> None:
    look = (
        "id; grep -E 'CapBnd|CapEff|NoNewPrivs|Seccomp:' /proc/self/status; cat /proc/sys/net/core/somaxconn"
    )
    scripts = {
        "strict": f"{look}; touch /x",
        "other-user": f"{look}; touch /tmp/x && echo written",
        "mighty": f"{look}; mkdir /mnt && mount -t tmpfs none /mnt && echo mounted",
    }
    cluster.play(*golden("security", scripts, lambda spec: spec.update(restartPolicy="Never")))
    strict = lines(cluster.ends("careful-strict")[1])
    assert strict == [
        "uid=1000 gid=3000 groups=2000,3000,4000,5000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000400",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "1024",
        "touch: /x: Read-only file system",
    ]
    other = lines(cluster.ends("careful-other-user")[1])
    assert other[0] == "uid=2000 gid=3000 groups=2000,3000,4000,5000"
    assert other[3:5] == ["NoNewPrivs:\t0", "Seccomp:\t0"]
    assert other[-1] == "written"
    mighty = lines(cluster.ends("careful-mighty")[1])
    assert mighty[0].startswith("uid=0(root)")
    assert mighty[-1] == "mounted"


def test_a_group_for_files(cluster: Cluster) -> None:
    places = ("d", "m", "secret", "pv", "fixed")
    documents = [
        thing("v1", "Secret", "login", stringData={"password": "open sesame\n"}),
        claim("data"),
        claim("fixed"),
        pod(
            "grouped",
            container(
                "a",
                "for f in /d /m /pv; do touch $f/x; stat -c '%A %g' $f; stat -c '%u:%g' $f/x; done;"
                "stat -c '%a %g' /secret/password; cat /secret/password; grep -v '^#' /etc/resolv.conf;"
                "touch /fixed/x 2>&1 | grep -o Read-only",
                volumeMounts=[{"name": name, "mountPath": f"/{name}"} for name in places],
            ),
            dnsConfig={"nameservers": ["192.0.2.9"], "searches": ["a.test"]},
            securityContext={"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000, "runAsNonRoot": True},
            volumes=[
                {"name": "d", "emptyDir": {}},
                {"name": "m", "emptyDir": {"medium": "Memory"}},
                {"name": "secret", "secret": {"secretName": "login", "defaultMode": 0o400}},
                {"name": "pv", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "fixed", "persistentVolumeClaim": {"claimName": "fixed", "readOnly": True}},
            ],
        ),
    ]
    cluster.play(*documents)
    status, text = cluster.ends("grouped-a")
    empty = ["drwxrwsrwx 2000", "1000:2000"]
    # A secret's files get the group, and the right to be read by it, as with Kubernetes.
    secret = ["440 2000", "open sesame"]
    servers = ["nameserver 169.254.53.53", "search a.test"]
    assert lines(text) == [*empty, *empty, "drwxrwsr-x 2000", "1000:2000", *secret, *servers, "Read-only"]
    assert status == 0


def test_a_part_of_a_volume_stays_within_it(cluster: Cluster) -> None:
    mounts = [{"name": "d", "mountPath": "/d"}]
    part = [{"name": "d", "mountPath": "/d", "subPath": "out"}]
    plant = container("plant", "ln -s / /d/out; touch /d/own", volumeMounts=mounts)
    look = container("a", "ls -1 /d", volumeMounts=part)
    cluster.play(pod("part", look, initContainers=[plant], volumes=[{"name": "d"}]))
    assert cluster.ends("part-a") == (0, "out\nown\n")
    assert "subPath" in cluster.refused(
        pod("p", container("a", volumeMounts=[{**part[0], "subPath": "../x"}]), volumes=[{"name": "d"}])
    )


@pytest.mark.parametrize("user", [None, 0])
def test_root_is_refused_where_it_was_ruled_out(cluster: Cluster, user: int | None) -> None:
    context: Document = {"runAsNonRoot": True} | ({} if user is None else {"runAsUser": user})
    told = cluster.refused(pod("rooted", container("a"), securityContext=context))
    assert "runAsNonRoot" in told
    assert cluster.hyper.out("pod", "ls", "-q") == ""


# -------------------------------------------------------------------------------------------------- resources


@pytest.mark.needs("several processors")
def test_the_size_of_the_vm_and_the_limits_in_it(cluster: Cluster) -> None:
    look = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max"
    scripts = {"big": "nproc; awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo"}
    scripts |= dict.fromkeys(("milli", "float", "exponent", "plain"), look)
    cluster.play(*golden("resources", scripts, lambda spec: spec.update(restartPolicy="Never")))
    cpus, memory_mib = lines(cluster.ends("sized-big")[1])
    assert cpus == "2"
    assert 900 < int(memory_mib) <= 1024
    expected = {
        "milli": [str(128_000_000 // 4096 * 4096), "10000 100000"],
        "float": [str(256 << 20), "50000 100000"],
        "exponent": ["max", "max 100000"],
        "plain": [str(128 << 20), "max 100000"],
    }
    assert {name: lines(cluster.ends(f"sized-{name}")[1]) for name in expected} == expected
    assert cluster.pod("sized")["VM"]["MemoryMiB"] == 1024


# ---------------------------------------------------------------------------------------------------- network


def test_names_addresses_and_ports(cluster: Cluster) -> None:
    ports = iter([free_port() for _ in range(3)])
    published = {}

    def change(spec: Document) -> None:
        for port in spec["containers"][0]["ports"]:
            if "hostPort" in port:
                port["hostPort"] = published[port["containerPort"]] = next(ports)

    serve = f"mkdir /w; echo page > /w/index.html; httpd -p 80 -h /w; {FOREVER}"
    cluster.play(*golden("network", {"web": serve}, change))
    assert http_get(f"127.0.0.1:{published[80]}") == (200, b"page\n")
    look = "hostname; hostname -f; cat /etc/resolv.conf; cat /etc/hosts; wget -qO- http://foo.local/"
    text = lines(cluster.sh("named.pod-newest", look))
    assert text[:2] == ["front", "front.shop.default.svc.cluster.local"]
    assert text[2:5] == [
        "nameserver 169.254.53.53",
        "search shop.svc.cluster.local example.test",
        "options ndots:2 edns0",
    ]
    for address, name in (("127.0.0.1", "foo.local"), ("127.0.0.1", "bar.local"), ("fd00::1", "six.remote")):
        assert f"{address}\t{name}" in text
    assert text[-1] == "page"
    place, terminal = lines(cluster.sh("named.pod-shell", "pwd; readlink /proc/1/fd/0"))
    assert place == "/work"
    assert terminal.startswith("/dev/pts/")


# ------------------------------------------------------------------------------------------------- processes


def test_processes_of_one_another(cluster: Cluster) -> None:
    cluster.play(*golden("shared_pids", {"web": f"echo up; {FOREVER}"}))
    hyper = cluster.hyper
    hyper.wait_for_log("shared-web", b"up")
    found = cluster.sh("shared-shell", "grep -l '[e]cho up' /proc/[0-9]*/cmdline")
    number = found.split("/")[2]
    assert cluster.sh("shared-shell", f"ls /proc/{number}/root/bin/busybox") != ""
    cluster.sh("shared-shell", f"kill -KILL {number}")
    hyper.until(lambda: hyper.out("logs", "shared-web") == "up\nup", "its policy starts it again")
    assert hyper.inspect("shared-web")["RestartCount"] == 1
    assert hyper.inspect("shared-shell")["RestartCount"] == 0


def test_every_golden_manifest_is_played_here() -> None:
    text = Path(__file__).read_text() + Path(__file__).with_name("test_kubernetes_life.py").read_text()
    names = {path.stem for path in GOLDEN.glob("*.yaml")} - {"probes"}  # needs TLS and gRPC of its image
    assert {name for name in names if f'golden("{name}"' in text} == names
