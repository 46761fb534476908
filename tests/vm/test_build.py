"""Images from Dockerfiles: BuildKit in a VM of its own, driven by `hyper build` as a person does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_image
import real_images
from answering import Answering
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from hypercontainer.engine.build.exchange import RESULTS_KEPT
from soak import rounds
from until import until

BUSYBOX = busybox_image.REFERENCE
CONFIG = NO_POOL + '[build]\nimage = "localhost/builder"\nmemory = "1g"\n'
NO_IDENTITIES = b"\0\0\0\x05\x0c\0\0\0\0"  # what an agent answers that has none
AGENT_C = Path(__file__).parents[1] / "support/ask_agent.c"


@pytest.fixture(scope="module")
def hyper(hypervisor: str) -> Iterator[Hyper]:
    """One builder for all tests of a driver: that it keeps what it has made is what it is for."""
    if hypervisor == "qemu" and rounds(short=1, soak=0):
        pytest.skip("emulated, a build takes minutes: make soak")
    with hyper_context(CONFIG, hypervisor=hypervisor) as made:
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        made.load(real_images.path("builder"))
        yield made
        until(lambda: not work_of(made), "nothing of a build is left")
        until(lambda: len(results_of(made)) <= RESULTS_KEPT, "some results are left")


def work_of(hyper: Hyper) -> str:
    """What builds have left in the builder."""
    words = ("exec", "hyper-builder", "ls", "/var/lib/hyper-build", "/run/hyper-build")
    return hyper.out(*words).replace("/run/hyper-build:", "").replace("/var/lib/hyper-build:", "").strip()


def results_of(hyper: Hyper) -> list[str]:
    form = "{{.Repository}}"
    words = ("exec", "hyper-builder", "docker", "images", "--format", form, "hyper.build/*")
    return hyper.out(*words).split()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("from the context\n")
    return tmp_path


def dockerfile(context: Path, text: str) -> str:
    (context / "Dockerfile").write_text(text)
    return str(context)


def build(hyper: Hyper, *words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    return hyper("build", "--progress", "plain", *words, timeout_s=600, **more)  # type: ignore[arg-type]


STAGES = f"""
ARG BASE={BUSYBOX}
FROM $BASE AS made
ARG WHAT=nothing
COPY <<EOT /script
echo $WHAT
EOT
RUN <<EOT
    sh /script > /made
    cat /proc/1/comm >> /made
EOT
FROM made AS other
RUN echo other > /made
FROM $BASE
COPY --from=made /made /
COPY file /own
ENV GREETING=hello
CMD ["sh", "-c", "echo $GREETING; cat /made /own"]
"""


def test_stages_arguments_labels_and_here_documents(hyper: Hyper, context: Path) -> None:
    path, said = dockerfile(context, STAGES), ("--build-arg", "WHAT=this", "--label", "a=b")
    first = build(hyper, "-t", "localhost/built:1", "-t", "built-too", *said, path)
    assert b"COPY --from=made" in first.stderr and b"Built sha256:" in first.stderr
    assert hyper.out("run", "--rm", "localhost/built:1") == "hello\nthis\nsh\nfrom the context"
    image = hyper.json("inspect", "built-too")[0]
    assert image["Config"]["Labels"]["a"] == "b"

    again = build(hyper, "-q", "-t", "built-too", *said, path)
    assert again.stdout.decode().strip() == image["Id"]
    target = build(hyper, "--target", "other", "-t", "localhost/other", path)
    assert b"CACHED" in target.stderr
    assert hyper.out("run", "--rm", "localhost/other", "cat", "/made") == "other"


def test_what_is_kept_what_is_not_and_what_is_not_sent(hyper: Hyper, context: Path) -> None:
    (context / "secret").write_text("s3cr3t")
    (context / ".dockerignore").write_text("secret\nmany\n!many/one\n")
    (context / "many").mkdir()
    for name in ("one", "two"):
        (context / "many" / name).write_text(name)
    path = dockerfile(
        context,
        f"""
FROM {BUSYBOX}
COPY . /context
ARG TURN
RUN --mount=type=cache,target=/cache --mount=type=secret,id=key --mount=type=secret,id=word \\
    --mount=type=bind,source=file,target=/bound \\
    echo $TURN >> /cache/turns; cp /cache/turns /turns; wc -c < /run/secrets/key > /size; \\
    wc -c < /run/secrets/word >> /size; cat /bound > /copy
""",
    )
    for turn in ("one", "two"):
        words = (
            "--secret",
            f"id=key,src={context}/secret",
            "--secret",
            "id=word,env=WORD",
            "-t",
            "localhost/kept",
        )
        hyper.environment["WORD"] = "from the environment"
        build(hyper, *words, "--build-arg", f"TURN={turn}", path)
    shown = hyper.out(
        "run", "--rm", "localhost/kept", "sh", "-c", "cat /turns /size /copy; cd /context; find . | sort"
    )
    assert shown.split("\n")[:5] == ["one", "two", "6", "20", "from the context"]
    assert shown.split("\n")[5:] == [".", "./.dockerignore", "./Dockerfile", "./file", "./many", "./many/one"]
    saved = hyper("save", "localhost/kept").stdout
    assert b"s3cr3t" not in saved


def test_an_archive_and_a_directory(hyper: Hyper, context: Path, tmp_path: Path) -> None:
    path = dockerfile(context, "FROM scratch\nCOPY file /deep/er/file\n")
    build(hyper, "-o", f"{tmp_path}/out/new", path)
    assert (tmp_path / "out/new/deep/er/file").read_text() == "from the context\n"
    files = build(hyper, "-o", "type=tar,dest=-", path).stdout
    (tmp_path / "files.tar").write_bytes(files)
    with tarfile.open(tmp_path / "files.tar") as tar:
        assert "deep/er/file" in {each.rstrip("/") for each in tar.getnames()}
    build(hyper, "-o", f"type=oci,dest={tmp_path}/image.tar", "-t", "localhost/there", path)
    with tarfile.open(tmp_path / "image.tar") as tar:
        index = tar.extractfile("index.json")
        assert index is not None and json.load(index)["manifests"]


def test_a_step_that_fails_and_one_that_is_interrupted(hyper: Hyper, context: Path) -> None:
    path = dockerfile(context, f"FROM {BUSYBOX}\nRUN echo before\nRUN echo why >&2; exit 7\n")
    failed = build(hyper, "-o", f"type=tar,dest={context}/none.tar", path, check=False)
    assert failed.returncode == 1
    said = failed.stderr.decode()
    assert "exit code: 7" in said and "why" in said and "Dockerfile:3" in said and ">>> RUN echo why" in said
    assert not (context / "none.tar").exists()
    wrong = build(hyper, dockerfile(context, "FORM nothing\n"), check=False)
    assert wrong.returncode == 1 and b"unknown instruction: FORM" in wrong.stderr

    path = dockerfile(context, f"FROM {BUSYBOX}\nRUN echo it has begun; sleep 100000\n")
    with hyper.popen("build", "--progress", "plain", path, stderr=subprocess.PIPE) as going:
        assert going.stderr is not None
        for line in going.stderr:
            if b"it has begun" in line and b"RUN" not in line:
                break
        going.send_signal(signal.SIGINT)
        going.stderr.read()
        assert going.wait(60) == 130
    until(lambda: not work_of(hyper), "nothing of it is left")
    assert "sleep 100000" not in hyper.out(
        "exec", "hyper-builder", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    )


def test_two_at_once(hyper: Hyper, context: Path) -> None:
    """They wait for one another through a cache that they share."""
    step = (
        "n=0; until [ $(ls /cache | wc -l) = 2 ]; do n=$((n + 1)); [ $n -lt 600 ] || exit 1; sleep 0.1; done"
    )
    text = f"""FROM {BUSYBOX}
ARG WHO
RUN --mount=type=cache,id=meet,target=/cache touch /cache/$WHO; {step}; echo $WHO > /who
"""
    path = dockerfile(context, text)
    words = ("build", "--progress", "plain")
    going = [
        hyper.popen(
            *words, "--build-arg", f"WHO={who}", "-t", f"localhost/{who}", path, stderr=subprocess.PIPE
        )
        for who in ("one", "two")
    ]
    said = [each.communicate(timeout=600)[1] for each in going]
    assert [each.returncode for each in going] == [0, 0], said
    assert hyper.out("run", "--rm", "localhost/two", "cat", "/who") == "two"


def test_an_ssh_agent(hyper: Hyper, context: Path) -> None:
    subprocess.run(["musl-gcc", "-static", "-o", context / "ask", AGENT_C], check=True)
    agent = Answering(context / "agent", lambda _: NO_IDENTITIES)
    try:
        path = dockerfile(
            context,
            f"FROM {BUSYBOX}\nCOPY ask /\nRUN --mount=type=ssh /ask > /said; /ask >> /said\n"
            'RUN [ ! -e /run/buildkit ] || [ -z "$SSH_AUTH_SOCK" ]\n',
        )
        build(hyper, "--ssh", f"default={context}/agent", "-t", "localhost/agent", path)
    finally:
        agent.close()
    assert hyper.out("run", "--rm", "localhost/agent", "cat", "/said") == "12\n12"
    assert agent.asked >= 2


def test_no_context_a_tar_and_the_terminal(hyper: Hyper, context: Path) -> None:
    alone = build(hyper, "-q", "-", stdin=f"FROM {BUSYBOX}\nRUN true\n".encode())
    assert alone.stdout.startswith(b"sha256:")
    dockerfile(context, "FROM scratch\nCOPY file /\n")
    tar = subprocess.run(["tar", "-C", context, "-c", "."], capture_output=True, check=True).stdout
    assert build(hyper, "-q", "-t", "localhost/tar", "-", stdin=tar).stdout.startswith(b"sha256:")
    near, far = os.openpty()
    with hyper.popen("build", str(context), stdin=subprocess.DEVNULL, stdout=far, stderr=far) as shown:
        os.close(far)
        said = b""
        try:
            while data := os.read(near, 65536):
                said += data
        except OSError:  # its other end is closed
            pass
        assert shown.wait() == 0
    os.close(near)
    assert b"\x1b[" in said and b"FINISHED" in said


def test_it_rests_and_keeps_what_it_made(hyper: Hyper, context: Path) -> None:
    path = dockerfile(context, f"FROM {BUSYBOX}\nRUN echo once > /made\n")
    build(hyper, "-t", "localhost/rest", path)
    # As a build does that its builder's end has kept from removing what it made.
    left = "docker tag $(docker image ls -q | head -n1) hyper.build/left:latest"
    # While the builder removes what it need not keep its list of images may fail.
    tag = ("exec", "hyper-builder", "sh", "-c", left)
    until(lambda: hyper(*tag, check=False).returncode == 0, "an image that is left")
    hyper("rm", "-f", "hyper-builder")  # whoever wants its memory back; the cache is a volume
    assert b"CACHED" in build(hyper, "-t", "localhost/rest", path).stderr
    assert len(results_of(hyper)) == 1
    assert "hyper.build/left" not in results_of(hyper)
