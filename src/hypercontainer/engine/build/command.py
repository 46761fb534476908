"""What a builder is started with, and what it is told of one build; no input or output here.

The builder is the builder of Docker's engine (BuildKit), told by Docker's own program for it.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Iterator

from hypercontainer.config import Config
from hypercontainer.contract.builds import BuildSpec
from hypercontainer.contract.spec import ContainerSpec, LogConfig, Tmpfs
from hypercontainer.contract.volumes import InjectedFile, NamedVolume, Volume, VolumeMount
from hypercontainer.image.reference import DOCKER_HUB

NAME = "hyper-builder"
LABEL = "hyper.builder"
CACHE, CACHE_PATH = "hyper-build-cache", "/var/lib/docker"
WORK = "/var/lib/hyper-build"  # a directory a build, on the container's disk
IN_MEMORY = "/run/hyper-build"  # a directory a build, in memory
STATE = f"{CACHE_PATH}/hyper"  # what is known of the cache, beside it
SOCKET = "/var/run/docker.sock"
READY = f"API listen on {SOCKET}".encode()
RESULT = "hyper.build"  # the registry, which nobody has, in whose name a result has its name in the builder

# Docker's own program would start it twice.  $0 and what follows: the words for it.
BUILDX = """
for place in /usr/local/lib /usr/local/libexec /usr/lib /usr/libexec; do
	[ -x $place/docker/cli-plugins/docker-buildx ] && exec $place/docker/cli-plugins/docker-buildx "$@"
done
exec docker buildx "$@"
"""

# Removes results of builds that were broken off with their builder: they are where the cache is, which stays.
CLEAR = (
    "sh",
    "-c",
    f"docker image ls --format '{{{{.Repository}}}}:{{{{.Tag}}}}' '{RESULT}/*' | xargs -r docker image rm",
)


def container(config: Config) -> ContainerSpec:
    """Of the builder.  What earlier builds have left is removed as it begins."""
    build = config.build
    daemon = f"rm -rf {WORK} && mkdir -p {WORK} {IN_MEMORY} {STATE}/images && exec dockerd"
    return ContainerSpec(
        image=build.image,
        name=NAME,
        entrypoint=(),
        command=("sh", "-c", daemon),
        labels={LABEL: ""},
        privileged=True,
        tmpfs=(Tmpfs("/run", "mode=755"),),
        volumes=(Volume("cache", NamedVolume(CACHE, build.cache_size_bytes)),),
        mounts=(VolumeMount("cache", CACHE_PATH),),
        files=(InjectedFile("/etc/docker/daemon.json", daemon_json(config)),),
        memory_bytes=build.memory_bytes,
        cpus=build.cpus,
        disk_size_bytes=build.cache_size_bytes,
        log=LogConfig(max_size_bytes=1 << 20, max_files=2),
    )


def daemon_json(config: Config) -> bytes:
    """Steps have the network of the builder's VM, so it needs none of its own."""
    said = {
        "features": {"containerd-snapshotter": True},
        "iptables": False,
        "ip6tables": False,
        "bridge": "none",
        "builder": {"gc": {"enabled": True, "defaultKeepStorage": f"{config.build.cache_size_bytes // 2}B"}},
        "registry-mirrors": list(config.registries.mirrors.get(DOCKER_HUB, ())),
        "insecure-registries": list(config.registries.insecure),
    }
    return json.dumps({name: value for name, value in said.items() if value != []}).encode()


def environment() -> tuple[str, ...]:
    return (
        "HOME=/root",
        f"BUILDX_CONFIG={STATE}/buildx",  # by which it knows again what it was sent before
        "BUILDX_NO_DEFAULT_ATTESTATIONS=1",  # two builds of the same are the same image
        "DOCKER_CLI_HINTS=false",
    )


def argv(spec: BuildSpec, identifier: str) -> tuple[str, ...]:
    """Of one build, whose files lie below ``WORK`` and ``IN_MEMORY``."""
    words = (*_options(spec, identifier), "--", _context(spec, identifier))
    return ("sh", "-c", BUILDX, "buildx", "build", *words)


def removal(identifiers: Iterable[str]) -> tuple[str, ...]:
    """Of what builds have made; () of nothing."""
    names = tuple(result_name(each) for each in identifiers)
    return ("docker", "image", "rm", *names) if names else ()


def result_name(identifier: str) -> str:
    return f"{RESULT}/{identifier}:latest"


def archive_path(identifier: str) -> str:
    return f"{WORK}/{identifier}/result"


def facts_path(identifier: str) -> str:
    return f"{WORK}/{identifier}/facts.json"


def dockerfile_path(spec: BuildSpec, identifier: str) -> str:
    """Of one in the context, which it cannot leave."""
    inside = posixpath.normpath(f"/{spec.dockerfile_path or 'Dockerfile'}").lstrip("/")
    return f"{WORK}/{identifier}/context/{inside}"


def agent_path(identifier: str, number: int) -> str:
    return f"{IN_MEMORY}/{identifier}/agent{number}"


def _context(spec: BuildSpec, identifier: str) -> str:
    return spec.remote or f"{WORK}/{identifier}/context"


def _options(spec: BuildSpec, identifier: str) -> Iterator[str]:
    work, secret = f"{WORK}/{identifier}", f"{IN_MEMORY}/{identifier}"
    yield from (f"--progress={spec.progress}", f"--metadata-file={facts_path(identifier)}")
    yield f"--output={_output(spec, identifier)}"
    yield f"--network={'none' if spec.network == 'none' else 'host'}"
    if spec.dockerfile is not None:
        yield f"--file={work}/file/{spec.dockerfile_name}"
    elif spec.remote and spec.dockerfile_path:
        yield f"--file={spec.dockerfile_path}"
    elif not spec.remote:
        yield f"--file={dockerfile_path(spec, identifier)}"
    for flag, wanted in (("--no-cache", spec.no_cache), ("--pull", spec.pull)):
        if wanted:
            yield flag
    if spec.target:
        yield f"--target={spec.target}"
    if spec.platform:
        yield f"--platform={spec.platform}"
    if spec.shm_size_bytes:
        yield f"--shm-size={spec.shm_size_bytes}"
    for flag, table in (("--build-arg", spec.args), ("--label", spec.labels)):
        yield from (f"{flag}={name}={value}" for name, value in table.items())
    for flag, words in (
        ("--no-cache-filter", spec.no_cache_filter),
        ("--add-host", spec.extra_hosts),
        ("--ulimit", spec.ulimits),
    ):
        yield from (f"{flag}={word}" for word in words)
    for number, each in enumerate(spec.secrets):
        yield f"--secret={_csv(id=each.id, src=f'{secret}/secret{number}')}"
    yield from (f"--ssh={name}={agent_path(identifier, number)}" for number, name in enumerate(spec.ssh))
    for number, each in enumerate(spec.ssh_keys):
        yield f"--ssh={each.id}={secret}/key{number}"


def _output(spec: BuildSpec, identifier: str) -> str:
    if spec.output == "image":
        return _csv(type="image", name=result_name(identifier), push="false", unpack="false")
    return _csv(type=spec.output, dest=archive_path(identifier))


def _csv(**fields: str) -> str:
    """As Go's encoding/csv reads it."""
    words = (f"{name}={value}" for name, value in fields.items())
    return ",".join(
        '"{}"'.format(word.replace('"', '""')) if set(word) & set(',"\n') else word for word in words
    )
