"""A program that is asked as Cloud Hypervisor, or Firecracker, by what it is called, and has no guest but what it acts.

It knows the fields of their API (Cloud Hypervisor's openapi, Firecracker's swagger) with their types, and refuses any
other.  What they open, it opens, with the rights that it was started with: kernel, initrd, disks, taps, KVM's device,
sockets.  It is one file for Python's standard library alone, since it runs in a jail.

The guest does what the first letter of its kernel's arguments says (see the driver's suite), and with "n" asks its
network who the gateway is.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

BANNER = "test guest is up\n"
KVM = "/dev/kvm"
TUNSETIFF, TUNGETIFF = 0x400454CA, 0x800454D2
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
HEADER_BYTES = 10  # of a tap's frame
GATEWAY, OWN = bytes((10, 0, 2, 2)), bytes((10, 0, 2, 15))

# Fields by their types: a name is another table, "!" marks what is required, [] a list.
CLOUD_HYPERVISOR = {
    "VmConfig": {
        "cpus": "CpusConfig",
        "memory": "MemoryConfig",
        "payload": "!PayloadConfig",
        "disks": "[DiskConfig",
        "net": "[NetConfig",
        "rng": "RngConfig",
        "balloon": "BalloonConfig",
        "serial": "SerialConfig",
        "console": "ConsoleConfig",
        "vsock": "VsockConfig",
        "iommu": "bool",
        "watchdog": "bool",
        "pvpanic": "bool",
        "landlock_enable": "bool",
    },
    "CpusConfig": {
        "boot_vcpus": "!int",
        "max_vcpus": "!int",
        "kvm_hyperv": "bool",
        "max_phys_bits": "int",
        "nested": "bool",
    },
    "MemoryConfig": {
        "size": "!int",
        "hotplug_size": "int",
        "mergeable": "bool",
        "shared": "bool",
        "hugepages": "bool",
        "prefault": "bool",
        "thp": "bool",
    },
    "PayloadConfig": {"firmware": "str", "kernel": "str", "cmdline": "str", "initramfs": "str"},
    "DiskConfig": {
        "path": "str",
        "readonly": "bool",
        "direct": "bool",
        "iommu": "bool",
        "num_queues": "int",
        "queue_size": "int",
        "vhost_user": "bool",
        "vhost_socket": "str",
        "id": "str",
        "serial": "str",
        "backing_files": "bool",
        "sparse": "bool",
        "image_type": "FlatVmdk|FixedVhd|Qcow2|Raw|Vhdx|Unknown",
    },
    "NetConfig": {
        "tap": "str",
        "ip": "str",
        "mask": "str",
        "mac": "str",
        "host_mac": "str",
        "mtu": "int",
        "iommu": "bool",
        "num_queues": "int",
        "queue_size": "int",
        "id": "str",
        "offload_tso": "bool",
        "offload_csum": "bool",
    },
    "RngConfig": {"src": "!str", "id": "str", "iommu": "bool"},
    "BalloonConfig": {"size": "!int", "deflate_on_oom": "bool", "free_page_reporting": "bool", "id": "str"},
    "SerialConfig": {"mode": "!Off|Pty|Tty|File|Socket|Null", "file": "str", "socket": "str"},
    "ConsoleConfig": {"mode": "!Off|Pty|Tty|File|Socket|Null", "file": "str", "socket": "str", "id": "str"},
    "VsockConfig": {"cid": "!int", "socket": "!str", "iommu": "bool", "id": "str"},
}
FIRECRACKER = {
    "FullVmConfiguration": {
        "boot-source": "!BootSource",
        "machine-config": "!MachineConfiguration",
        "drives": "[Drive",
        "network-interfaces": "[NetworkInterface",
        "vsock": "Vsock",
        "entropy": "EntropyDevice",
    },
    "BootSource": {"kernel_image_path": "!str", "boot_args": "str", "initrd_path": "str"},
    "MachineConfiguration": {
        "vcpu_count": "!int",
        "mem_size_mib": "!int",
        "smt": "bool",
        "track_dirty_pages": "bool",
        "huge_pages": "None|Transparent|2M",
    },
    "Drive": {
        "drive_id": "!str",
        "is_root_device": "!bool",
        "is_read_only": "bool",
        "path_on_host": "str",
        "partuuid": "str",
        "cache_type": "Unsafe|Writeback",
        "io_engine": "Sync|Async",
        "socket": "str",
    },
    "NetworkInterface": {"iface_id": "!str", "host_dev_name": "!str", "guest_mac": "str", "mtu": "int"},
    "Vsock": {"guest_cid": "!int", "uds_path": "!str", "vsock_id": "str"},
    "EntropyDevice": {},
    "Vm": {"state": "!Paused|Resumed"},
}


class Refused(Exception):
    pass


def check(tree: Any, name: Any, tables: Any) -> None:
    """Raises ``Refused``, naming the field."""
    fields = tables[name]
    if not isinstance(tree, dict):
        raise Refused(f"invalid type for {name}")
    for key, value in tree.items():
        if key not in fields:
            raise Refused(f"unknown field `{key}` of {name}")
        check_value(value, fields[key].lstrip("!"), key, tables)
    for key, kind in fields.items():
        if kind.startswith("!") and key not in tree:
            raise Refused(f"missing field `{key}` of {name}")


def check_value(value: Any, kind: Any, key: Any, tables: Any) -> None:
    plain = {"int": int, "str": str, "bool": bool}
    if kind.startswith("["):
        for each in value:
            check(each, kind[1:], tables)
    elif kind in tables:
        check(value, kind, tables)
    elif kind in plain:
        if type(value) is not plain[kind]:
            raise Refused(f"invalid type for `{key}`")
    elif value not in kind.split("|"):
        raise Refused(f"unknown variant `{value}` of `{key}`")


class Machine:
    """What both of them run."""

    def __init__(self) -> None:
        self.going = threading.Event()
        self.end: Any = lambda how: os._exit(0)
        self.held: list[int] = []

    def boot(self, kernel: Any, initrd: Any, arguments: Any, disks: Any, vsock: Any, taps: Any) -> None:
        """``disks``: paths, each with whether it is only read; ``taps``: descriptors.  Raises ``OSError``."""
        self.held.append(os.open(KVM, os.O_RDWR | os.O_CLOEXEC))
        for path in (kernel, initrd):
            if path is not None:
                Path(path).read_bytes()
        for path, read_only in disks:
            self.held.append(os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC))
        if vsock is not None:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(vsock)
            listener.listen(16)
            threading.Thread(target=self.serve, args=(listener,), daemon=True).start()
        self.going.set()
        threading.Thread(target=self.guest, args=(arguments, taps), daemon=True).start()

    def say(self, text: Any) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(1, text.encode())

    def guest(self, arguments: Any, taps: Any) -> None:
        letter = arguments[:1]
        self.say(BANNER)
        while letter == "f":
            self.going.wait()
            self.say("x" * 4096)
            time.sleep(0.001)
        if letter == "n":
            for tap in taps:
                self.say(f"gateway {who_is(tap)}\n")
        if letter in "sr":
            for _ in range(20):
                time.sleep(0.05)
                self.going.wait()
            self.end("off" if letter == "s" else "reset")
        if letter == "c":  # what is booted for a trial
            self.say("hyper probe guest\nKernel panic - not syncing: VFS: Unable to mount root fs\n")

    def serve(self, listener: Any) -> None:
        while True:
            peer, _ = listener.accept()
            threading.Thread(target=self.talk, args=(peer,), daemon=True).start()

    def talk(self, peer: Any) -> None:
        with peer, contextlib.suppress(OSError):
            line = b""
            while not line.endswith(b"\n"):
                line += peer.recv(1) or b"\n"
            if line != b"CONNECT 1024\n":
                return
            self.going.wait()
            peer.sendall(b"OK 1073741824\n")
            while data := peer.recv(65536):
                self.going.wait()
                if data.startswith(b"echo "):
                    peer.sendall(data)


def who_is(tap: Any) -> Any:
    """The gateway's address, as it answers (ARP)."""
    mac = bytes.fromhex("525400123456")
    asked = struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, mac, OWN, bytes(6), GATEWAY)
    os.write(tap, bytes(HEADER_BYTES) + b"\xff" * 6 + mac + b"\x08\x06" + asked.ljust(46, b"\0"))
    os.set_blocking(tap, True)
    while True:
        frame = os.read(tap, 65536)[HEADER_BYTES:]
        if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\x02":
            return frame[22:28].hex(":")


def request(peer: Any) -> Any:
    """Method, path, body and descriptors of one; None at the end."""
    head, fds, size = b"", array.array("i"), struct.calcsize("i")
    while b"\r\n\r\n" not in head:
        data, came, _, _ = peer.recvmsg(65536, socket.CMSG_LEN(16 * size))
        for _, _, what in came:
            fds.frombytes(what[: len(what) - len(what) % size])
        if not data:
            return None
        head += data
    head, _, body = head.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    method, path, _ = lines[0].split()
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    while len(body) < int(headers.get("content-length", 0)):
        body += peer.recv(65536)
    return method, path, json.loads(body) if body else None, list(fds)


def answer(peer: Any, status: Any, tree: Any = None) -> None:
    body = b"" if tree is None else json.dumps(tree).encode()
    reason = "No Content" if status == 204 else "OK" if status == 200 else "Bad Request"
    head = f"HTTP/1.1 {status} {reason}\r\nServer: fake\r\nConnection: keep-alive\r\n"
    if status != 204:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    peer.sendall(head.encode() + b"\r\n" + body)


def serve(listener: Any, handle: Any, words: Any) -> None:
    """Requests, one connection at a time, as both do; ``words`` is how a refusal is put."""
    while True:
        peer, _ = listener.accept()
        with peer, contextlib.suppress(ConnectionError):
            while (asked := request(peer)) is not None:
                try:
                    tree = handle(*asked)
                    answer(peer, 204 if tree is None else 200, tree)
                except (Refused, OSError) as error:
                    answer(peer, 400, words(str(error)))


def check_tap(fd: Any) -> None:
    """Raises ``Refused`` for what is none with headers."""
    flags = struct.unpack("16sH22x", fcntl.ioctl(fd, TUNGETIFF, bytes(40)))[1]
    if not flags & IFF_TAP or not flags & IFF_VNET_HDR:
        raise Refused("the descriptor is no tap with vnet headers")


def cloud_hypervisor(arguments: Any) -> None:
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    machine = Machine()
    state: dict[str, Any] = {"config": None, "taps": [], "state": "Created"}
    if "--kernel" in options:
        if set(options) != {"--kernel", "--cmdline", "--memory", "--serial", "--console"}:
            raise Refused(f"unknown options: {sorted(options)}")
        machine.boot(options["--kernel"], None, "c", [], None, [])
        time.sleep(60)
    if set(options) != {"--api-socket", "--event-monitor"}:
        raise Refused(f"unknown options: {sorted(options)}")
    events = int(options["--event-monitor"].removeprefix("fd="))

    def event(source: Any, name: Any) -> None:
        told = {"timestamp": {"secs": 0, "nanos": 1}, "source": source, "event": name, "properties": None}
        os.write(events, json.dumps(told, indent=2).encode() + b"\n\n")

    def end(how: Any) -> None:
        if how == "off":
            for source, name in (("vm", "shutdown"), ("vm", "deleted"), ("vmm", "shutdown")):
                event(source, name)
            os._exit(0)
        event("vm", "rebooting")
        time.sleep(0.2)
        event("vm", "rebooted")
        machine.say(BANNER)

    machine.end = end

    def boot() -> None:
        config, payload = state["config"], state["config"]["payload"]
        event("vm", "booting")
        disks = [(disk["path"], disk.get("readonly", False)) for disk in config.get("disks", [])]
        vsock = config.get("vsock", {}).get("socket")
        Path(config["rng"]["src"]).open("rb").close()
        machine.boot(
            payload["kernel"], payload.get("initramfs"), payload["cmdline"], disks, vsock, state["taps"]
        )
        state["state"] = "Running"
        event("vm", "booted")

    def handle(method: Any, path: Any, body: Any, fds: Any) -> Any:
        wanted = "GET" if path.endswith(".info") else "PUT"
        name = path.removeprefix("/api/v1/")
        if method != wanted:
            raise Refused(f"{method} {path}")
        if name == "vm.create" and state["config"] is None:
            check(body, "VmConfig", CLOUD_HYPERVISOR)
            state["config"] = body
        elif name == "vm.add-net" and state["state"] == "Created":
            check(body, "NetConfig", CLOUD_HYPERVISOR)
            if len(fds) != body.get("num_queues", 2) // 2:
                raise Refused("number of queues and of descriptors do not match")
            for fd in fds:
                check_tap(fd)
            state["taps"] += fds
        elif name == "vm.boot" and state["state"] == "Created":
            boot()
        elif name == "vm.pause" and state["state"] == "Running":
            machine.going.clear()
            state["state"] = "Paused"
        elif name == "vm.resume" and state["state"] == "Paused":
            machine.going.set()
            state["state"] = "Running"
        elif name == "vm.info" and state["config"] is not None:
            return {"config": state["config"], "state": state["state"]}
        else:
            raise Refused(f"Error from API: {name} in {state['state']}")
        return None

    event("vmm", "starting")
    listener = socket.socket(fileno=int(options["--api-socket"].removeprefix("fd=")))
    serve(listener, handle, lambda words: ["Error from API", words])


def firecracker(arguments: Any) -> None:
    machine = Machine()
    api = "--no-api" not in arguments
    options = dict(zip(*[iter(word for word in arguments if word != "--no-api")] * 2, strict=True))
    if set(options) - {"--api-sock", "--config-file", "--level"}:
        raise Refused(f"unknown options: {sorted(options)}")
    listener = socket.socket(socket.AF_UNIX)
    if api:
        listener.bind(options["--api-sock"])
        listener.listen(4)
    config = json.loads(Path(options["--config-file"]).read_text())
    check(config, "FullVmConfiguration", FIRECRACKER)
    if not all(part.isalnum() for drive in config.get("drives", []) for part in drive["drive_id"].split("_")):
        raise Refused("invalid drive id")

    def end(how: Any) -> None:
        if how == "off":
            machine.say("[    1.000000] hyperstart: off\n")
        os._exit(0)

    machine.end = end
    taps = []
    for interface in config.get("network-interfaces", []):
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", interface["host_dev_name"].encode(), flags))
        taps.append(fd)
    boot, disks = config["boot-source"], config.get("drives", [])
    machine.boot(
        boot["kernel_image_path"],
        boot.get("initrd_path"),
        boot["boot_args"] if api else "c",
        [(disk["path_on_host"], disk["is_read_only"]) for disk in disks],
        config.get("vsock", {}).get("uds_path"),
        taps,
    )
    if not api:
        time.sleep(60)

    def handle(method: Any, path: Any, body: Any, fds: Any) -> Any:
        state = "Running" if machine.going.is_set() else "Paused"
        if (method, path) == ("GET", "/"):
            return {
                "app_name": "Firecracker",
                "id": "anonymous-instance",
                "state": state,
                "vmm_version": "1.14.0",
            }
        if (method, path) != ("PATCH", "/vm"):
            raise Refused(f"Invalid request method and/or path: {method} {path}")
        check(body, "Vm", FIRECRACKER)
        (machine.going.clear if body["state"] == "Paused" else machine.going.set)()
        return None

    serve(listener, handle, lambda words: {"fault_message": words})


def main() -> Any:
    cloud = Path(sys.argv[0]).name == "cloud-hypervisor"
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write("cloud-hypervisor v50.0.0\n" if cloud else "Firecracker v1.14.0\n\n")
        return 0
    try:
        (cloud_hypervisor if cloud else firecracker)(sys.argv[1:])
    except (Refused, OSError) as error:
        sys.stderr.write(f"Error: {error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
