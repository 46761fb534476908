"""`diff`, `export` and `commit` beside Docker's: what they say, and what the images are that come of it."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

import busybox_image
from pair import Pair

BUSYBOX = busybox_image.REFERENCE
# Of a container, each in a directory of its name that has what is in IMAGE.
CHANGES = {
    "added": "mkdir -p new/dir; echo 1 > new/file; ln -s /nowhere new/link; mkfifo new/pipe; mknod new/null c 1 3",
    "changed": "echo more >> data/deep/d; chmod 600 data/a; chown 5:6 data/deep/er; touch -d 2001-01-01 data/b",
    "deleted": "rm -r data/gone data/link data/deep/er/e",
    "again": "rm -r data/deep; mkdir data/deep; echo 2 > data/deep/d; echo 3 > data/deep/new",
    "replaced": "cd replaced; rm file; mkdir file; echo 2 > file/inside; rm -r dir; echo 2 > dir",
    "moved": "mv data/a spare/a; mv data/deep spare/deep; mv data/c data/b",
    "links": "echo 1 > one; ln one two; ln two data/three; rm data/hard; ln data/b data/hard",
    "in-the-way": "echo 1 > /etc/mine; rm -r data; mkdir -p data/deep; rmdir data/deep data",
}
EVERYTHING = "set -e; " + "; ".join(f"( cd /{name}; {change} )" for name, change in CHANGES.items())
# Things to change: directories, links, modes.
IMAGE = f"""
set -e
for name in {" ".join(CHANGES)}; do
  mkdir /$name; cd /$name; mkdir -p data/deep/er data/gone spare replaced/dir
  echo 1 > replaced/file; echo 1 > replaced/dir/inside; cd data
  for each in a b c deep/d deep/er/e gone/f; do echo $each > $each; done
  ln -s a link; ln b hard; chmod 4750 c
done
"""
LIST = "find / -xdev ( -path /proc -o -path /sys -o -path /dev ) -prune -o -print | sort"
FACTS = (
    f"for p in $({LIST.replace('( ', chr(92) + '( ').replace(' )', ' ' + chr(92) + ')')}); do"
    " if [ -L $p ]; then echo $p $(readlink $p);"
    " elif [ -f $p ]; then echo $p $(stat -c '%a %u %g %s' $p) $(md5sum < $p);"
    " else echo $p $(stat -c '%a %u %g %F' $p); fi; done"
)
# Link counts are left out: Docker's count names in a layer that a later one hides.
# Mounted or made by whoever runs a container, and other for each.
OTHERS = ("/", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab", "/.dockerenv", "/run", "/etc")


@pytest.fixture(scope="module")
def image() -> str:
    return "localhost/changed:1"


@pytest.fixture
def there(pair: Pair, image: str) -> Pair:
    """Both have the same image, which Docker has made."""
    if pair.hyper("images", "-q", image).stdout:
        return pair
    pair.docker("run", "--name", "first", BUSYBOX, "sh", "-c", IMAGE)
    assert pair.docker("commit", "first", image).returncode == 0
    pair.docker("rm", "first")
    pair.hyper("load", stdin=pair.docker("save", image).stdout)
    return pair


def lines(text: bytes) -> list[str]:
    """Paths as they are in every shell's listing."""
    return [line for line in text.decode().splitlines() if line.split()[0] not in OTHERS]


@pytest.mark.parametrize("changes", ["true", EVERYTHING], ids=["nothing", "everything"])
def test_what_is_said_of_it_and_what_becomes_of_it(there: Pair, image: str, changes: str) -> None:
    there.make("run", "-d", "--name", "box", image, "sleep", "100000")
    for each in there.each:
        assert each("exec", "box", "sh", "-c", changes).returncode == 0
    theirs, ours = (sorted(each("diff", "box").stdout.decode().splitlines()) for each in there.each)
    assert ours == theirs
    there.make("commit", "box", "localhost/committed:1")
    # Our image run by Docker, and Docker's own, and ours by us.
    there.docker("tag", "localhost/committed:1", "localhost/committed:docker")
    loaded = there.docker("load", stdin=there.hyper("save", "localhost/committed:1").stdout)
    assert loaded.returncode == 0, loaded.stderr
    runs = (
        there.docker("run", "--rm", "localhost/committed:docker", "sh", "-c", FACTS),
        there.docker("run", "--rm", "localhost/committed:1", "sh", "-c", FACTS),
        there.hyper("run", "--rm", "localhost/committed:1", "sh", "-c", FACTS),
    )
    docker, ours_by_docker, ours_here = (lines(run.stdout) for run in runs)
    assert len(docker) > 10
    assert ours_by_docker == docker
    assert ours_here == docker


def facts(entry: tarfile.TarInfo) -> tuple[object, ...]:
    """Which of several names of a file is its first is for each to say."""
    return (entry.isdir(), entry.mode & 0o7777, entry.linkname if entry.issym() else "")


def test_all_files_of_a_container(there: Pair, image: str) -> None:
    there.make("create", "--name", "box", "-v", "/volume", image, "sh")
    found = []
    for each in there.each:
        with tarfile.open(fileobj=io.BytesIO(each("export", "box").stdout)) as archive:
            found.append({entry.name.rstrip("/"): facts(entry) for entry in archive})
    theirs, ours = found
    apart = {name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name)}
    own = {".dockerenv", "dev/console", "dev/pts", "dev/shm", "etc/mtab", "dev", "etc", "proc", "sys"}
    assert apart <= own | {"etc/hosts", "etc/hostname", "etc/resolv.conf", "volume"}, apart


def test_how_the_image_of_a_container_is_run(there: Pair, image: str) -> None:
    options = [
        "-e",
        "A=1 2",
        "-u",
        "5:6",
        "-w",
        "/moved",
        "-l",
        "who=me",
        "--stop-signal",
        "INT",
        "--expose",
        "80",
    ]
    options += ["--health-cmd", "true", "--health-interval", "1h", "--entrypoint", "/bin/sh", "-v", "/volume"]
    there.make("create", "--name", "box", *options, image, "-c", "sleep 100")
    change = ["-c", "ENV B=2", "-c", 'CMD ["-c", "true"]', "-c", "LABEL more=1", "-m", "why", "-a", "who"]
    there.make("commit", *change, "box", "localhost/committed:2")
    theirs, ours = there.documents("image", "inspect", "localhost/committed:2")
    for name in ("Env", "User", "WorkingDir", "Labels", "ExposedPorts", "Cmd", "Entrypoint", "Healthcheck"):
        said = [each["Config"].get(name) for each in (theirs, ours)]
        # What was said with the container comes first there, last here: the order means nothing.
        assert said[0] == said[1] or (name == "Env" and sorted(said[0]) == sorted(said[1])), name
    assert ours["Config"]["Volumes"] == theirs["Config"]["Volumes"]
    assert ours["Config"]["StopSignal"] in ("INT", theirs["Config"]["StopSignal"])
    assert (ours["Author"], ours["Comment"]) == (theirs["Author"], theirs["Comment"])
    shown = [
        json.loads(
            each(
                "history", "--format", "{{json .}}", "--no-trunc", "localhost/committed:2"
            ).stdout.splitlines()[0]
        )
        for each in there.each
    ]
    assert shown[0]["Comment"] == shown[1]["Comment"] == "why"
