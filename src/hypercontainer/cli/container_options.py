"""The options of run and create: Docker's, and Hyper's own for the machine underneath.

Docker's options that cannot work here are listed with the reason, so that nobody's option is dropped silently.
"""

from __future__ import annotations

from hypercontainer.cli.options import Option, flag, many, refused, text
from hypercontainer.client.detach import DEFAULT as DETACH_DEFAULT

_DEVICES = "a virtual machine sees no device of the host"
_NETWORKS = "networks of one's own come with a later release"
_HEALTH = "health checks come with a later release"
_SHARED_KERNEL = "every container has a kernel of its own here, so there is no host namespace to choose"
_CGROUP = "limits apply to the virtual machine; use --cpus and --memory"

PROCESS = (
    many("-e --env", "NAME[=VALUE]", "set an environment variable; without a value, this shell's"),
    many("--env-file", "FILE", "read environment variables from a file"),
    text("-w --workdir", "DIRECTORY", "where the process starts"),
    text("-u --user", "USER[:GROUP]", "names or numbers, looked up in the image"),
    flag("-i --interactive", "keep standard input open, and pass it on"),
    flag("-t --tty", "give the process a terminal"),
)
IDENTITY = (
    text("--name", "NAME", "of the container"),
    text("-h --hostname", "NAME", "inside"),
    text("--domainname", "NAME", "inside"),
    many("-l --label", "NAME[=VALUE]", "attach a label"),
    many("--label-file", "FILE", "read labels from a file, a line each"),
    many("--annotation", "NAME=VALUE", "attach an annotation"),
    text("--cidfile", "FILE", "write the container's ID to this new file"),
    text("--entrypoint", "PROGRAM", "in place of the image's; '' for none"),
    many("--group-add", "GROUP", "one more group for the process"),
    flag("--init", "run a small init that forwards signals and reaps"),
    text("--pid", "MODE", "'pod' shares the process IDs with the pod's other containers"),
    text("--pod", "POD", "the pod to create it in; 'new:NAME' makes one of this name"),
    text(
        "--podfile", "FILE", "a pod as Hyper's podfile describes it, in place of IMAGE; '-' is standard input"
    ),
)
NETWORK = (
    many("-p --publish", "[[IP:]PORT:]PORT[/PROTOCOL]", "publish a port on the host"),
    flag("-P --publish-all", "publish every exposed port on a free port of the host"),
    many("--expose", "PORT[/PROTOCOL]", "declare a port"),
    text("--network", "MODE", "'user' (also: bridge, default) or 'none'"),
    text("--net", "MODE", "the same as --network"),
    many("--dns", "ADDRESS", "resolver"),
    many("--dns-search", "DOMAIN", "search domain"),
    many("--dns-option", "OPTION", "of resolv.conf"),
    many("--add-host", "NAME:ADDRESS", "line in /etc/hosts"),
    text("--mac-address", "ADDRESS", "of eth0"),
)
RESOURCES = (
    text("-m --memory", "SIZE", "of the virtual machine: 256m, 1g or bytes"),
    text("--cpus", "NUMBER", "processors of the virtual machine, such as 2 or 0.5"),
    text("--cpu", "NUMBER", "the same as --cpus"),
    text("--pids-limit", "NUMBER", "processes inside; -1 for no limit"),
    many("--ulimit", "NAME=SOFT[:HARD]", "resource limit of the process"),
    many("--sysctl", "NAME=VALUE", "kernel parameter of the guest"),
    text("--shm-size", "SIZE", "of /dev/shm"),
    text("--oom-score-adj", "NUMBER", "-1000 to 1000"),
    many("--storage-opt", "size=SIZE", "size of the writable disk"),
)
MOUNTS = (
    many("-v --volume", "[SOURCE:]PATH[:OPTIONS]", "mount a volume, or a host's path; options: ro, nocopy"),
    many("--mount", "FIELDS", "the same in words: type=volume|bind|tmpfs,source=...,target=...,readonly"),
    text("--volume-size", "SIZE", "of volumes that this makes"),
    many("--tmpfs", "PATH[:OPTIONS]", "mount an empty file system in memory"),
)
SECURITY = (
    flag("--read-only", "the root file system cannot be written"),
    many("--cap-add", "CAPABILITY", "add a capability, or ALL"),
    many("--cap-drop", "CAPABILITY", "drop a capability, or ALL"),
    flag("--privileged", "all capabilities and devices of the guest, no filter"),
    many("--security-opt", "OPTION", "no-new-privileges, seccomp=FILE, seccomp=unconfined"),
)
LIFE = (
    text("--restart", "POLICY", "no, always, on-failure[:RETRIES], unless-stopped", "no"),
    flag("--rm", "remove the container when it ends"),
    text("--stop-signal", "SIGNAL", "what stop sends first"),
    text("--stop-timeout", "SECONDS", "before stop kills"),
    text("--log-driver", "DRIVER", "'file' (also: json-file, local) or 'none'"),
    many("--log-opt", "NAME=VALUE", "max-size, max-file"),
    text("--pull", "POLICY", "always, missing or never", "missing"),
    text("--platform", "OS/ARCH", "of an image with several"),
    flag("-q --quiet", "no progress while pulling"),
    flag("--no-healthcheck", "accepted; health checks come with a later release"),
    flag("--disable-content-trust", "accepted; signatures of Docker's Notary are not looked at"),
)
MACHINE = (
    text("--kernel", "KERNEL", "a path on hyperd's host, or a name that 'hyper kernel ls' shows"),
    text("--initrd", "FILE", "in place of the project's own"),
    many("--kernel-args", "ARGUMENTS", "words to add to the kernel's command line"),
    text("--accel", "NAME", "kvm or tcg"),
    flag("--no-template", "boot the virtual machine, do not clone one"),
)
TIMINGS = flag("--timings", "tell at the end where the time went, on standard error")
TERMINAL = (
    flag("-d --detach", "leave it running and print its ID"),
    many("-a --attach", "STREAM", "only stdin, stdout or stderr"),
    text("--detach-keys", "KEYS", "keys that leave the container running", DETACH_DEFAULT),
    flag("--sig-proxy", "pass signals on to the process (without a terminal)", default=True),
    TIMINGS,
)

REFUSED = (
    refused("--volumes-from", "CONTAINER", "name the volumes themselves, with -v"),
    refused("--volume-driver", "DRIVER", "volumes are hyperd's own disks; see hyper volume"),
    refused("--link", "CONTAINER", "links are not supported; containers of one pod meet on localhost"),
    refused("--device", "DEVICE", _DEVICES),
    refused("--device-cgroup-rule", "RULE", _DEVICES),
    refused("--device-read-bps", "LIMIT", _DEVICES),
    refused("--device-read-iops", "LIMIT", _DEVICES),
    refused("--device-write-bps", "LIMIT", _DEVICES),
    refused("--device-write-iops", "LIMIT", _DEVICES),
    refused("--gpus", "GPUS", "graphics processors are not passed to virtual machines"),
    refused("--ip", "ADDRESS", _NETWORKS),
    refused("--ip6", "ADDRESS", _NETWORKS),
    refused("--link-local-ip", "ADDRESS", _NETWORKS),
    refused("--network-alias", "NAME", _NETWORKS),
    refused("--net-alias", "NAME", _NETWORKS),
    refused("--health-cmd", "COMMAND", _HEALTH),
    refused("--health-interval", "TIME", _HEALTH),
    refused("--health-retries", "NUMBER", _HEALTH),
    refused("--health-start-interval", "TIME", _HEALTH),
    refused("--health-start-period", "TIME", _HEALTH),
    refused("--health-timeout", "TIME", _HEALTH),
    refused("--ipc", "MODE", _SHARED_KERNEL),
    refused("--uts", "MODE", _SHARED_KERNEL),
    refused("--userns", "MODE", _SHARED_KERNEL),
    refused("--cgroupns", "MODE", _SHARED_KERNEL),
    refused("--cgroup-parent", "GROUP", _CGROUP),
    refused("--blkio-weight", "WEIGHT", _CGROUP),
    refused("--blkio-weight-device", "WEIGHT", _CGROUP),
    refused("--cpu-count", "NUMBER", "for Windows; use --cpus"),
    refused("--cpu-percent", "NUMBER", "for Windows; use --cpus"),
    refused("--cpu-period", "TIME", _CGROUP),
    refused("--cpu-quota", "TIME", _CGROUP),
    refused("--cpu-rt-period", "TIME", _CGROUP),
    refused("--cpu-rt-runtime", "TIME", _CGROUP),
    refused("--cpuset-cpus", "CPUS", _CGROUP),
    refused("--cpuset-mems", "NODES", _CGROUP),
    refused("--io-maxbandwidth", "LIMIT", "for Windows"),
    refused("--io-maxiops", "LIMIT", "for Windows"),
    refused("--isolation", "TECHNOLOGY", "every container is a virtual machine already"),
    refused("--kernel-memory", "SIZE", _CGROUP),
    refused("--memory-reservation", "SIZE", "a virtual machine's memory has one size; use --memory"),
    refused("--memory-swap", "SIZE", "a virtual machine has no swap; use --memory"),
    refused("--memory-swappiness", "NUMBER", "a virtual machine has no swap"),
    refused("--oom-kill-disable", "", "a virtual machine without memory has to kill something"),
    refused("--runtime", "NAME", "the hypervisor is the runtime; see --accel"),
)

_COMMON = (
    *PROCESS,
    *IDENTITY,
    *NETWORK,
    *RESOURCES,
    *MOUNTS,
    *SECURITY,
    *LIFE,
    *MACHINE,
    *REFUSED,
)
_SHARES = "relative weight against other containers"
CREATE_OPTIONS: tuple[Option, ...] = (
    *_COMMON,
    text("-c --container", "POD", "the same as --pod; a number is Docker's -c, --cpu-shares"),
    text("--cpu-shares", "NUMBER", _SHARES),
)
RUN_OPTIONS: tuple[Option, ...] = (*_COMMON, text("-c --cpu-shares", "NUMBER", _SHARES), *TERMINAL)
EXEC_OPTIONS: tuple[Option, ...] = (
    *PROCESS,
    flag("-d --detach", "leave it running"),
    text("--detach-keys", "KEYS", "keys that leave the process running", DETACH_DEFAULT),
    flag("--privileged", "all capabilities"),
    flag("-m --vm", "in the virtual machine, outside of any container"),
)
