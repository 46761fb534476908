"""Storage that outlives a container's root: where it comes from, and where a container sees it.

Part of what a user asks for (``spec.py``, ``pod.py``): wire form and stored form in one.  Units stand in the names.
"""

from __future__ import annotations

from msgspec import Struct, field

ANONYMOUS_LABEL = "com.docker.volume.anonymous"  # of a volume that nobody has named, as Docker says it


class EmptyDir(Struct, frozen=True, forbid_unknown_fields=True, tag="empty", tag_field="kind"):
    """A directory that begins empty and goes with its pod: on the pod's disk, or in the guest's memory.  With a size
    that is not in memory it is on a disk of its own, which has room for so much and little more."""

    memory: bool = False
    size_bytes: int | None = None  # None: what there is
    mode: int = 0o777  # of its root, as it begins


class NfsShare(Struct, frozen=True, forbid_unknown_fields=True, tag="nfs", tag_field="kind"):
    """A directory that an NFS server exports, which the guest mounts over the pod's network.  ``server``: a name or an
    address; ``path``: absolute, there; ``options``: of nfs(5), with commas, those that docs/volumes.md lists."""

    server: str
    path: str
    options: str = ""


class NamedVolume(Struct, frozen=True, forbid_unknown_fields=True, tag="named", tag_field="kind"):
    """A volume of hyperd's (``hyper volume ls``): an ext4 disk, or a directory that several VMs may write to, made
    where there is none of this name.  ``type`` of a new one: "disk", "shared", or "": as hyperd is configured.
    ``nfs``: a new one is no disk, but this directory of a server; ``labels``: of a new one.

    ``name`` "": a new one that nobody has named.  Its container's creation gives it an ID of 64 hexadecimal digits for
    a name, and says so by ``anonymous``."""

    name: str = ""
    size_bytes: int | None = None  # of a new one
    anonymous: bool = False
    type: str = ""
    nfs: NfsShare | None = None
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def told(self) -> dict[str, str]:
        """All labels of one that is made for it."""
        return {**({ANONYMOUS_LABEL: ""} if self.anonymous else {}), **self.labels}


class DiskImage(Struct, frozen=True, forbid_unknown_fields=True, tag="disk", tag_field="kind"):
    """A file or a block device of the host that is a disk.  ``format``: "raw", as every device is, "qcow2", "vdi" or
    "vmdk"; never guessed."""

    path: str
    format: str
    filesystem: str = "ext4"


class NetworkDisk(Struct, frozen=True, forbid_unknown_fields=True, tag="network", tag_field="kind"):
    """A disk that a server has.  ``uri``: nbd://HOST[:PORT]/EXPORT, nbds:// over TLS, nbd+unix:///EXPORT?socket=PATH,
    nbds+unix://, iscsi://HOST[:PORT]/TARGET/LUN, rbd://CLUSTER/POOL/[NAMESPACE/]IMAGE[@SNAPSHOT] of a cluster that
    hyperd's configuration has, or rbd://MONITOR[:PORT],.../POOL/... with ``user`` and ``password_file``.

    What is secret stands in files of hyperd's machine, which are read each time a VM is started, with the rights of who
    asks: ``tls_certificates`` is a directory with ca-cert.pem and, where the server wants to know who somebody is,
    client-cert.pem and client-key.pem; ``tls_hostname`` the name in the server's certificate, where that is another
    than the URI's; ``tls_psk_file`` has lines of USER:KEY; ``password_file`` is ``user``'s: the password for CHAP, or a
    keyring of Ceph's."""

    uri: str
    tls_certificates: str = ""
    tls_hostname: str = ""
    tls_psk_file: str = ""
    user: str = ""
    password_file: str = ""
    filesystem: str = "ext4"


class HostPath(Struct, frozen=True, forbid_unknown_fields=True, tag="host", tag_field="kind"):
    """A file or directory of the host, shared with the guest.  ``expect``, as Kubernetes has it: "" (either),
    "directory", "directory-or-create", "file", "file-or-create"; or "any-or-create": either, and a new directory
    where there is nothing."""

    path: str
    expect: str = ""


class ContentFile(Struct, frozen=True, forbid_unknown_fields=True):
    """``path`` is relative and never leads up; ``mode`` None: the volume's."""

    path: str
    content: bytes
    mode: int | None = None


class Contents(Struct, frozen=True, forbid_unknown_fields=True, tag="contents", tag_field="kind"):
    """A read-only directory with these files, in the guest's memory: a ConfigMap, a Secret, a projected volume."""

    files: tuple[ContentFile, ...]
    mode: int = 0o644


class ImageVolume(Struct, frozen=True, forbid_unknown_fields=True, tag="image", tag_field="kind"):
    """What an image or an artifact holds, as it is when its container or pod is created; nobody writes to it.
    ``pull``: "missing", "always" or "never"."""

    reference: str
    pull: str = "missing"


Source = EmptyDir | NamedVolume | DiskImage | NetworkDisk | NfsShare | HostPath | Contents | ImageVolume


class Volume(Struct, frozen=True, forbid_unknown_fields=True):
    """``name`` is unique in its pod; mounts name it."""

    name: str
    source: Source
    read_only: bool = False


class VolumeMount(Struct, frozen=True, forbid_unknown_fields=True):
    """``path`` is absolute, in the container.  ``sub_path`` is below the volume's root, made if it is missing (but for
    images and read-only volumes), and links in it do not lead out.  ``copy_up``: what the image has at ``path`` goes
    into the volume when that is empty, as Docker does for named volumes."""

    volume: str
    path: str
    sub_path: str = ""
    read_only: bool = False
    copy_up: bool = False


class InjectedFile(Struct, frozen=True, forbid_unknown_fields=True):
    """Written into the container's root before its process starts.  ``user`` and ``group``: name or number, looked
    up in the image; "" is root."""

    path: str
    content: bytes
    mode: int = 0o644
    user: str = ""
    group: str = ""


class SnapshotInfo(Struct, frozen=True, kw_only=True):
    """What a volume was at a moment."""

    name: str
    volume: str
    created: str
    size_bytes: int
    used_bytes: int
