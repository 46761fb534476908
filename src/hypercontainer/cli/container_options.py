"""The options of run, create and pod create: Docker's, and Hyper's own for the machine underneath.

Docker's options that cannot work here are listed with the reason, so that nobody's option is dropped silently.
"""

from __future__ import annotations

from hypercontainer.cli.options import Option, flag, many, number, octal, refused, text
from hypercontainer.contract.detach import DEFAULT as DETACH_DEFAULT

LINKS = "containers of one network find each other by name without links; --network-alias gives more names"
LINK_LOCAL = "addresses of the link are the guest's own; --ip and --ip6 choose those of the network"
_DEVICES = "a virtual machine sees no device of the host"
_SCHEDULING = "real-time shares of the host's processors are not given to virtual machines"
_CGROUP = "limits apply to the virtual machine; use --cpus and --memory"

PROCESS = (
    many(
        "-e --env",
        "NAME[=VALUE]",
        "set an environment variable; without a value, to this shell's; where it has none, the image's goes",
        parsed="env",
    ),
    many("--env-file", "FILE", "read environment variables from a file", parsed="env"),
    text("-w --workdir", "DIRECTORY", "where the process starts", field="working_dir"),
    text("-u --user", "USER[:GROUP]", "names or numbers, looked up in the image", field="user"),
    flag("-i --interactive", "keep standard input open, and pass it on", field="stdin_open"),
    flag("-t --tty", "give the process a terminal", field="tty"),
)
IDENTITY = (
    text("--name", "NAME", "of the container", field="name"),
    text("-h --hostname", "NAME", "inside", field="hostname"),
    text("--domainname", "NAME", "inside", field="domainname"),
    many("-l --label", "NAME[=VALUE]", "attach a label", parsed="labels"),
    many("--label-file", "FILE", "read labels from a file, a line each", parsed="labels"),
    many("--annotation", "NAME=VALUE", "attach an annotation", parsed="annotations"),
    text("--cidfile", "FILE", "write the container's ID to this new file"),
    text("--entrypoint", "PROGRAM", "in place of the image's; '' for none", parsed="entrypoint"),
    many("--group-add", "GROUP", "one more group for the process", field="groups"),
    octal("--umask", "MASK", "what new files deny to whom, such as 0027", field="umask"),
    flag("--init", "run a small init that forwards signals and reaps", field="init"),
    text("--pid", "MODE", "'pod' shares the process IDs with the pod's other containers", field="pid_mode"),
    text("--pod", "POD", "the pod to create it in; 'new:NAME' makes one of this name", field="pod"),
    text(
        "--podfile", "FILE", "a pod as Hyper's podfile describes it, in place of IMAGE; '-' is standard input"
    ),
)
NETWORK = (
    many("-p --publish", "[[IP:]PORT:]PORT[/PROTOCOL]", "publish a port on the host", parsed="ports"),
    flag("-P --publish-all", "publish every exposed port on a free port of the host", field="publish_all"),
    many("--expose", "PORT[/PROTOCOL]", "declare a port", parsed="expose"),
    many(
        "--network",
        "NETWORK",
        "join it: NAME, name=NAME,alias=NAME,ip=ADDRESS, none, user, hypervisor, cni:NAME, pod:NAME, container:NAME",
        parsed="networks",
    ),
    many("--net", "NETWORK", "the same as --network", parsed="networks"),
    many("--network-alias", "NAME", "one more name in its first network"),
    many("--net-alias", "NAME", "the same as --network-alias"),
    text("--ip", "ADDRESS", "of IPv4, in its first network"),
    text("--ip6", "ADDRESS", "of IPv6, in its first network"),
    many("--dns", "ADDRESS", "resolver", field="dns"),
    many("--dns-search", "DOMAIN", "search domain", field="dns_search"),
    many("--dns-option", "OPTION", "of resolv.conf", field="dns_options"),
    many("--dns-opt", "OPTION", "the same as --dns-option", parsed="dns_options"),
    many(
        "--add-host", "NAME:ADDRESS", "line in /etc/hosts; ADDRESS may be host-gateway", field="extra_hosts"
    ),
    many("--link", "CONTAINER[:ALIAS]", "call a container of its networks so", field="links"),
    many(
        "--host-loopback",
        "PORT",
        "open this TCP port of the host's loopback address to it, at host-gateway",
        parsed="host_loopback",
    ),
    text("--mac-address", "ADDRESS", "in its first network", parsed="mac_address"),
    many(
        "--secret-header",
        "HOST:HEADER=SOURCE",
        "set a header in requests to this host, on their way out of the VM; SOURCE: env:NAME or file:PATH, read here",
        parsed="secret_headers",
    ),
    text(
        "--network-policy",
        "FILE|NAME",
        "what it may reach, denying all else: a file (hyper policy create --help), or a policy's name",
        parsed="network_policy",
    ),
    text("--network-rate", "RATES", "how fast it may send and get: out=10Mbit,in=50Mbit"),
)
RESOURCES = (
    text("-m --memory", "SIZE", "of the virtual machine: 256m, 1g or bytes", parsed="memory_bytes"),
    text("--cpus", "NUMBER", "processors of the virtual machine, such as 2 or 0.5", parsed="cpus"),
    text("--cpu", "NUMBER", "the same as --cpus", parsed="cpus"),
    number(
        "--cpu-quota", "MICROSECONDS", "of a processor's time in each period, as --cpus has it", parsed="cpus"
    ),
    number("--cpu-period", "MICROSECONDS", "for --cpu-quota; 100000, if it is not said", parsed="cpus"),
    number("--pids-limit", "NUMBER", "processes inside; -1 for no limit", field="pids_limit"),
    many("--ulimit", "NAME=SOFT[:HARD]", "resource limit of the process", parsed="ulimits"),
    many("--sysctl", "NAME=VALUE", "kernel parameter of the guest", parsed="sysctls"),
    text("--shm-size", "SIZE", "of /dev/shm", parsed="shm_size_bytes"),
    number("--oom-score-adj", "NUMBER", "-1000 to 1000", field="oom_score_adj"),
    many("--storage-opt", "size=SIZE", "size of the writable disk", parsed="disk_size_bytes"),
)
MOUNTS = (
    many(
        "-v --volume",
        "[SOURCE:]PATH[:OPTIONS]",
        "mount a volume, or a host's path; options: ro, nocopy",
        parsed="volumes mounts",
    ),
    many(
        "--mount",
        "FIELDS",
        "the same in words: type=volume|bind|image|disk|nbd|iscsi|nfs|rbd|tmpfs,source=...,target=...,readonly",
        parsed="volumes mounts tmpfs",
    ),
    text("--volume-size", "SIZE", "of volumes that this makes", parsed="volumes"),
    text(
        "--docker-socket",
        "PATH",
        "where programs inside find Docker's API, with all that you may do; as -v /var/run/docker.sock:PATH",
        field="api_socket",
    ),
    many("--tmpfs", "PATH[:OPTIONS]", "mount an empty file system in memory", parsed="tmpfs"),
)
SECURITY = (
    flag("--read-only", "the root file system cannot be written", field="read_only"),
    many("--cap-add", "CAPABILITY", "add a capability, or ALL", field="cap_add"),
    many("--cap-drop", "CAPABILITY", "drop a capability, or ALL", field="cap_drop"),
    many(
        "--device",
        "DEVICE[:PATH]",
        "of the guest's kernel: /dev/fuse, /dev/net/tun and the like",
        field="devices",
    ),
    flag("--privileged", "all capabilities and devices of the guest, no filter", field="privileged"),
    many(
        "--security-opt",
        "OPTION",
        "no-new-privileges, seccomp=FILE, seccomp=unconfined; apparmor=unconfined and label=disable, as it is anyway",
        parsed="no_new_privileges seccomp",
    ),
)
LIFE = (
    text("--restart", "POLICY", "no, always, on-failure[:RETRIES], unless-stopped", "no", parsed="restart"),
    flag("--rm", "remove the container when it ends", field="auto_remove"),
    text("--stop-signal", "SIGNAL", "what stop sends first", field="stop_signal"),
    number("--stop-timeout", "SECONDS", "before stop kills", field="stop_timeout_s"),
    text("--log-driver", "DRIVER", "'file' (also: json-file, local) or 'none'", parsed="log"),
    many("--log-opt", "NAME=VALUE", "max-size, max-file", parsed="log"),
    text("--pull", "POLICY", "always, missing or never", "missing", parsed="pull"),
    text("--platform", "OS/ARCH", "of an image with several; its VM has that architecture", field="platform"),
    flag("-q --quiet", "no progress while pulling"),
    flag("--disable-content-trust", "accepted; signatures of Docker's Notary are not looked at"),
)
HEALTH = (
    text(
        "--health-cmd", "COMMAND", "asks for its health: a line for the image's shell", parsed="healthcheck"
    ),
    text("--health-interval", "TIME", "between checks, such as 1m30s; 30s", parsed="healthcheck"),
    text("--health-timeout", "TIME", "after which a check has failed; 30s", parsed="healthcheck"),
    text("--health-start-period", "TIME", "in which failures count for nothing; 0s", parsed="healthcheck"),
    text(
        "--health-start-interval",
        "TIME",
        "between checks in the start period, until it is healthy; 5s",
        parsed="healthcheck",
    ),
    number("--health-retries", "NUMBER", "failures in a row that make it unhealthy; 3", parsed="healthcheck"),
    flag("--no-healthcheck", "not even the image's", parsed="healthcheck"),
)
MACHINE = (
    text(
        "--kernel",
        "KERNEL",
        "a path on hyperd's host, or a name that 'hyper kernel ls' shows",
        parsed="kernel",
    ),
    text("--initrd", "FILE", "in place of the project's own", parsed="initrd"),
    many("--kernel-args", "ARGUMENTS", "words to add to the kernel's command line", parsed="kernel_args"),
    text("--hypervisor", "NAME", "qemu, uml, libvirt, ...: one that hyper doctor lists", parsed="hypervisor"),
    text("--accel", "NAME", "qemu's: kvm, tcg or hvf", parsed="accelerator"),
    flag("--no-template", "boot the virtual machine, do not clone one", parsed="template"),
)
TIMINGS = flag("--timings", "tell at the end where the time went, on standard error")
TERMINAL = (
    flag("-d --detach", "leave it running and print its ID"),
    many("-a --attach", "STREAM", "only stdin, stdout or stderr"),
    text("--detach-keys", "KEYS", "keys that leave the container running", DETACH_DEFAULT),
    flag("--sig-proxy", "pass signals on to the process (without a terminal)", default=True),
    TIMINGS,
)

# Docker's, which change nothing in a virtual machine of a container's own: field and value are checked, no more.
WITHOUT_EFFECT = (
    text("--memory-swap", "SIZE", "no effect: a virtual machine has no swap"),
    text("--memory-swappiness", "NUMBER", "no effect: a virtual machine has no swap"),
    text("--memory-reservation", "SIZE", "no effect: the virtual machine's memory is --memory"),
    text("--kernel-memory", "SIZE", "no effect, as with Docker: the kernel's memory is in --memory"),
    text("--cpuset-cpus", "CPUS", "no effect: the host places the virtual machine's processors"),
    text("--cpuset-mems", "NODES", "no effect: the host places the virtual machine's memory"),
    text("--ipc", "MODE", "'private' or 'shareable', as it is anyway; containers of a pod share it"),
    text("--uts", "MODE", "'', as it is anyway: a host name of its own"),
    text(
        "--userns", "MODE", "'' or 'host', as it is anyway: nothing is mapped in a virtual machine of its own"
    ),
    text("--cgroupns", "MODE", "'private', as it is anyway"),
    text("--isolation", "TECHNOLOGY", "'default': every container is in a virtual machine"),
)

REFUSED = (
    refused("--volumes-from", "CONTAINER", "name the volumes themselves, with -v"),
    refused("--volume-driver", "DRIVER", "volumes are hyperd's own disks; see hyper volume"),
    refused("--device-cgroup-rule", "RULE", _DEVICES),
    refused("--device-read-bps", "LIMIT", _DEVICES),
    refused("--device-read-iops", "LIMIT", _DEVICES),
    refused("--device-write-bps", "LIMIT", _DEVICES),
    refused("--device-write-iops", "LIMIT", _DEVICES),
    refused("--gpus", "GPUS", "graphics processors are not passed to virtual machines"),
    refused("--link-local-ip", "ADDRESS", LINK_LOCAL),
    refused("--cgroup-parent", "GROUP", _CGROUP),
    refused("--blkio-weight", "WEIGHT", "the disks of virtual machines are not weighed against one another"),
    refused(
        "--blkio-weight-device", "WEIGHT", "the disks of virtual machines are not weighed against one another"
    ),
    refused("--cpu-count", "NUMBER", "for Windows; use --cpus"),
    refused("--cpu-percent", "NUMBER", "for Windows; use --cpus"),
    refused("--cpu-rt-period", "TIME", _SCHEDULING),
    refused("--cpu-rt-runtime", "TIME", _SCHEDULING),
    refused("--io-maxbandwidth", "LIMIT", "for Windows"),
    refused("--io-maxiops", "LIMIT", "for Windows"),
    refused("--oom-kill-disable", "", "a virtual machine without memory has to kill something"),
    refused("--use-api-socket", "", "there is no Docker's socket that a container could be given"),
    refused("--runtime", "NAME", "the hypervisor is the runtime; see --hypervisor"),
)

_COMMON = (
    *PROCESS,
    *IDENTITY,
    *NETWORK,
    *RESOURCES,
    *MOUNTS,
    *SECURITY,
    *LIFE,
    *HEALTH,
    *MACHINE,
    *WITHOUT_EFFECT,
    *REFUSED,
)
_SHARES = "relative weight against other containers"
CREATE_OPTIONS: tuple[Option, ...] = (
    *_COMMON,
    text(
        "-c --container",
        "POD",
        "the same as --pod; a number is Docker's -c, --cpu-shares",
        parsed="pod cpu_shares",
    ),
    many("-a --attach", "STREAM", "accepted; start --attach says what is connected"),
    number("--cpu-shares", "NUMBER", _SHARES, field="cpu_shares"),
)
RUN_OPTIONS: tuple[Option, ...] = (
    *_COMMON,
    number("-c --cpu-shares", "NUMBER", _SHARES, field="cpu_shares"),
    *TERMINAL,
)
EXEC_OPTIONS: tuple[Option, ...] = (
    *PROCESS,
    flag("-d --detach", "leave it running"),
    text("--detach-keys", "KEYS", "keys that leave the process running", DETACH_DEFAULT),
    flag("--privileged", "all capabilities"),
    flag("-m --vm", "in the virtual machine, outside of any container"),
)
POD_OPTIONS: tuple[Option, ...] = (
    text("--name", "NAME", "the same as NAME", parsed="name"),
    text("-h --hostname", "NAME", "of the pod's virtual machine", field="hostname"),
    text("--domainname", "NAME", "inside", field="domainname"),
    many("-l --label", "NAME[=VALUE]", "attach a label", parsed="labels"),
    many("--label-file", "FILE", "read labels from a file, a line each", parsed="labels"),
    many("--annotation", "NAME=VALUE", "attach an annotation", parsed="annotations"),
    flag("--share-pid", "its containers share their process IDs", parsed="share_pids"),
    text(
        "--share",
        "NAMESPACES",
        "ipc, net and uts are always shared; 'pid' is as --share-pid",
        parsed="share_pids",
    ),
    flag("--replace", "remove a pod of this name first"),
    *(option for option in NETWORK if option.name not in ("publish-all", "expose", "link")),
    text(
        "-m --memory",
        "SIZE",
        "of the virtual machine; as much as its containers may use, if it is not said",
        parsed="memory_bytes",
    ),
    text("--cpus", "NUMBER", "processors of the virtual machine, such as 2 or 0.5", parsed="cpus"),
    text("--cpu", "NUMBER", "the same as --cpus", parsed="cpus"),
    text("--shm-size", "SIZE", "of /dev/shm", parsed="shm_size_bytes"),
    many("--sysctl", "NAME=VALUE", "kernel parameter of the guest", parsed="sysctls"),
    many(
        "--storage-opt",
        "size=SIZE",
        "size of the disk that holds what the containers write",
        parsed="disk_size_bytes",
    ),
    *MACHINE,
)
