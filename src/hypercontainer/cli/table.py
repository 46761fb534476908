"""Every verb: where its code is and the line that the overview shows.  Strings only; nothing is imported."""

from __future__ import annotations

# verb: (module in cli/commands, name in it, summary); groups in the order of the overview.
VERBS: dict[str, dict[str, tuple[str, str, str]]] = {
    "Containers": {
        "run": ("run", "RUN", "Create and start a container from an image, on a VM of its own or in a pod"),
        "create": ("run", "CREATE", "Create a container"),
        "start": ("run", "START", "Start stopped containers"),
        "stop": ("life", "STOP", "Stop running containers"),
        "restart": ("life", "RESTART", "Stop and start containers"),
        "kill": ("life", "KILL", "Send a signal to containers"),
        "pause": ("life", "PAUSE", "Freeze containers and their VMs"),
        "unpause": ("life", "UNPAUSE", "Let paused containers go on"),
        "wait": ("life", "WAIT", "Wait for containers to stop and print their exit statuses"),
        "rm": ("life", "RM", "Remove containers"),
        "rename": ("life", "RENAME", "Give a container another name"),
        "commit": ("changes", "COMMIT", "Make an image of what a container has written"),
    },
    "Looking at containers": {
        "ps": ("ps", "PS", "List containers"),
        "logs": ("logs", "LOGS", "Show what a container has written"),
        "inspect": (
            "inspect",
            "INSPECT",
            "Show everything about containers, images, pods, networks or volumes",
        ),
        "top": ("top", "TOP", "List the processes of a container"),
        "stats": ("stats", "STATS", "Show the use of CPU, memory, network and disk as it changes"),
        "port": ("port", "PORT", "Show the published ports of a container"),
        "diff": ("changes", "DIFF", "List what a container has changed of its image"),
    },
    "Inside containers": {
        "exec": ("exec", "EXEC", "Run one more process in a running container"),
        "attach": ("attach", "ATTACH", "Connect to the standard streams of a running container"),
        "cp": ("cp", "CP", "Copy files between a container and this machine"),
        "export": ("archive", "EXPORT", "Write all files of a container to a tar archive"),
    },
    "Kubernetes' manifests": {
        "play": ("play", "PLAY", "Make and start what a manifest describes"),
        "down": ("play", "DOWN", "Remove what was made of a manifest"),
    },
    "Images": {
        "images": ("images", "IMAGES", "List images"),
        "build": ("build", "BUILD", "Make an image from a Dockerfile"),
        "pull": ("transfer", "PULL", "Fetch an image from a registry"),
        "push": ("transfer", "PUSH", "Send an image to a registry"),
        "load": ("archive", "LOAD", "Load images from a tar archive"),
        "save": ("archive", "SAVE", "Save images to a tar archive"),
        "import": ("archive", "IMPORT", "Make an image from the tar archive of a file system"),
        "tag": ("images", "TAG", "Give an image another name"),
        "rmi": ("images", "RMI", "Remove images"),
        "history": ("images", "HISTORY", "Show how an image was made"),
        "login": ("login", "LOGIN", "Log in to a registry"),
        "logout": ("login", "LOGOUT", "Forget the credentials for a registry"),
    },
    "Hyper": {
        "version": ("version", "VERSION", "Show the versions of all parts"),
        "info": ("info", "INFO", "Show what this installation is and can do"),
        "doctor": ("info", "DOCTOR", "Check everything that is needed and say how to mend it"),
        "events": ("events", "EVENTS", "Show what happens, as it happens"),
        "completion": ("completion", "COMPLETION", "Print a completion script for bash, zsh or fish"),
    },
}

# Two-word commands, as Docker has them: (module, name, summary), or a verb they are the same as.
_GENERATE = ("play", "GENERATE", "Write the manifest of pods, containers or volumes")
FAMILIES: dict[str, tuple[str, dict[str, tuple[str, str, str] | str]]] = {
    "container": (
        "Manage containers",
        {
            "ls": "ps",
            **{
                verb: verb
                for verb in (
                    "attach commit cp create diff exec export inspect kill logs pause port rename restart rm run"
                    " start stats stop top unpause wait"
                ).split()
            },
            "prune": ("system", "CONTAINER_PRUNE", "Remove all stopped containers"),
        },
    ),
    "pod": (
        "Manage pods: several containers in one VM",
        {
            "create": ("pod", "CREATE", "Create a pod"),
            "ls": ("pod_look", "LS", "List pods"),
            "inspect": ("inspect", "INSPECT", "Show everything about pods"),
            "logs": ("pod_look", "LOGS", "Show what the containers of a pod have written"),
            "top": ("pod_look", "TOP", "List the processes of a pod"),
            "stats": ("pod_look", "STATS", "Show what the containers of pods use, as it changes"),
            "start": ("life", "POD_START", "Start pods"),
            "stop": ("life", "POD_STOP", "Stop pods"),
            "restart": ("life", "POD_RESTART", "Stop and start pods"),
            "kill": ("life", "POD_KILL", "Send a signal to the containers of pods"),
            "pause": ("life", "POD_PAUSE", "Freeze pods"),
            "unpause": ("life", "POD_UNPAUSE", "Let paused pods go on"),
            "wait": ("life", "POD_WAIT", "Wait for pods to end and print their exit statuses"),
            "exists": ("pod", "EXISTS", "Tell whether there is such a pod"),
            "rm": ("life", "POD_RM", "Remove pods"),
        },
    ),
    "ports": (
        "Change the published ports of what runs",
        {
            "ls": ("ports", "LS", "List the published ports of a pod"),
            "add": ("ports", "ADD", "Publish ports of a pod"),
            "delete": ("ports", "DELETE", "Take published ports back"),
        },
    ),
    "volume": (
        "Manage named volumes",
        {
            "create": ("volume", "CREATE", "Create a volume"),
            "ls": ("volume", "LS", "List volumes"),
            "inspect": ("inspect", "INSPECT", "Show everything about volumes"),
            "convert": (
                "volume",
                "CONVERT",
                "Make a volume one that several pods write to, or that one does",
            ),
            "rm": ("volume", "RM", "Remove volumes"),
            "prune": ("volume", "PRUNE", "Remove volumes that no pod uses"),
            "cp": ("volume_copies", "CP", "Copy files between a volume and this machine"),
            "resize": ("volume_copies", "RESIZE", "Make a volume larger, also while it is used"),
            "clone": ("volume_copies", "CLONE", "Make a volume of what another is"),
            "restore": ("volume_copies", "RESTORE", "Make a volume again what it was at a snapshot"),
        },
    ),
    "snapshot": (
        "Manage snapshots of volumes (also: hyper volume snapshot)",
        {
            "create": ("volume_copies", "SNAPSHOT", "Keep what a volume is now"),
            "ls": ("volume_copies", "SNAPSHOTS", "List snapshots of volumes"),
            "rm": ("volume_copies", "REMOVE_SNAPSHOT", "Remove snapshots of a volume"),
        },
    ),
    "network": (
        "Manage networks, in which pods find each other by name",
        {
            "create": ("network", "CREATE", "Create a network"),
            "ls": ("network", "LS", "List networks"),
            "inspect": ("inspect", "OF_NETWORKS", "Show everything about networks"),
            "connect": ("network", "CONNECT", "Put a container or a pod into a network"),
            "disconnect": ("network", "DISCONNECT", "Take a container or a pod out of a network"),
            "rm": ("network", "RM", "Remove networks"),
            "prune": ("network", "PRUNE", "Remove networks that no pod is in"),
        },
    ),
    "policy": (
        "Manage what pods may reach",
        {
            "create": ("policy", "CREATE", "Create a network policy"),
            "update": ("policy", "UPDATE", "Change a network policy, at once for pods that run"),
            "ls": ("policy", "LS", "List network policies"),
            "inspect": ("policy", "INSPECT", "Show network policies, with the pods that have them"),
            "rm": ("policy", "RM", "Remove network policies"),
            "check": ("policy", "CHECK", "Tell whether a pod may reach a URL, and why"),
            "audit": ("policy", "AUDIT", "Show what pods were denied"),
        },
    ),
    "generate": ("Write down what is there", {"kube": _GENERATE}),
    "kube": (
        "Use Kubernetes' manifests, with podman's words",
        {"play": "play", "down": "down", "generate": _GENERATE},
    ),
    "cronjob": (
        "Look at the CronJobs of manifests, and run them",
        {
            "ls": ("cronjob", "LS", "List CronJobs with their last and next times"),
            "run": ("cronjob", "RUN", "Make a Job of a CronJob now"),
        },
    ),
    "image": (
        "Manage images",
        {
            "ls": "images",
            "rm": "rmi",
            "inspect": "inspect",
            **{verb: verb for verb in "build history import load pull push save tag".split()},
            "prune": ("system", "IMAGE_PRUNE", "Remove images that nothing uses"),
        },
    ),
    "context": (
        "Lead Docker's clients to this hyperd",
        {
            "create": ("context", "CREATE", "Make a context of Docker's that leads to this hyperd"),
            "use": ("context", "USE", "Have Docker's clients take this hyperd"),
            "rm": ("context", "RM", "Remove a context that leads to a hyperd"),
            "show": ("context", "SHOW", "Print the address for DOCKER_HOST"),
        },
    ),
    "kernel": (
        "Manage guest kernels",
        {
            "ls": ("kernel", "LS", "List the kernels that VMs can boot"),
            "fetch": ("kernel", "FETCH", "Fetch the distribution's packaged kernel"),
        },
    ),
    "system": (
        "Manage hyperd and its disk",
        {
            "df": ("system", "DF", "Show the disk that images and containers use"),
            "prune": ("system", "PRUNE", "Remove what is not used"),
            "start": ("system", "START", "Start hyperd"),
            "stop": ("system", "STOP", "Stop hyperd; containers go on"),
            "info": "info",
            "events": "events",
        },
    ),
}

# For completion: verbs whose words are containers that run, any containers, or images.
OF_RUNNING = "stop restart kill pause unpause wait exec attach top stats port".split()
OF_CONTAINERS = "start rm rename logs inspect".split()
OF_IMAGES = "run create rmi tag push save history".split()

SYNONYMS = {
    "container": {"list": "ls", "ps": "ls", "remove": "rm"},
    "pod": {"list": "ls", "ps": "ls", "remove": "rm"},
    "ports": {"list": "ls", "remove": "delete", "rm": "delete"},
    "network": {"list": "ls", "remove": "rm"},
    "policy": {"list": "ls", "remove": "rm"},
    "volume": {"list": "ls", "remove": "rm"},
    "snapshot": {"list": "ls", "remove": "rm"},
    "generate": {},
    "kube": {},
    "cronjob": {"list": "ls"},
    "image": {"list": "ls", "remove": "rm"},
    "context": {"remove": "rm"},
    "kernel": {"list": "ls"},
    "system": {},
}


def verbs() -> dict[str, tuple[str, str, str]]:
    return {verb: place for group in VERBS.values() for verb, place in group.items()}


def find(words: list[str]) -> tuple[str, tuple[str, str] | None, list[str]]:
    """(name, (module, attribute) or None for a family's overview, remaining words).  KeyError: no such command.

    ``words`` begins with the verb.
    """
    if words[:2] == ["volume", "snapshot"]:
        words = words[1:]
    first, rest = words[0], words[1:]
    if first in FAMILIES:
        if not rest or rest[0].startswith("-"):
            return first, None, rest
        members = FAMILIES[first][1]
        second = SYNONYMS[first].get(rest[0], rest[0])
        place = members[second]
        if isinstance(place, str):
            place = verbs()[place]
        return f"{first} {second}", place[:2], rest[1:]
    return first, verbs()[first][:2], rest
