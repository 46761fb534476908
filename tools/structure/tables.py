"""The architecture as data; docs/architecture.md draws it."""

from __future__ import annotations

# A package may import itself, these, and what stands in its row; a part knows only the parts it names.
EVERYBODYS = frozenset({"__init__", "contract", "errors"})
ALLOWED: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "contract": frozenset({"errors"}),
    "config": frozenset(),
    "linux": frozenset(),
    "network": frozenset({"linux"}),
    "kernel": frozenset({"config", "linux"}),
    "image": frozenset({"config", "linux"}),
    "rootfs": frozenset({"linux"}),
    "suite": frozenset({"agent", "hypervisor", "kernel", "linux", "rootfs"}),
    "hypervisor": frozenset({"linux", "network"}),
    "lazy": frozenset({"image", "linux", "rootfs"}),
    "agent": frozenset({"linux"}),
    "podfile": frozenset(),
    "kube": frozenset(),
    "volume": frozenset({"linux"}),
    "semantics": frozenset({"agent", "config", "hypervisor", "image", "linux"}),
    "engine": frozenset(
        {
            "agent",
            "config",
            "hypervisor",
            "image",
            "kernel",
            "lazy",
            "linux",
            "network",
            "rootfs",
            "semantics",
            "volume",
        }
    ),
    "surfaces": frozenset({"config", "engine", "image", "kube", "semantics"}),
    "daemon": frozenset({"config", "engine", "hypervisor", "kernel", "linux", "surfaces"}),
    "client": frozenset({"config"}),
    "sdk": frozenset({"client", "config", "image", "podfile"}),
    "cli": frozenset({"client", "config", "image", "kernel", "linux", "podfile", "semantics"}),
}

# Inside a package, from the ground up: a room knows itself and the rooms of lower storeys.  The modules and folders
# of one string are one room.
STOREYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "engine": (
        (
            (
                "aside bodies coming crowd events expressions files filters identity interface names pipes places "
                "plain protobuf record state times timings turns verifying wall workers"
            ),
        ),
        ("image_volumes provisions",),
        ("health", "log", "network", "process"),
        ("views",),
        ("images image_filters", "sandbox"),
        ("container",),
        ("pod",),
        ("directory", "strangers"),
        ("creation",),
        ("build",),
        ("service",),
        ("__init__ engine",),
    ),
    "surfaces": (
        ("__init__ http",),
        ("kube",),
        ("hyper", "docker"),
    ),
}

# Who may speak of flags and commands, and why.
SPEAKERS = {
    "cli": "it is the command line",
    "contract": "its words are those of the API's document, which people of the command line read",
    "client": "words what the command line says where no hyperd answers",
    "daemon": "a program with flags of its own",
    "sdk": "a surface",
    "surfaces": "they word the errors",
}
# Where a flag is another program's, which has the same name: (module, flag) -> the program.
OTHER_PROGRAMS = {
    ("hypervisor/shares.py", "--version"): "virtiofsd",
    ("hypervisor/shares.py", "--log-level"): "virtiofsd",
    ("hypervisor/vmm/program.py", "--version"): "cloud-hypervisor, firecracker",
    ("hypervisor/cloudhypervisor/config.py", "--kernel"): "cloud-hypervisor",
    ("hypervisor/cloudhypervisor/config.py", "--memory"): "cloud-hypervisor",
    **{
        ("hypervisor/virtualbox/argv.py", f"--{flag}"): "VBoxManage"
        for flag in "cpus device mac-address memory name type".split()
    },
    ("hypervisor/virtualbox/doctor.py", "--version"): "VBoxManage",
    ("hypervisor/virtualbox/driver.py", "--version"): "VBoxManage",
    ("hypervisor/virtualbox/parsing.py", "--version"): "VBoxManage",
    ("kernel/apt.py", "--quiet"): "apt-get",
    ("kernel/apt.py", "--format"): "apt-get",
    ("image/dockerfile.py", "--mount"): "a Dockerfile's RUN",
    ("image/dockerfile.py", "--from"): "a Dockerfile's COPY",
    ("engine/build/exchange.py", "--quiet"): "docker load",
    ("engine/build/command.py", "--format"): "docker image ls",
    **{
        ("engine/build/command.py", f"--{flag}"): "docker buildx build"
        for flag in (
            "add-host build-arg file label network no-cache no-cache-filter output platform progress pull secret "
            "shm-size ssh target ulimit"
        ).split()
    },
}
COMMAND_LINE = "cli"  # our flags are what the calls in this package declare
COMMAND_TABLE = "cli/table.py"
VERBS = "VERBS"  # group -> verb -> its place
FAMILIES = "FAMILIES"  # first word -> its place

# Whose names somebody outside uses.
PUBLIC = ("hypercontainer.sdk", "hypercontainer.suite")
ENTRY_POINTS = frozenset({"entry"})  # pyproject.toml's console scripts
CALLED_FROM_OUTSIDE = {
    "get_buffer": "asyncio",
    "buffer_updated": "asyncio",
    "eof_received": "asyncio",
    "pause_writing": "asyncio",
    "resume_writing": "asyncio",
    "ignore_aliases": "yaml",
}
# Nobody in src uses them, and that is right.
USED_ELSEWHERE = {
    "attach_nic": "a VM can be given a network while it runs, and nothing gives it one yet",
    "detach_nic": "as attach_nic",
    "cache_dir": "tools/fetch_kernel.py, guest/kernel and bench/",
    "hunt": "the fake guest reads frames as the host does",
    "layer_blob": "the suite that image stores pass looks at their blobs",
    "next_time": "a CronJob's schedule is understood, and nothing keeps it yet",
}
NAMES_IN_STRINGS = (
    "contract/routes.py",
    "surfaces/docker/routes.py",
)  # each word of these modules' strings is a use

# Where a path of the API may be written.
PATHS = frozenset({"contract/routes.py", "surfaces/hyper/openapi.py"})

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 40
MAX_C_FUNCTION_LINES = 50  # C needs room for its checks
