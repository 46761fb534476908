"""A mount of the host's Docker socket is a wish for Docker's API: a VM can have the file, and nobody listens there."""

from __future__ import annotations

import posixpath
from pathlib import Path

import msgspec

from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.contract.volumes import HostPath
from hypercontainer.errors import InvalidArgument
from hypercontainer.semantics.shape import API_SOCKET

_SOURCES = (API_SOCKET, "/run/docker.sock")


def asked_for(spec: ContainerSpec, own: Path | None, uid: int | None) -> ContainerSpec:
    """It with ``api_socket`` in place of such a mount.  ``own``: where hyperd serves that API, ``uid``: who asks, None
    or below 0 if that is no user of this machine.
    InvalidArgument where it cannot be had, or two places are wanted."""
    spec = _moved(spec, {*_SOURCES, str(own)})
    if spec.api_socket is not None and own is None:
        raise InvalidArgument("Docker's API is not served by this hyperd", field="api_socket")
    if spec.api_socket is not None and (uid is None or uid < 0):
        raise InvalidArgument(
            "Docker's API is had with the rights of a user of this machine, and who asks is not known as one",
            field="api_socket",
        )
    return spec


def _moved(spec: ContainerSpec, sources: set[str]) -> ContainerSpec:
    names = {
        volume.name
        for volume in spec.volumes
        if isinstance(volume.source, HostPath) and posixpath.normpath(volume.source.path) in sources
    }
    if not names:
        return spec
    wanted = [mount.path for mount in spec.mounts if mount.volume in names]
    places = {posixpath.normpath(path) for path in (spec.api_socket, *wanted) if path is not None}
    if len(places) > 1:
        raise InvalidArgument(
            f"Docker's API is wanted at {' and '.join(sorted(places))}", field="api_socket", takes="one place"
        )
    return msgspec.structs.replace(
        spec,
        api_socket=wanted[0] if wanted else spec.api_socket,
        volumes=tuple(volume for volume in spec.volumes if volume.name not in names),
        mounts=tuple(mount for mount in spec.mounts if mount.volume not in names),
    )
